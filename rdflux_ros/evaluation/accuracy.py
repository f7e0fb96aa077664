"""Accuracy of every method on a split of a dataset, and where the error sits."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdflux_ros.data.radiomapseer import RadioMapSeer, Sample
from rdflux_ros.evaluation.methods import Split, Workbench, check_names, choose_methods, needs_model
from rdflux_ros.evaluation.metrics import scores, summarise
from rdflux_ros.flux.loading import load_model
from rdflux_ros.flux.pipeline import FluxPipeline
from rdflux_ros.mapping.mapper import select_device
from rdflux_ros.model.shipped import PHYSICS, SHIPPED
from rdflux_ros.radio.units import GREY_SPAN_DB

ROOF_HEIGHT_M = 25.0
"""Transmitters from this height on count as above the roofs [m]."""
PLACES = ("line_of_sight", "shadow", "unreached")
"""Where a free cell lies: seen by the transmitter, not seen, or reached by no ray of the truth."""


@dataclass
class ErrorByPlace:
    """Sums over maps of cells and errors by place, on the grey scale."""

    cells: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(PLACES), np.int64))
    error: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(PLACES)))
    squared_error: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(PLACES)))

    def add(self, error: NDArray[np.float32], places: list[NDArray[np.bool_]]) -> None:
        """Count one map's error (answer minus truth, grey [256, 256])."""
        for index, mask in enumerate(places):
            values = error[mask].astype(np.float64)
            self.cells[index] += len(values)
            self.error[index] += values.sum()
            self.squared_error[index] += np.sum(values**2)

    def summary(self) -> dict[str, dict[str, float]]:
        """By place: share of the free cells and of the squared error, bias and rms [dB]."""
        cells, squares = max(int(self.cells.sum()), 1), float(self.squared_error.sum()) or 1.0
        return {
            place: {
                "cells_share": float(self.cells[i]) / cells,
                "error_share": float(self.squared_error[i]) / squares,
                "bias_db": GREY_SPAN_DB * float(self.error[i]) / max(int(self.cells[i]), 1),
                "rms_db": GREY_SPAN_DB * float(np.sqrt(self.squared_error[i] / max(int(self.cells[i]), 1))),
            }
            for i, place in enumerate(PLACES)
        }


def places(sample: Sample, visible: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Masks [256, 256] of the sample's free cells in the order of `PLACES`; `visible` as the physics layer sees it."""
    unreached = sample.free & (sample.grey == 0)
    reached = sample.free & ~unreached
    return [reached & visible, reached & ~visible, unreached]


@dataclass
class MethodScores:
    """What one method did, map by map."""

    maps: list[dict[str, float]] = field(default_factory=list)
    above: list[bool] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    where: dict[bool, ErrorByPlace] = field(default_factory=lambda: {True: ErrorByPlace(), False: ErrorByPlace()})

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
    report: Path | None = None,
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
    report
        Folder for pictures and a markdown table.

    Raises
    ------
    DataError
        The dataset or a method's name does not fit, or the model has not what a named method needs.
    MissingModelError, CheckpointError, SettingError
        The model's file or what is changed of its method does not fit.
    """
    from tqdm import tqdm

    check_names(methods)
    dataset = RadioMapSeer(data, split, cars=cars)
    maps = Split(dataset, map_resolution)
    bench = _workbench(model if needs_model(methods) else ModelChoice(PHYSICS), maps, device, seed)
    answering, left_out = choose_methods(methods, bench)
    for name, reason in left_out.items():
        print(f"evaluate: method {name} left out: {reason}", file=sys.stderr)
    results = {name: MethodScores() for name in answering}
    chosen = _spread(len(maps), limit)
    for index in tqdm(chosen, desc=f"accuracy, {split}", unit="map", dynamic_ncols=True):
        sample = maps[index]
        for name, result in results.items():
            grey, seconds = bench.answer(name, sample)
            result.seconds.append(seconds)
            result.maps.append(scores(grey, sample.grey, sample.free))
            result.above.append(bool(sample.position[2] >= ROOF_HEIGHT_M))
            result.where[result.above[-1]].add(grey - sample.grey, places(sample, bench.visible(sample)))
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
    }
    if report is not None:
        from rdflux_ros.evaluation.report import Panel, write_accuracy_report

        def panel(number: int, name: str) -> Panel:
            sample = maps[chosen[number]]
            x, y, z = sample.position
            title = f"{name}, {sample.name}, z = {z:.0f} m"
            return Panel(title, bench.answer(name, sample)[0], sample.grey, sample.free, (x, y))

        per_map = {name: [scored["nmse"] for scored in result.maps] for name, result in results.items()}
        write_accuracy_report(report, summary, [maps.names[i] for i in chosen], per_map, panel)
    return summary


def _workbench(choice: ModelChoice, maps: Split, device: str, seed: int) -> Workbench:
    loaded = load_model(choice.name, select_device(device))
    if loaded is None:
        return Workbench(device)
    flux = FluxPipeline(
        loaded.model,
        reuse_ratio=choice.reuse_ratio,
        static_steps=choice.static_steps,
        temperature=choice.temperature,
    )
    return Workbench(device, loaded=loaded, flux=flux, split=maps, seed=seed, full_steps=choice.full_steps)


def _model_summary(bench: Workbench) -> dict[str, Any] | None:
    if bench.loaded is None:
        return None
    method = bench.flux.method
    return {**bench.loaded.summary(method), "full_steps": bench.full_steps or method.steps}


def _spread(length: int, limit: int | None) -> list[int]:
    if limit is None or limit >= length:
        return list(range(length))
    return sorted({int(i) for i in np.linspace(0, length - 1, max(limit, 1)).round()})
