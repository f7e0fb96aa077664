"""How long an answer takes: a pose in a known region, the first in a new one, a batch of them, and the parts.

With a model also the full chain beside the method at two reuse ratios, and what is kept of a region.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdflux_ros.console import positive
from rdflux_ros.evaluation.console import model_name, table, write_json
from rdflux_ros.machine import usable_cores
from rdflux_ros.model.shipped import PHYSICS, SHIPPED

if TYPE_CHECKING:
    from rdflux_ros.evaluation.inference import PreparedRegion, Stopwatch
    from rdflux_ros.flux.loading import LoadedModel
    from rdflux_ros.mapping.inputs import Pose, StreetMap
    from rdflux_ros.mapping.mapper import RadioMapper
    from rdflux_ros.mapping.regions import Region

EXAMPLE = Path("examples", "krems")
"""The flight that comes with the repository, as seen from its root."""
BATCH = 16
WARM_UP = 5
"""Answers before the clock starts."""
SEED = 1
RATIOS = (0.98, 0.99)
"""Reuse ratios that are timed."""


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``benchmark``."""
    parser = argparse.ArgumentParser(prog="benchmark", description=__doc__, allow_abbrev=False)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--map", type=Path, metavar="YAML", help="map_server map; else that of examples/krems")
    parser.add_argument("--height-map", type=Path, metavar="YAML", help="building heights")
    parser.add_argument(
        "--model", default=SHIPPED, metavar="FILE", help=f"model file; {PHYSICS!r}: none ({SHIPPED!r}, in models/)"
    )
    parser.add_argument("--poses", type=positive, default=60, help="answers timed in known regions (60)")
    parser.add_argument("--regions", type=positive, default=20, help="first answers timed in new regions (20)")
    parser.add_argument("--batches", type=positive, default=6, help=f"batches of {BATCH} transmitters timed (6)")
    parser.add_argument("--full", type=positive, default=3, metavar="N", help="answers by the full chain timed (3)")
    parser.add_argument("--threads", type=positive, help="threads of torch; else its own choice")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the figures")
    return parser


def benchmark(mapper: RadioMapper, streets: StreetMap, *, poses: int, regions: int, batches: int) -> dict[str, Any]:
    """Time answers on a map, at places and heights drawn by `SEED`: outside buildings, 5 to 120 m up.

    Returns
    -------
    dict
        Milliseconds as {n, p50, p99, mean}: ``known_region``, ``new_region``, ``batch`` (of 16, whole), and under
        ``parts`` profiles, diffraction, reflections and walls, for ``one`` transmitter and for ``sixteen``.
    """
    from tqdm import tqdm

    from rdflux_ros.mapping.regions import nearest_region

    mapper.set_streets(streets)
    mapper.warm_up()
    places = _draw(mapper, streets, max(poses, regions))
    for pose in places[:WARM_UP]:
        mapper.query(pose)
    with tqdm(total=poses + regions + 2 * batches + poses, desc="benchmark", unit="answer", dynamic_ncols=True) as bar:

        def timed(run: Callable[[], object]) -> float:
            start = time.perf_counter()
            run()
            elapsed = time.perf_counter() - start
            bar.update()
            return 1e3 * elapsed

        new = []
        for pose in places[:regions]:
            mapper.set_streets(streets)
            mapper.clear_cache()
            new.append(timed(lambda pose=pose: mapper.query(pose)))  # type: ignore[misc]
        known_places = places[:poses]
        for region in {nearest_region(p.x, p.y): p for p in known_places}.values():
            mapper.query(region)
        known = [timed(lambda pose=pose: mapper.query(pose)) for pose in known_places]  # type: ignore[misc]
        crowds = [_around(mapper, pose, batch) for batch, pose in enumerate(places[:batches])]
        for crowd in crowds[:1]:
            mapper.answer_batch(crowd)
        batch = [timed(lambda crowd=crowd: mapper.answer_batch(crowd)) for crowd in crowds]  # type: ignore[misc]
        one = _parts(mapper, streets, [[pose] for pose in known_places], bar.update)
        sixteen = _parts(mapper, streets, crowds, bar.update)
    return {
        "known_region": statistics(known),
        "new_region": statistics(new),
        "batch": {
            "transmitters": BATCH,
            **statistics(batch),
            "p50_per_transmitter": statistics(batch)["p50"] / BATCH,
        },
        "parts": {"one": one, "sixteen": sixteen},
    }


