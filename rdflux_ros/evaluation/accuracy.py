"""Accuracy of every method on a split of a dataset, and where the error sits."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rdflux_ros.baselines import radiounet
from rdflux_ros.baselines.radiounet import RadioUNet
from rdflux_ros.data.radiomapseer import RadioMapSeer, spread
from rdflux_ros.evaluation.error_sites import EDGES, PLACES, ErrorSites, classes, labels, places
from rdflux_ros.evaluation.methods import (
    RADIOUNETS,
    Split,
    Workbench,
    chain_steps,
    check_names,
    choose_methods,
    needs_model,
)
from rdflux_ros.evaluation.metrics import paired_comparison, scores, summarise
from rdflux_ros.flux.loading import load_model
from rdflux_ros.flux.pipeline import FluxPipeline
from rdflux_ros.mapping.mapper import select_device
from rdflux_ros.model.shipped import PHYSICS, SHIPPED

ROOF_HEIGHT_M = 25.0
"""Transmitters from this height on count as above the roofs [m]."""


@dataclass
class MethodScores:
    """What one method did, map by map."""

    maps: list[dict[str, float]] = field(default_factory=list)
    above: list[bool] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    where: dict[bool, ErrorSites] = field(default_factory=lambda: {k: ErrorSites(PLACES) for k in (True, False)})
    sites: dict[str, ErrorSites] = field(default_factory=lambda: {k: ErrorSites(labels(k)) for k in EDGES})

    def summary(self) -> dict[str, Any]:
        """Scores over all maps, the same above and below 25 m with where the error sits, and the mean time."""

        def part(above: bool) -> dict[str, Any]:
            chosen = [k for k, is_above in enumerate(self.above) if is_above == above]
            return {
                "maps": len(chosen),
                **summarise([self.maps[k] for k in chosen]),
                "where": self.where[above].summary(),
                "ms_per_map": _mean_ms([self.seconds[k] for k in chosen]),
            }

        return {
            **summarise(self.maps),
            "above_25m": part(True),
            "below_25m": part(False),
            "sites": {name: sites.summary() for name, sites in self.sites.items()},
            "ms_per_map": _mean_ms(self.seconds),
        }


def _mean_ms(seconds: list[float]) -> float:
    return 1e3 * float(np.mean(seconds)) if seconds else float("nan")


@dataclass(frozen=True)
class ModelChoice:
    """Which model answers, and what of its method is changed; None leaves the model's own."""

    name: str = SHIPPED
    reuse_ratio: float | None = None
    static_steps: int | None = None
    temperature: float | None = None
    full_steps: int | None = None


def evaluate_accuracy(
    data: Path,
    split: str = "test",
    *,
    methods: list[str] | None = None,
    model: ModelChoice = ModelChoice(),
    seed: int = 0,
    map_resolution: float | None = None,
    cars: bool = False,
    device: str = "auto",
    limit: int | None = None,
    radiounets: Sequence[Path] = (),
    report: Path | None = None,
    pictures: bool = True,
) -> dict[str, Any]:
    """Score methods on every map of a split.

    Parameters
    ----------
    data
        A dataset in a layout that `RadioMapSeer` reads.
    methods
        By name; None takes all that the model can answer by, and says on stderr what it lacks for others.
    model
        ``physics`` in its place leaves the physics layer alone.
    seed
        Of the draws of donors and other scenes.
    map_resolution
        Walls as a map of this resolution [m] shows them; None takes the finest that the data has.
    cars
        Score the maps with cars; cells under cars have no value.
    limit
        Only this many maps, evenly spread over the split.
    radiounets
        Files of the baseline, at most one of each kind of input; scored beside whatever is named.
    report
        Folder for tables, where the error sits, and, with `pictures`, maps of each method.

    Raises
    ------
    DataError
        The dataset or a method's name does not fit, or the model has not what a named method needs.
    MissingModelError, CheckpointError, SettingError
        A model's file or what is changed of its method does not fit.
    """
    from tqdm import tqdm

    check_names(methods)
    dataset = RadioMapSeer(data, split, cars=cars)
    maps = Split(dataset, map_resolution)
    baselines = [_radiounet(path, device) for path in radiounets]
    if methods is not None:
        kinds = {network.inputs for network in baselines}
        methods = [*dict.fromkeys([*methods, *(name for name, inputs in RADIOUNETS.items() if inputs in kinds)])]
    choice = model if needs_model(methods) else ModelChoice(PHYSICS)
    bench = _workbench(choice, maps, device, seed, baselines)
    answering, left_out = choose_methods(methods, bench)
    for name, reason in left_out.items():
        print(f"evaluate: method {name} left out: {reason}", file=sys.stderr)
    results = {name: MethodScores() for name in answering}
    chosen = spread(len(maps), limit)
    for index in tqdm(chosen, desc=f"accuracy, {split}", unit="map", dynamic_ncols=True):
        sample = maps[index]
        seen = places(sample, bench.visible(sample))
        known = classes(sample, bench.facades(sample))
        for name, result in results.items():
            grey, seconds = bench.answer(name, sample)
            result.seconds.append(seconds)
            result.maps.append(scores(grey, sample.grey, sample.free))
            result.above.append(bool(sample.position[2] >= ROOF_HEIGHT_M))
            result.where[result.above[-1]].add(grey - sample.grey, seen)
            for kind, masks in known.items():
                result.sites[kind].add(grey - sample.grey, masks)
    summary: dict[str, Any] = {
        "data": data.name,
        "split": split,
        "cars": cars,
        "map_resolution": map_resolution or maps[0].resolution,
        "maps": len(chosen),
        "model": _model_summary(bench),
        "seed": seed,
        "left_out": left_out,
        "methods": {name: result.summary() for name, result in results.items()},
        "nmse": {
            "maps": [maps.names[k] for k in chosen],
            **{name: [scored["nmse"] for scored in result.maps] for name, result in results.items()},
        },
    }
    if (reference := _reference(answering)) is not None:
        scenes = [maps.names[k].rpartition("_")[0] for k in chosen]
        summary["reference"] = reference
        summary["paired"] = {
            name: _paired(result, results[reference], scenes, seed) for name, result in results.items()
            if name != reference
        }  # fmt: skip
    if report is not None:
        from rdflux_ros.evaluation.report import Panel, write_accuracy_report

        def panel(number: int, name: str) -> Panel:
            sample = maps[chosen[number]]
            x, y, z = sample.position
            title = f"{name}, {sample.name}, z = {z:.0f} m"
            return Panel(title, bench.answer(name, sample)[0], sample.grey, sample.free, (x, y))

        write_accuracy_report(report, summary, panel, pictures=pictures)
    return summary


