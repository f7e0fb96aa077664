"""How far a transmitter may move before its answer must be made anew: what `reuse_ratio: auto` gains and costs.

The answer to a displaced transmitter is scored against the truth of the place that it left or came to: that is what a
planner gets who is answered by a map that was made up to so far away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdflux_ros.data.radiomapseer import DataError, RadioMapSeer, Sample
from rdflux_ros.evaluation.accuracy import ROOF_HEIGHT_M
from rdflux_ros.evaluation.console import model_name, table, with_interval
from rdflux_ros.evaluation.inference import timed
from rdflux_ros.evaluation.journal import opened
from rdflux_ros.evaluation.methods import WINDOW, Split, Workbench
from rdflux_ros.evaluation.metrics import mean, paired_comparison, scores
from rdflux_ros.flux.loading import load_model
from rdflux_ros.flux.pipeline import FluxPipeline
from rdflux_ros.mapping.config import STILL_M
from rdflux_ros.mapping.mapper import select_device
from rdflux_ros.model.shipped import SHIPPED
from rdflux_ros.radio.grid import MARGIN_M, WINDOW_M

DISTANCES_M = (0.1, 0.2, 0.3, 0.4, 0.5, 1.0, 2.0, 4.0)
"""How far transmitters are displaced [m]."""
LAST_STEPS = (10, 5, 2, 1)
"""Of the fixed reuse ratios that auto is compared to; its own has one."""
SPACINGS_M = (0.1, 0.2, 0.5, 1.0)
"""Between the poses of flights over which auto's means are taken [m]; the first three divide `STILL_M`."""
APART = 1_000_000
"""Between the numbers of one transmitter's displacements [mm] and of the next one's."""


def evaluate_movement(
    data: Path,
    split: str = "val",
    *,
    pairs: int = 100,
    seed: int = 0,
    model: str = SHIPPED,
    map_resolution: float | None = None,
    device: str = "auto",
    journal: Path | None = None,
    report: Path | None = None,
) -> dict[str, Any]:
    """Score answers that are kept while the transmitter moves, and fixed reuse ratios beside them.

    Parameters
    ----------
    pairs
        Maps, evenly over the split's scenes; each is displaced in one direction, level.
    seed
        Of the draw of maps and directions, and of the intervals.
    map_resolution, device, model
        As for accuracy.
    journal
        File that results are kept in as they come; with the same settings it is gone on with.
    report
        Folder for tables and a plot.

    Raises
    ------
    DataError
        The dataset does not fit, or the model has no two stages.
    MissingModelError, CheckpointError
        The model's file does not fit.
    """
    from tqdm import tqdm

    maps = Split(RadioMapSeer(data, split), map_resolution)
    if (loaded := load_model(model, select_device(device))) is None:
        raise DataError("there is no model, so nothing is reused")
    steps = loaded.model.config.method.steps
    ratios = [round(1 - last / steps, 9) for last in LAST_STEPS if last < steps]
    pipelines = {ratio: FluxPipeline(loaded.model, reuse_ratio=ratio) for ratio in ratios}
    bench = Workbench(device, loaded=loaded, flux=pipelines[ratios[-1]], split=maps, seed=seed)
    if lacking := bench.lacks("aligned"):
        raise DataError(lacking)
    settings = {
        "data": data.name,
        "split": split,
        "map_resolution": map_resolution or maps[0].resolution,
        "model": loaded.summary(bench.flux.method),
        "device": str(bench.device),
        "seed": seed,
        "distances_m": list(DISTANCES_M),
        "ratios": ratios,
    }
    kept = opened(journal, settings)
    chosen = sorted(maps.evenly(pairs, seed))
    for index in tqdm(chosen, desc="movement", unit="map", dynamic_ncols=True):
        if maps.names[index] not in kept.results:
            kept.add(maps.names[index], _measured(bench, pipelines, maps[index], seed + index))
    results = [kept.results[maps.names[index]] for index in chosen]
    summary = {**settings, "maps": len(results), **_by_height(results, seed)}
    if report is not None:
        _write_report(report, summary)
    return summary