def _parts(
    mapper: RadioMapper, streets: StreetMap, crowds: list[list[Pose]], tick: Callable[[], object]
) -> dict[str, dict[str, float]]:
    """Times of walls, and of the physics layer's parts for the transmitters of each crowd in one pass."""
    import torch

    from rdflux_ros.evaluation.inference import Stopwatch
    from rdflux_ros.mapping.regions import crop, nearest_region
    from rdflux_ros.propagation.config import PhysicsConfig
    from rdflux_ros.propagation.facades import trace_facades
    from rdflux_ros.propagation.physics_layer import PhysicsLayer

    layer = PhysicsLayer(PhysicsConfig(reflection_order=mapper.config.reflection_order))
    times: dict[str, list[float]] = {"walls": []}
    for crowd in crowds:
        region = nearest_region(crowd[0].x, crowd[0].y)
        heights = crop(streets, region, mapper.config)
        watch = Stopwatch(mapper.device)
        facades = trace_facades(heights, streets.grid.resolution, mapper.device, touched=mapper.config.touched)
        watch.lap("walls")
        times["walls"].append(watch.total)
        x, y = region.grid.origin_x, region.grid.origin_y
        points = torch.tensor([(p.x - x, p.y - y, p.z) for p in crowd], dtype=torch.float32, device=mapper.device)
        _, parts = layer.timed(facades, points)
        for name, milliseconds in parts.items():
            times.setdefault(name, []).append(milliseconds)
        tick()
    return {name: statistics(values) for name, values in times.items()}


def benchmark_model(
    loaded: LoadedModel, mapper: RadioMapper, streets: StreetMap, *, poses: int, regions: int, full: int
) -> dict[str, Any]:
    """Time a model's whole inference, pose to map, at the places that `benchmark` draws.

    The full chain and the method's second stage at each of `RATIOS` answer poses in known regions, whose midpoints
    are made at the first of them. Needs no more of the mapper than its map, settings and device.

    Returns
    -------
    dict
        Milliseconds as {n, p50, p99, mean}: under ``full`` and ``flux`` (by R) ``whole`` and ``parts``, under
        ``new_region`` the first pose of one; ``ratio`` of the medians, full chain to method, of the whole and of the
        steps alone; ``kept_bytes`` of a region, means over those timed.
    """
    import numpy as np
    from tqdm import tqdm

    from rdflux_ros.evaluation.inference import Inference
    from rdflux_ros.flux.pipeline import FluxPipeline
    from rdflux_ros.flux.schedules import second_schedule
    from rdflux_ros.mapping.regions import nearest_region

    mapper.set_streets(streets)
    inference = Inference(mapper, streets)
    pipelines = {ratio: FluxPipeline(loaded.model, reuse_ratio=ratio) for ratio in RATIOS}
    first = pipelines[RATIOS[0]]
    places = _draw(mapper, streets, max(poses, regions, full))
    chains = 0 if loaded.lacks("conditional") else full
    known: dict[Region, PreparedRegion] = {}

    def at(pose: Pose) -> PreparedRegion:
        """The pose's region, prepared before the pose's clock starts."""
        region = nearest_region(pose.x, pose.y)
        if region not in known:
            known[region] = inference.prepared(pose, first)[0]
        return known[region]

    inference.flux(places[0], at(places[0]), first)  # a step of each, so that the clock starts warm
    if chains:
        inference.full(places[0], at(places[0]), first, steps=1)
    total = regions + len(RATIOS) * poses + chains
    with tqdm(total=total, desc="benchmark, model", unit="answer", dynamic_ncols=True) as bar:

        def whole(*watches: Stopwatch) -> dict[str, float]:
            bar.update()
            times = {name: ms for watch in watches for name, ms in watch.parts.items()}
            return {"whole": sum(times.values()), **times}

        new, kept = [], []
        for pose in places[:regions]:
            region, preparing = inference.prepared(pose, first)
            new.append(whole(preparing, inference.flux(pose, region, first)))
            kept.append(region.kept_bytes())
        by_flux = {
            ratio: [whole(inference.flux(pose, at(pose), pipeline)) for pose in places[:poses]]
            for ratio, pipeline in pipelines.items()
        }
        by_chain = [whole(inference.full(pose, at(pose), first)) for pose in places[:chains]]
    found: dict[str, Any] = {
        "model": loaded.summary(first.method),
        "new_region": {"reuse_ratio": RATIOS[0], **_whole_and_parts(new)},
        "flux": {
            f"{ratio:g}": {"steps": len(second_schedule(pipeline.method)) - 1, **_whole_and_parts(by_flux[ratio])}
            for ratio, pipeline in pipelines.items()
        },
        "kept_bytes": {name: round(float(np.mean([region[name] for region in kept]))) for name in kept[0]},
    }
    if by_chain:
        found["full"] = {"steps": first.method.steps, **_whole_and_parts(by_chain)}
        found["ratio"] = {ratio: _ratios(found["full"], timed) for ratio, timed in found["flux"].items()}
    return found


