"""The whole way from a pose to its radio map; node, replay and evaluation all go through here."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdflux_ros.flux.conditions import mean_heights, streets_image
from rdflux_ros.flux.loading import load_model
from rdflux_ros.flux.midpoints import RegionCache
from rdflux_ros.flux.pipeline import FluxPipeline, StreetsPart
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
from rdflux_ros.model.checkpoint import CheckpointError
from rdflux_ros.propagation.facades import Facades, trace_facades
from rdflux_ros.propagation.physics_layer import PathGains, PhysicsConfig, PhysicsLayer
from rdflux_ros.radio.grid import MARGIN_M, WINDOW_M
from rdflux_ros.radio.radio_map import MIDPOINT_PENDING, RadioMap, Transmitter
from rdflux_ros.radio.units import FLOOR_GAIN_DB, FLOOR_PATHLOSS_DB, GREY_SPAN_DB
from rdflux_ros.settings import SettingError

__all__ = ["MapperConfig", "RadioMapper", "StaticPart", "select_device"]

Z_RANGE_M = (5.0, 120.0)
"""Heights above ground that are answered as they are [m]; others are clamped and marked."""
BATCH = 16
"""Transmitters in one pass."""
NO_MIDPOINT = "the first stage failed"
NOT_FINITE = "the network's answer is not finite"
STALE_S = 10.0
"""Poses farther apart tell nothing of the speed [s]."""


@dataclass
class StaticPart:
    """What the streets alone decide of a region: walls, cells without value [256, 256], the method's part.

    The method's part is made step by step, so that poses can be answered meanwhile.
    """

    facades: Facades
    buildings: NDArray[np.bool_]
    steps: Generator[None, None, StreetsPart] | None = None
    """What is left to do for the method's part; None: nothing."""
    streets: StreetsPart | None = None

    @property
    def ready(self) -> bool:
        """Nothing is left to do."""
        return self.steps is None

    def advance(self) -> None:
        """Take one step; one that fails leaves the part without the method's."""
        if self.steps is not None:
            steps, self.steps = self.steps, None
            try:
                next(steps)
            except StopIteration as end:
                self.streets = end.value
            else:
                self.steps = steps