def displaced(sample: Sample, distance: float, direction: float) -> Sample | None:
    """The sample with its transmitter moved level [m, rad]; None where that leaves the window or meets a building."""
    x = sample.position[0] + distance * math.cos(direction)
    y = sample.position[1] + distance * math.sin(direction)
    z = sample.position[2]
    row, col = (int((v + MARGIN_M) / sample.resolution) for v in (y, x))
    if not (0 < x < WINDOW_M and 0 < y < WINDOW_M) or sample.surroundings_m[row, col] >= z:
        return None
    number = APART * (sample.transmitter + 1) + round(1000 * distance)
    return replace(sample, position=np.array([x, y, z]), transmitter=number)


def _answer(bench: Workbench, flux: FluxPipeline, sample: Sample) -> tuple[NDArray[np.float32], float]:
    """The aligned stage's grey [256, 256] at the pipeline's R, and what it took [s]."""
    part, pose = bench.region(sample, aligned=True, flux=flux), bench.pose(sample)
    grey, seconds = timed(bench.device, lambda: flux.answer(part, pose, WINDOW)[0, 0].float().cpu().numpy())
    return grey, seconds + bench.pose_seconds(sample)


def _measured(bench: Workbench, pipelines: dict[float, FluxPipeline], sample: Sample, seed: int) -> dict[str, Any]:
    """NMSE and time at each ratio, NMSE and change of the answers that were made elsewhere; NaN where none can be."""
    direction = np.random.default_rng(seed).uniform(0.0, 2 * math.pi)
    fixed: dict[str, dict[str, float]] = {}
    moved: dict[str, dict[str, float]] = {}
    for ratio, flux in pipelines.items():
        grey, seconds = _answer(bench, flux, sample)
        fixed[f"{ratio:g}"] = {"nmse": scores(grey, sample.grey, sample.free)["nmse"], "ms": 1e3 * seconds}
    fastest = pipelines[max(pipelines)]
    here, _ = _answer(bench, fastest, sample)
    for distance in DISTANCES_M:
        if (there := displaced(sample, distance, direction)) is None:
            moved[f"{distance:g}"] = {"nmse": math.nan, "rmse_db": math.nan}
            continue
        grey, _ = _answer(bench, fastest, there)
        moved[f"{distance:g}"] = {
            "nmse": scores(grey, sample.grey, sample.free)["nmse"],
            "rmse_db": scores(grey, here, sample.free)["rmse_db"],
        }
    return {"scene": sample.scene, "z_m": float(sample.position[2]), "fixed": fixed, "moved": moved}


