"""Accuracy of every method on a split of a dataset, and where the error sits."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdflux_ros.data.radiomapseer import RadioMapSeer, Sample
from rdflux_ros.data.transforms import coarsened
from rdflux_ros.evaluation.methods import Workbench, build_methods
from rdflux_ros.evaluation.metrics import scores, summarise
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
            chosen = [scored for scored, is_above in zip(self.maps, self.above, strict=True) if is_above == above]
            return {"maps": len(chosen), **summarise(chosen), "where": self.where[above].summary()}

        return {
            **summarise(self.maps),
            "above_25m": part(True),
            "below_25m": part(False),
            "ms_per_map": 1e3 * float(np.mean(self.seconds)) if self.seconds else float("nan"),
        }


def evaluate_accuracy(
    data: Path,
    split: str = "test",
    *,
    methods: list[str] | None = None,
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
        The dataset or a method's name does not fit.
    """
    from tqdm import tqdm

    dataset = RadioMapSeer(data, split, cars=cars)
    bench = Workbench(device)
    answerers = build_methods(methods, bench)
    results = {name: MethodScores() for name in answerers}
    chosen = _spread(len(dataset), limit)
    for index in tqdm(chosen, desc=f"accuracy, {split}", unit="map", dynamic_ncols=True):
        sample = _resampled(dataset[index], map_resolution)
        for name, answer in answerers.items():
            start = time.perf_counter()
            grey = answer(sample)
            result = results[name]
            result.seconds.append(time.perf_counter() - start)
            result.maps.append(scores(grey, sample.grey, sample.free))
            result.above.append(bool(sample.position[2] >= ROOF_HEIGHT_M))
            result.where[result.above[-1]].add(grey - sample.grey, places(sample, bench.visible(sample)))
    summary: dict[str, Any] = {
        "data": data.name,
        "split": split,
        "cars": cars,
        "map_resolution": map_resolution or dataset[0].resolution,
        "maps": len(chosen),
        "methods": {name: result.summary() for name, result in results.items()},
    }
    if report is not None:
        from rdflux_ros.evaluation.report import Panel, write_accuracy_report

        def panel(number: int, name: str) -> Panel:
            sample = _resampled(dataset[chosen[number]], map_resolution)
            x, y, z = sample.position
            title = f"{name}, {sample.name}, z = {z:.0f} m"
            return Panel(title, answerers[name](sample), sample.grey, sample.free, (x, y))

        per_map = {name: [scored["nmse"] for scored in result.maps] for name, result in results.items()}
        write_accuracy_report(report, summary, [dataset.names[i] for i in chosen], per_map, panel)
    return summary


def _resampled(sample: Sample, resolution: float | None) -> Sample:
    return sample if resolution is None or resolution == sample.resolution else coarsened(sample, resolution)


def _spread(length: int, limit: int | None) -> list[int]:
    if limit is None or limit >= length:
        return list(range(length))
    return sorted({int(i) for i in np.linspace(0, length - 1, max(limit, 1)).round()})