@dataclass
class _Track:
    """A live transmitter: its region, where it was last, and the region that it will enter next."""

    tracker: RegionTracker = field(default_factory=RegionTracker)
    last: Pose | None = None
    ahead: Region | None = None


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
        `device` is ``cuda`` and there is none, or `reuse_ratio` leaves no whole steps.
    MissingModelError, CheckpointError
        There is no such model file, or it cannot be used.
    """

    def __init__(self, config: MapperConfig | None = None) -> None:
        self.config = config or MapperConfig()
        self.device = select_device(self.config.device)
        self._physics = PhysicsLayer(PhysicsConfig(reflection_order=self.config.reflection_order))
        self._flux, self._shaped_by = self._pipeline()
        self._cache: RegionCache[StaticPart] = RegionCache(self.config.cache_size)
        self._hits = 0
        self._keys: dict[Region, str] = {}
        self._track = _Track()
        self._streets: StreetMap | None = None

    def _pipeline(self) -> tuple[FluxPipeline | None, tuple[object, ...]]:
        """The networks, and what of them shapes a midpoint."""
        config = self.config
        loaded = load_model(config.model, self.device)
        if loaded is None:
            return None, ()
        if lacking := loaded.lacks("static", "aligned" if config.aligned else "conditional"):
            raise CheckpointError(lacking)
        pipeline = FluxPipeline(
            loaded.model,
            reuse_ratio=config.reuse_ratio or None,
            static_steps=None if config.static_steps < 0 else config.static_steps,
        )
        return pipeline, (loaded.digest, pipeline.method, config.aligned)

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
        """How many passes found their region's static part ready."""
        return self._hits

    def set_streets(self, street_map: StreetMap) -> None:
        """Answer on this map from now on; only regions whose content changed are prepared again."""
        self._streets = street_map
        self._keys.clear()

    def reset_track(self) -> None:
        """Forget the live track's region."""
        self._track = _Track()

    def clear_cache(self) -> None:
        """Forget all static parts."""
        self._cache.clear()

    def warm_up(self) -> None:
        """Run everything once on empty streets, so that the first pose does not pay for it."""
        side = WINDOW_M + 2 * int(MARGIN_M)
        static = self._computed(np.zeros((side, side), np.float32), np.zeros((WINDOW_M, WINDOW_M), bool), 1.0, (0, 0))
        while not static.ready:
            static.advance()
        self._pathloss(self._flux, static, [(128.0, 128.0, 30.0)], (0, 0), {})

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

    def answer(self, pose: Pose, *, wait: bool = True) -> RadioMap:
        """The live track's next answer: keeps its region near the centre; raises as `transmitter` does.

        Where the region's midpoint is not ready, the answer waits for it. Without `wait` only the track's first pose
        does; later ones get the physics layer's answer, and `work` makes the midpoint between answers.
        """
        transmitter = self.transmitter(pose)
        region = self._track.tracker.update(pose.x, pose.y)
        answer = self._answers(region, [pose], [transmitter], wait=wait or self._track.last is None)[0]
        self._look_ahead(pose)
        return answer

    def work(self) -> bool:
        """One step of what the live track needs: its region's static part, then the one ahead; False: nothing to do.

        Raises whatever a step raises; the region is then answered by the physics layer.
        """
        for region in (self._track.tracker.region, self._track.ahead):
            if region is None or self._streets is None:
                continue
            static, known = self._static_part(region)  # an unknown one has its walls traced here, which is a step
            if known and static.ready:
                continue
            if known:
                static.advance()
            return True
        return False

    def _look_ahead(self, pose: Pose) -> None:
        """Where the track leads within `prefetch_s`, at the speed since the last pose."""
        last, self._track.last = self._track.last, pose
        seconds = 0.0 if last is None else (pose.stamp_ns - last.stamp_ns) * 1e-9
        if last is None or not 0.0 < seconds < STALE_S:
            return
        times = self.config.prefetch_s / seconds
        self._track.ahead = self._track.tracker.ahead(
            pose.x, pose.y, (pose.x - last.x) * times, (pose.y - last.y) * times
        )

    def query(self, pose: Pose) -> RadioMap:
        """The answer of the nearest region; the live track stays as it is; raises as `transmitter` does."""
        transmitter = self.transmitter(pose)
        return self._answers(nearest_region(pose.x, pose.y), [pose], [transmitter])[0]

    def physics_answer(self, pose: Pose, region: Region) -> RadioMap:
        """The physics layer's answer in a stated region, to stand beside a model's; raises as `transmitter` does."""
        return self._answers(region, [pose], [self.transmitter(pose)], physics=True)[0]

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

    def _answers(
        self,
        region: Region,
        poses: Sequence[Pose],
        transmitters: Sequence[Transmitter],
        *,
        wait: bool = True,
        physics: bool = False,
    ) -> list[RadioMap]:
        """One pass over one region; the times are shared out evenly."""
        flux = None if physics else self._flux
        start = time.perf_counter()
        static, hit = self._static_part(region)
        hit = hit and (flux is None or static.ready)
        self._hits += hit and not physics
        while wait and flux is not None and not static.ready:
            static.advance()
        latency = {"region": 0.0 if hit else _milliseconds_since(start)}
        grid = region.grid
        points = [(t.x - grid.origin_x, t.y - grid.origin_y, _clamped(t.z)) for t in transmitters]
        pathloss, method, fallback = self._pathloss(flux, static, points, (region.i, region.j), latency)
        latency["total"] = _milliseconds_since(start)
        return [
            RadioMap(
                pathloss_db=pathloss[k],
                grid=grid,
                transmitter=transmitter,
                stamp_ns=pose.stamp_ns,
                frame_id=self._map().frame_id,
                method=method,
                region=(region.i, region.j),
                cache="hit" if hit else "miss",
                extrapolated=_clamped(transmitter.z) != transmitter.z,
                fallback=fallback,
                reuse_ratio=flux.method.reuse_ratio if flux is not None and method == "flux" else None,
                latency_ms={name: value / len(poses) for name, value in latency.items()},
            )
            for k, (pose, transmitter) in enumerate(zip(poses, transmitters, strict=True))
        ]

    def _pathloss(
        self,
        flux: FluxPipeline | None,
        static: StaticPart,
        transmitters: Sequence[tuple[float, float, float]],
        window: tuple[int, int],
        latency: dict[str, float],
    ) -> tuple[NDArray[np.float32], str, str]:
        """Pathloss [B, 256, 256] dB of transmitters in window coordinates, NaN in buildings; method and fallback."""
        start = time.perf_counter()
        points = torch.tensor(transmitters, dtype=torch.float32, device=self.device)
        gains = self._physics(static.facades, points)
        latency["physics"] = _milliseconds_since(start)
        found, method, fallback = None, "physics", ""
        if flux is not None and static.streets is None:
            method, fallback = "physics_fallback", NO_MIDPOINT if static.ready else MIDPOINT_PENDING
        elif flux is not None:
            start = time.perf_counter()
            found, method = self._refined(flux, static, gains, points, window), "flux"
            latency["network"] = _milliseconds_since(start)
            if not np.isfinite(found).all():
                found, method, fallback = None, "physics_fallback", NOT_FINITE
        if found is None:
            found = -gains.gain_db().cpu().numpy()
        np.minimum(found, FLOOR_PATHLOSS_DB, out=found)
        found[:, static.buildings] = np.nan
        return found, method, fallback

    def _refined(
        self, flux: FluxPipeline, static: StaticPart, gains: PathGains, points: Tensor, window: tuple[int, int]
    ) -> NDArray[np.float32]:
        """The method's pathloss."""
        assert static.streets is not None
        free = ~torch.from_numpy(static.buildings).to(self.device)[None]
        pose = flux.pose_part(gains, points, free, torch.zeros_like(free))
        grey = flux.answer(static.streets, pose, window, aligned=self.config.aligned)
        return -(FLOOR_GAIN_DB + GREY_SPAN_DB * grey[:, 0]).cpu().numpy()

    def _static_part(self, region: Region) -> tuple[StaticPart, bool]:
        """The region's part, its walls at least; whether it was there."""
        key = self._keys.get(region)
        seen = None
        if key is None:  # cut and hashed once per region and map
            seen = self._seen(region)
            noisy = self._flux is not None and self._flux.method.temperature > 0
            place = (region,) if noisy else ()  # noise is anchored to the world
            key = self._keys[region] = content_key(*seen[:2], *self._shaped_by, *place)

        def compute() -> StaticPart:
            return self._computed(*(seen or self._seen(region)), (region.i, region.j))

        return self._cache.get_or_compute(key, compute)

    def _computed(
        self, heights: NDArray[np.float32], buildings: NDArray[np.bool_], resolution: float, window: tuple[int, int]
    ) -> StaticPart:
        facades = trace_facades(heights, resolution, self.device)
        steps = None
        if self._flux is not None:
            footprint = torch.from_numpy(buildings).to(self.device)[None]
            image = streets_image(mean_heights(facades)[None], footprint)
            steps = self._flux.streets(image, window, aligned=self.config.aligned)
        return StaticPart(facades, buildings, steps)

    def _seen(self, region: Region) -> tuple[NDArray[np.float32], NDArray[np.bool_], float]:
        """What the region sees of the streets: heights [m] and their resolution [m], cells without value."""
        streets = self._map()
        return crop(streets, region, self.config), footprint(streets, region, self.config), streets.grid.resolution


def _milliseconds_since(start: float) -> float:
    return 1e3 * (time.perf_counter() - start)


def _clamped(z: float) -> float:
    low, high = Z_RANGE_M
    return min(max(z, low), high)