def _whole_and_parts(answers: list[dict[str, float]]) -> dict[str, Any]:
    times = {name: statistics([answer[name] for answer in answers]) for name in answers[0]}
    return {"whole": times.pop("whole"), "parts": times}


def _ratios(full: dict[str, Any], flux: dict[str, Any]) -> dict[str, float]:
    return {
        "whole": full["whole"]["p50"] / flux["whole"]["p50"],
        "steps": full["parts"]["steps"]["p50"] / flux["parts"]["steps"]["p50"],
    }


def _draw(mapper: RadioMapper, streets: StreetMap, count: int) -> list[Pose]:
    """Poses on the map that are answered."""
    import numpy as np

    generator = np.random.default_rng(SEED)
    extent = streets.extent
    found: list[Pose] = []
    for _ in range(100 * count):
        row, col = generator.uniform(0, (extent.height, extent.width))
        x, y = extent.centres(row - 0.5, col - 0.5)
        pose = _checked(mapper, float(x), float(y), float(generator.uniform(5, 120)))
        if pose is not None:
            found.append(pose)
        if len(found) == count:
            return found
    raise _no_room()


def _around(mapper: RadioMapper, centre: Pose, seed: int) -> list[Pose]:
    """`BATCH` poses in the region that is nearest to `centre`."""
    import numpy as np

    from rdflux_ros.mapping.regions import nearest_region
    from rdflux_ros.radio.grid import LATTICE_M

    generator = np.random.default_rng([SEED, seed])
    x, y = nearest_region(centre.x, centre.y).centre
    found = [centre]
    for _ in range(100 * BATCH):
        dx, dy = generator.uniform(-0.49, 0.49, 2) * LATTICE_M
        pose = _checked(mapper, x + dx, y + dy, float(generator.uniform(5, 120)))
        if pose is not None:
            found.append(pose)
        if len(found) == BATCH:
            return found
    raise _no_room()


def _checked(mapper: RadioMapper, x: float, y: float, z: float) -> Pose | None:
    """The pose, None where the mapper would refuse it."""
    from rdflux_ros.mapping.inputs import Pose
    from rdflux_ros.mapping.regions import height_at

    streets = mapper.streets
    assert streets is not None
    ground = z - mapper.config.antenna_offset_z_m + mapper.config.ground_z_m
    inside = bool(streets.extent.contains(x, y)) and height_at(streets, x, y, mapper.config) < z
    return Pose(x, y, ground) if inside else None


def _no_room() -> ValueError:
    from rdflux_ros.mapping.inputs import InputError

    return InputError("map_full", "the map has hardly any place outside buildings for a transmitter")