def _reference(names: Sequence[str]) -> str | None:
    """The method that the others are compared with: the first of these that answers."""
    return next((name for name in ("aligned", "flux", "full", "physics") if name in names and len(names) > 1), None)


def _paired(ours: MethodScores, theirs: MethodScores, scenes: Sequence[str], seed: int) -> dict[str, dict[str, float]]:
    """What a method's NMSE is beside the reference's, above and below 25 m."""
    found = {}
    for where, above in (("above_25m", True), ("below_25m", False)):
        chosen = [k for k, is_above in enumerate(ours.above) if is_above == above]
        mine, its = ([scored.maps[k]["nmse"] for k in chosen] for scored in (ours, theirs))
        found[where] = paired_comparison(mine, its, [scenes[k] for k in chosen], seed=seed)
    return found


def shortest_chain(summary: dict[str, Any]) -> str | None:
    """Which of the chains ``full_N`` in a summary is the shortest no worse than the reference; None without such."""
    chains = sorted((steps, name) for name in summary["methods"] if (steps := chain_steps(name)) is not None)
    if not chains or "paired" not in summary:
        return None
    reference = summary["reference"]
    nmse = {name: summary["methods"][name]["nmse"] for name in (reference, *(name for _, name in chains))}
    enough = next((name for _, name in chains if nmse[name] <= nmse[reference]), None)
    tried = ", ".join(f"{steps}: {nmse[name]:.4g}" for steps, name in chains)
    says = "none of them is as good" if enough is None else f"{enough} is the shortest that is as good"
    return f"Full chains by steps, NMSE over all maps ({tried}) against {reference} ({nmse[reference]:.4g}): {says}."


def _radiounet(path: Path, device: str) -> RadioUNet:
    network, _ = radiounet.load(path)
    return network.to(select_device(device))


def _workbench(choice: ModelChoice, maps: Split, device: str, seed: int, radiounets: Sequence[RadioUNet]) -> Workbench:
    loaded = load_model(choice.name, select_device(device))
    if loaded is None:
        return Workbench(device, radiounets=radiounets)
    flux = FluxPipeline(
        loaded.model,
        reuse_ratio=choice.reuse_ratio,
        static_steps=choice.static_steps,
        temperature=choice.temperature,
    )
    return Workbench(
        device, loaded=loaded, flux=flux, split=maps, seed=seed, full_steps=choice.full_steps, radiounets=radiounets
    )


def _model_summary(bench: Workbench) -> dict[str, Any] | None:
    if bench.loaded is None:
        return None
    method = bench.flux.method
    return {**bench.loaded.summary(method), "full_steps": bench.full_steps or method.steps}
