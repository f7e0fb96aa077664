"""Jitter: how much answers change from frame to frame along a flight, beside how much the truth does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdflux_ros.data.radiomapseer import DataError, Sample
from rdflux_ros.evaluation.journal import opened
from rdflux_ros.evaluation.methods import Workbench
from rdflux_ros.evaluation.metrics import mean, paired_comparison
from rdflux_ros.evaluation.reuse_bench import ReuseBench
from rdflux_ros.evaluation.truth import FlightTruth
from rdflux_ros.flux.loading import LoadedModel
from rdflux_ros.flux.pipeline import FluxPipeline
from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.mapping.inputs import StreetMap, load_height_map, load_occupancy, street_map
from rdflux_ros.mapping.regions import Region, RegionTracker, crop, footprint
from rdflux_ros.radio.grid import WINDOW_M
from rdflux_ros.radio.units import GREY_SPAN_DB


@dataclass(frozen=True)
class Frame:
    """A pose of a flight with the truth of its window.

    Parameters
    ----------
    region
        That a live track has there.
    known
        [256, 256] free cells of which the truth says something.
    """

    region: Region
    sample: Sample
    known: NDArray[np.bool_]


class Flight:
    """The poses of a flight that have a truth, as samples of the windows that answer them.

    Parameters
    ----------
    folder
        With ``map.yaml``, perhaps ``height.yaml``, ``poses.csv`` and ``truth/``.

    Raises
    ------
    DataError, InputError
        Something of it is missing or malformed.
    """

    def __init__(self, folder: Path) -> None:
        self.name = folder.resolve().name
        self._config = MapperConfig()
        heights = folder / "height.yaml"
        occupancy = load_occupancy(folder / "map.yaml")
        self._extent = occupancy.grid
        self._streets: StreetMap = street_map(
            occupancy, self._config, load_height_map(heights) if heights.is_file() else None
        )
        self._truth = FlightTruth(folder / "truth")
        self._numbers = sorted(self._truth.match(self._truth.positions).items())
        tracker = RegionTracker()
        track = [tracker.update(x, y) for x, y, _ in self._truth.positions]
        self.regions = [track[pose] for pose, _ in self._numbers]

    def __len__(self) -> int:
        return len(self._numbers)

    def steps(self) -> list[tuple[int, int]]:
        """Frames of poses that follow each other."""
        poses = [pose for pose, _ in self._numbers]
        return [(k, k + 1) for k in range(len(poses) - 1) if poses[k + 1] == poses[k] + 1]

    def first_in_region(self, index: int) -> int:
        """The first frame whose window is that of frame `index`."""
        return self.regions.index(self.regions[index])

    def __getitem__(self, index: int) -> Frame:
        """The frame; raises `DataError` where its truth does not fit."""
        (pose, image), region = self._numbers[index], self.regions[index]
        found = self._truth.window(image, self._extent, region.grid)
        if found is None:
            raise DataError(f"flight {self.name}: the truth of pose {pose} says nothing of its window")
        grey, covered = np.zeros((WINDOW_M, WINDOW_M), np.float32), np.zeros((WINDOW_M, WINDOW_M), bool)
        grey[found[1]], covered[found[1]] = found[0], True
        buildings = footprint(self._streets, region, self._config)
        x, y, z = self._truth.positions[pose]
        sample = Sample(
            scene=f"{self.name}:{region.i}:{region.j}",
            transmitter=pose,
            position=np.array([x - region.grid.origin_x, y - region.grid.origin_y, z]),
            heights_m=np.where(buildings, np.float32(self._config.building_height_m), np.float32(0)),
            surroundings_m=crop(self._streets, region, self._config),
            resolution=self._streets.grid.resolution,
            cars=np.zeros_like(buildings),
            grey=np.where(buildings, np.float32(0), grey),
        )
        return Frame(region, sample, covered & ~buildings)


def evaluate_flight(
    folder: Path, loaded: LoadedModel, device: str = "auto", *, seed: int = 0, journal: Path | None = None
) -> dict[str, Any]:
    """Change of each method's answers from frame to frame, and of the truth's, at the model's own reuse ratio.

    Vanilla reuse keeps the midpoint of the first pose in a region. Cells count that both frames know.

    Parameters
    ----------
    journal
        File that each step's changes are kept in as they come; with the same settings it is gone on with.

    Raises
    ------
    DataError, InputError
        The flight is not whole, or the model lacks what reuse needs.
    """
    from tqdm import tqdm

    flight = Flight(folder)
    bench = Workbench(device, loaded=loaded, flux=FluxPipeline(loaded.model))
    reuse = ReuseBench(bench, [bench.flux.method.reuse_ratio])
    model = loaded.summary(bench.flux.method)
    settings = {"flight": flight.name, "model": model, "device": str(bench.device), "rows": reuse.rows()}
    kept = opened(journal, settings)

    def answers(index: int, frame: Frame) -> dict[str, NDArray[np.float32]]:
        origin = flight[flight.first_in_region(index)].sample
        found = {answer.method: answer.grey for answer in reuse.answers(frame.sample, origin)}
        return {"truth": frame.sample.grey, **found}

    if not (steps := flight.steps()):
        raise DataError(f"{folder}: no two poses with a truth follow each other")
    last: tuple[int, dict[str, NDArray[np.float32]]] | None = None
    for before, after in tqdm(steps, desc=f"flight, {flight.name}", unit="step", dynamic_ncols=True):
        if str(after) in kept.results:
            continue
        frames = flight[before], flight[after]
        earlier = last[1] if last is not None and last[0] == before else answers(before, frames[0])
        later = answers(after, frames[1])
        last = after, later
        kept.add(str(after), {"rms_db": {name: changed_db(frames, (earlier[name], later[name])) for name in later}})
    return {
        "name": flight.name,
        "steps": len(steps),
        "crossings": sum(flight.regions[a] != flight.regions[b] for a, b in steps),
        "methods": _summary(
            [kept.results[str(after)]["rms_db"] for _, after in steps],
            [str(flight.regions[after]) for _, after in steps],
            seed,
        ),
    }


def changed_db(frames: tuple[Frame, Frame], greys: tuple[NDArray[np.float32], NDArray[np.float32]]) -> float:
    """RMS change [dB] over the cells that both frames know, at the same place; NaN where there are none."""
    (south_a, west_a), (south_b, west_b) = (
        (round(frame.region.grid.origin_y), round(frame.region.grid.origin_x)) for frame in frames
    )
    rows, cols = south_b - south_a, west_b - west_a
    first = slice(max(rows, 0), WINDOW_M + min(rows, 0)), slice(max(cols, 0), WINDOW_M + min(cols, 0))
    second = slice(max(-rows, 0), WINDOW_M + min(-rows, 0)), slice(max(-cols, 0), WINDOW_M + min(-cols, 0))
    known = frames[0].known[first] & frames[1].known[second]
    change = (greys[1][second] - greys[0][first])[known].astype(np.float64)
    return GREY_SPAN_DB * float(np.sqrt(np.mean(change**2))) if len(change) else float("nan")


def _summary(steps: Sequence[dict[str, float]], regions: Sequence[str], seed: int) -> dict[str, dict[str, float]]:
    """By method and for the truth: mean rms change [dB] over steps, and less the truth's own with its interval.

    Steps into one region share its streets and what is kept of them, so regions are resampled.
    """
    truth = [step["truth"] for step in steps]
    found = {}
    for name in steps[0]:
        changes = [step[name] for step in steps]
        excess = paired_comparison(changes, truth, regions, seed=seed)
        found[name] = {
            "rms_db": mean(changes),
            "less_truth_db": excess["difference"],
            "low": excess["low"],
            "high": excess["high"],
        }
    return found