def statistics(milliseconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds as {n, p50, p99, mean}."""
    import numpy as np

    p50, p99 = np.percentile(milliseconds, [50, 99])
    return {"n": len(milliseconds), "p50": float(p50), "p99": float(p99), "mean": float(np.mean(milliseconds))}


def hardware(device: str) -> dict[str, Any]:
    """Name of the processor (and GPU where used), cores, versions."""
    import torch

    found: dict[str, Any] = {
        "cpu": _cpu_name(),
        "cores": usable_cores(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device.startswith("cuda"):
        found["gpu"] = torch.cuda.get_device_name()
    return found


def hardware_line(found: dict[str, Any]) -> str:
    """`hardware` in a line: what computed, its cores, torch."""
    return f"{found.get('gpu', found['cpu'])}, {found['cores']} cores, torch {found['torch']}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def run(args: argparse.Namespace) -> int:
    """Time what the command line asks for; returns the exit code."""
    from rdflux_ros.mapping.inputs import InputError, load_height_map, load_occupancy, street_map

    map_yaml, height_yaml = args.map, args.height_map
    if map_yaml is None:
        map_yaml, height_yaml = EXAMPLE / "map.yaml", height_yaml or EXAMPLE / "height.yaml"
        if not map_yaml.is_file():
            raise InputError("map_file", f"no {EXAMPLE} here; run this in the repository, or give a map with --map")
    occupancy = load_occupancy(map_yaml)
    height_map = load_height_map(height_yaml) if height_yaml else None

    import torch

    from rdflux_ros.flux.loading import load_model
    from rdflux_ros.mapping.mapper import MapperConfig, RadioMapper

    if args.threads:
        torch.set_num_threads(args.threads)
    # Known regions must stay known.
    config = MapperConfig(model=args.model, device=args.device, cache_size=max(MapperConfig.cache_size, args.poses))
    mapper = RadioMapper(config)
    streets = street_map(occupancy, config, height_map)
    loaded = load_model(args.model, mapper.device)
    times = benchmark(mapper, streets, poses=args.poses, regions=args.regions, batches=args.batches)
    if loaded is not None:
        if reason := loaded.lacks("conditional"):
            print(f"benchmark: full chain left out: {reason}", file=sys.stderr)
        times["inference"] = benchmark_model(
            loaded, mapper, streets, poses=args.poses, regions=args.regions, full=args.full
        )
    result = {
        "device": str(mapper.device),
        "hardware": hardware(mapper.device.type),
        "threads": torch.get_num_threads(),
        "warm_up": f"the mapper's own warm-up on empty streets, {WARM_UP} answers, one batch",
        "map": f"{map_yaml.parent.name}/{map_yaml.name}",
        "wall_resolution_m": streets.grid.resolution,
        "seed": SEED,
        "unit": "ms",
        **times,
    }
    print(_report(result))
    if args.json is not None:
        write_json(args.json, result)
        print(f"\nwrote {args.json}")
    return 0


def _report(result: dict[str, Any]) -> str:
    rows = [
        ["pose in a known region", result["known_region"]],
        ["first pose in a new region", result["new_region"]],
        [f"{BATCH} poses in a known region", result["batch"]],
    ]
    for label, parts in (("one", result["parts"]["one"]), (str(BATCH), result["parts"]["sixteen"])):
        rows += [[f"{name}, {label}", values] for name, values in parts.items()]
    head = (
        f"{result['hardware'].get('gpu', result['hardware']['cpu'])}, {result['hardware']['cores']} cores, "
        f"{result['threads']} threads, device {result['device']}; walls at {result['wall_resolution_m']:g} m; "
        f"before the clock starts: {result['warm_up']}"
    )
    found = [head, _times("the mapper, ms", rows)]
    if "inference" in result:
        found += _inference_report(result["inference"])
    return "\n\n".join(found)


def _inference_report(found: dict[str, Any]) -> list[str]:
    model = found["model"]
    head = (
        f"Model {model_name(model)}, T = {model['steps']}, {model['static_steps']} static "
        f"steps, temperature {model['temperature']:g}. Whole: pose to map, physics layer included; decode has the "
        "last update in it."
    )
    timed = {f"flux, R = {ratio} ({_steps(times)})": times for ratio, times in found["flux"].items()}
    if "full" in found:
        timed = {f"full chain ({_steps(found['full'])})": found["full"], **timed}
    timed[f"first pose in a new region, R = {found['new_region']['reuse_ratio']:g}"] = found["new_region"]
    rows: list[list[Any]] = []
    for label, times in timed.items():
        rows.append([f"{label}: whole", times["whole"]])
        rows += [[f"  {name}", values] for name, values in times["parts"].items()]
    kept = table(["kept of a region", "bytes"], [[*item] for item in found["kept_bytes"].items()])
    if "ratio" not in found:
        return [head, _times("inference, ms", rows), kept]
    ratios = [[f"R = {ratio}", values["whole"], values["steps"]] for ratio, values in found["ratio"].items()]
    return [
        head,
        _times("inference, ms", rows),
        table(["full chain / flux", "whole", "steps alone"], ratios),
        kept,
    ]


def _steps(times: dict[str, Any]) -> str:
    return f"{times['steps']} step{'s' * (times['steps'] != 1)}"


def _times(title: str, rows: list[list[Any]]) -> str:
    body = [[name, values["n"], values["p50"], values["p99"], values["mean"]] for name, values in rows]
    return table([title, "n", "p50", "p99", "mean"], body)
