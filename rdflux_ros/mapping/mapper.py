"""The whole way from a pose to its radio map; node, replay and evaluation all go through here."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rdflux_ros.flux.midpoints import RegionCache
from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.mapping.inputs import InputError, Pose, StreetMap
from rdflux_ros.mapping.regions import (
    Region,
    RegionTracker,
    content_key,
    crop,
    footprint,
    height_at,
    nearest_region,
)
from rdflux_ros.propagation.facades import Facades, trace_facades
from rdflux_ros.propagation.physics_layer import PhysicsConfig, PhysicsLayer
from rdflux_ros.radio.grid import MARGIN_M, WINDOW_M
from rdflux_ros.radio.radio_map import RadioMap, Transmitter
from rdflux_ros.radio.units import FLOOR_PATHLOSS_DB
from rdflux_ros.settings import SettingError

__all__ = ["MapperConfig", "RadioMapper", "StaticPart", "select_device"]

Z_RANGE_M = (5.0, 120.0)
"""Heights above ground that are answered as they are [m]; others are clamped and marked."""
BATCH = 16
"""Transmitters in one pass."""


@dataclass(frozen=True)
class StaticPart:
    """What the streets alone decide of a region: its walls and its cells without value [256, 256]."""

    facades: Facades
    buildings: NDArray[np.bool_]


def select_device(name: str) -> torch.device:
    """The torch device of the setting `device`; `SettingError` where CUDA is asked for and there is none."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise SettingError("device = 'cuda': torch finds no CUDA device here; use 'auto' or 'cpu'")
    return torch.device("cuda" if name != "cpu" and available else "cpu")