def _by_height(results: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    above = [result for result in results if result["z_m"] >= ROOF_HEIGHT_M]
    below = [result for result in results if result["z_m"] < ROOF_HEIGHT_M]
    return {
        **summarise_movement(results, seed),
        "above_25m": summarise_movement(above, seed),
        "below_25m": summarise_movement(below, seed),
    }


def summarise_movement(results: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Means over maps: of kept answers by distance, of fixed ratios, and of auto by the spacing of poses.

    ``lost`` is against the answer at the place itself, with its interval over scenes (95 %, bootstrap). Maps without
    energy count nowhere.
    """
    if not results:
        return {"moved": [], "fixed": [], "auto": []}
    ratios = list(results[0]["fixed"])
    scenes = [result["scene"] for result in results]
    fresh = [result["fixed"][ratios[-1]]["nmse"] for result in results]
    moved, found = [], {0.0: mean(fresh)}
    for distance in DISTANCES_M:
        there = [result["moved"][f"{distance:g}"] for result in results]
        lost = paired_comparison([one["nmse"] for one in there], fresh, scenes, seed=seed)
        found[distance] = found[0.0] + lost["difference"]
        moved.append({
            "distance_m": distance,
            "maps": sum(not math.isnan(one["nmse"]) for one in there),
            "rmse_db": mean([one["rmse_db"] for one in there]),
            "nmse": found[distance],
            "lost": lost["difference"],
            "low": lost["low"],
            "high": lost["high"],
        })  # fmt: skip
    fixed = [
        {
            "reuse_ratio": float(ratio),
            "nmse": mean([result["fixed"][ratio]["nmse"] for result in results]),
            "ms": mean([result["fixed"][ratio]["ms"] for result in results]),
        }
        for ratio in ratios
    ]
    auto = []
    for spacing in SPACINGS_M:
        reached = [round(k * spacing, 3) for k in range(1 + int(STILL_M / spacing + 1e-9))]
        nmse = float(np.mean([found[distance] for distance in reached]))
        share = 1 / len(reached)
        auto.append({"spacing_m": spacing, "computed": share, "nmse": nmse, "ms": share * fixed[-1]["ms"]})
    return {"moved": moved, "fixed": fixed, "auto": auto}


def movement_lines(summary: dict[str, Any]) -> list[str]:
    """What a summary says, as markdown."""
    model = summary["model"]
    heights = (("all", summary), ("z >= 25 m", summary["above_25m"]), ("z < 25 m", summary["below_25m"]))
    moved = [
        [
            label,
            f"{row['distance_m']:g}",
            *(row[key] for key in ("maps", "rmse_db", "nmse")),
            with_interval(row["lost"], row["low"], row["high"]),
        ]
        for label, found in heights
        for row in found["moved"]
    ]
    ways = [[f"R = {row['reuse_ratio']:g}", "every pose", row["ms"], row["nmse"]] for row in summary["fixed"]]
    ways += [
        [f"auto, a pose every {row['spacing_m']:g} m", f"{row['computed']:.0%} of the poses", row["ms"], row["nmse"]]
        for row in summary["auto"]
    ]
    return [
        f"{summary['maps']} maps of {summary['data']}, split {summary['split']}, walls at "
        f"{summary['map_resolution']:g} m, drawn by seed {summary['seed']}. Model {model_name(model)}, "
        "aligned second stage, one step where R is not stated. An answer that was made for a "
        "transmitter so far away, level, in a drawn direction, against the truth; lost: against the answer that was "
        "made for the place itself (95 %, bootstrap over scenes); rms: between the two answers.",
        "",
        table(["transmitters", "moved m", "maps", "rms dB", "NMSE", "lost"], moved),
        "",
        f"`reuse_ratio: auto` keeps an answer within {STILL_M:g} m of where it was computed, and else takes one step. "
        "Mean time of an answer, and mean NMSE along a straight flight whose poses are so far apart:",
        "",
        table(["reuse ratio", "computed", "mean ms", "NMSE"], ways),
    ]


def _write_report(folder: Path, summary: dict[str, Any]) -> None:
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(7.0, 4.4), layout="constrained")
    axis = figure.subplots()
    for label, colour, found in (
        ("z >= 25 m", "tab:blue", summary["above_25m"]),
        ("z < 25 m", "tab:orange", summary["below_25m"]),
    ):
        rows = found["moved"]
        if rows:
            distances = [row["distance_m"] for row in rows]
            axis.plot(distances, [row["lost"] for row in rows], ".-", color=colour, label=label)
            axis.fill_between(
                distances, [row["low"] for row in rows], [row["high"] for row in rows], color=colour, alpha=0.2
            )
    axis.axvline(STILL_M, color="0.4", linestyle="--", label="kept up to here by auto")
    axis.axhline(0.0, color="0.7", linewidth=0.8)
    axis.set(xlabel="moved [m]", ylabel="NMSE lost", xscale="log")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(folder / "movement.png", dpi=100)
    lines = ["# How far a transmitter may move", "", *movement_lines(summary), "", "![movement](movement.png)"]
    (folder / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