class RadioMapper:
    """Answers poses over one map of streets. Not thread-safe: one thread owns it.

    Raises
    ------
    SettingError
        `device` is ``cuda`` and there is none, or `model` names a file.
    """

    def __init__(self, config: MapperConfig | None = None) -> None:
        self.config = config or MapperConfig()
        if self.config.model:
            raise SettingError(f"model = {self.config.model!r}: only the physics layer answers yet; leave it empty")
        self.device = select_device(self.config.device)
        self._physics = PhysicsLayer(PhysicsConfig(reflection_order=self.config.reflection_order))
        self._cache: RegionCache[StaticPart] = RegionCache(self.config.cache_size)
        self._keys: dict[Region, str] = {}
        self._tracker = RegionTracker()
        self._streets: StreetMap | None = None

    @property
    def streets(self) -> StreetMap | None:
        """The map that poses are answered on."""
        return self._streets

    @property
    def regions_prepared(self) -> int:
        """How often a region's static part was computed."""
        return self._cache.misses

    @property
    def region_hits(self) -> int:
        """How often a region's static part was ready."""
        return self._cache.hits

    def set_streets(self, street_map: StreetMap) -> None:
        """Answer on this map from now on; only regions whose content changed are prepared again."""
        self._streets = street_map
        self._keys.clear()

    def reset_track(self) -> None:
        """Forget the live track's region."""
        self._tracker.reset()

    def clear_cache(self) -> None:
        """Forget all static parts."""
        self._cache.clear()

    def warm_up(self) -> None:
        """Run everything once on empty streets, so that the first pose does not pay for it."""
        side = WINDOW_M + 2 * int(MARGIN_M)
        facades = trace_facades(np.zeros((side, side), np.float32), 1.0, self.device)
        self._gain_db(facades, [(128.0, 128.0, 30.0)])

    def transmitter(self, pose: Pose) -> Transmitter:
        """Where the antenna of a pose is, if it can be answered.

        Raises
        ------
        InputError
            ``no_map``, ``pose_outside_map``, ``pose_below_ground``, ``pose_inside_building``.
        """
        streets = self._map()
        z = pose.z + self.config.antenna_offset_z_m - self.config.ground_z_m
        where = f"pose ({pose.x:.1f}, {pose.y:.1f}, {pose.z:.1f})"
        if not np.isfinite([pose.x, pose.y, z]).all():
            raise InputError("pose_not_finite", f"{where} is not finite")
        if not streets.extent.contains(pose.x, pose.y):
            raise InputError("pose_outside_map", f"{where} is outside the map")
        if z <= 0:
            raise InputError("pose_below_ground", f"{where} puts the antenna {-z:.1f} m below the ground")
        roof = height_at(streets, pose.x, pose.y, self.config)
        if min(z, _clamped(z)) <= roof:
            raise InputError("pose_inside_building", f"{where} is inside a building {roof:.1f} m high")
        return Transmitter(pose.x, pose.y, z)

    def answer(self, pose: Pose) -> RadioMap:
        """The live track's next answer: keeps its region near the centre; raises as `transmitter` does."""
        transmitter = self.transmitter(pose)
        return self._answers(self._tracker.update(pose.x, pose.y), [pose], [transmitter])[0]

    def query(self, pose: Pose) -> RadioMap:
        """The answer of the nearest region; the live track stays as it is; raises as `transmitter` does."""
        transmitter = self.transmitter(pose)
        return self._answers(nearest_region(pose.x, pose.y), [pose], [transmitter])[0]

    def answer_batch(self, poses: Sequence[Pose]) -> list[RadioMap]:
        """`query` for many poses, those of one region in one pass; the first that cannot be answered raises."""
        transmitters = [self.transmitter(pose) for pose in poses]
        groups: dict[Region, list[int]] = defaultdict(list)
        for index, pose in enumerate(poses):
            groups[nearest_region(pose.x, pose.y)].append(index)
        answers: dict[int, RadioMap] = {}
        for region, members in groups.items():
            for start in range(0, len(members), BATCH):
                part = members[start : start + BATCH]
                found = self._answers(region, [poses[i] for i in part], [transmitters[i] for i in part])
                answers.update(zip(part, found, strict=True))
        return [answers[index] for index in range(len(poses))]

    def _map(self) -> StreetMap:
        if self._streets is None:
            raise InputError("no_map", "no map yet")
        return self._streets

    def _answers(self, region: Region, poses: Sequence[Pose], transmitters: Sequence[Transmitter]) -> list[RadioMap]:
        """One pass over one region; the times are shared out evenly."""
        start = time.perf_counter()
        static, hit = self._static_part(region)
        prepared = time.perf_counter()
        grid = region.grid
        pathloss = -self._gain_db(
            static.facades, [(t.x - grid.origin_x, t.y - grid.origin_y, _clamped(t.z)) for t in transmitters]
        )
        np.minimum(pathloss, FLOOR_PATHLOSS_DB, out=pathloss)
        pathloss[:, static.buildings] = np.nan
        end = time.perf_counter()
        share = 1000.0 / len(poses)
        latency = {
            "region": 0.0 if hit else (prepared - start) * share,
            "physics": (end - prepared) * share,
            "total": (end - start) * share,
        }
        return [
            RadioMap(
                pathloss_db=pathloss[k],
                grid=grid,
                transmitter=transmitter,
                stamp_ns=pose.stamp_ns,
                frame_id=self._map().frame_id,
                region=(region.i, region.j),
                cache="hit" if hit else "miss",
                extrapolated=_clamped(transmitter.z) != transmitter.z,
                latency_ms=dict(latency),
            )
            for k, (pose, transmitter) in enumerate(zip(poses, transmitters, strict=True))
        ]

    def _static_part(self, region: Region) -> tuple[StaticPart, bool]:
        key = self._keys.get(region)
        seen = None
        if key is None:  # cut and hashed once per region and map
            seen = self._seen(region)
            key = self._keys[region] = content_key(*seen)

        def compute() -> StaticPart:
            heights, buildings, resolution = seen or self._seen(region)
            return StaticPart(trace_facades(heights, resolution, self.device), buildings)

        return self._cache.get_or_compute(key, compute)

    def _seen(self, region: Region) -> tuple[NDArray[np.float32], NDArray[np.bool_], float]:
        """What the region sees of the streets: heights [m] and their resolution [m], cells without value."""
        streets = self._map()
        return crop(streets, region, self.config), footprint(streets, region, self.config), streets.grid.resolution

    def _gain_db(self, facades: Facades, transmitters: Sequence[tuple[float, float, float]]) -> NDArray[np.float32]:
        """[B, 256, 256] path gain [dB] of transmitters in window coordinates."""
        points = torch.tensor(transmitters, dtype=torch.float32, device=self.device)
        return self._physics(facades, points).gain_db().cpu().numpy()


def _clamped(z: float) -> float:
    low, high = Z_RANGE_M
    return min(max(z, low), high)
