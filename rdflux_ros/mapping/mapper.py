"""The whole way from a pose to its radio map; node, replay and evaluation all go through here."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rdflux_ros.flux.loading import load_model
from rdflux_ros.flux.pipeline import FluxPipeline, changed
from rdflux_ros.mapping.batch import Asked, Batch, milliseconds_since
from rdflux_ros.mapping.config import AUTO, STILL_M, MapperConfig
from rdflux_ros.mapping.inputs import InputError, OccupancyInput, Pose, StreetMap, obstacle_cells
from rdflux_ros.mapping.regions import Region, RegionTracker, height_at, nearest_region, points_along, spaced
from rdflux_ros.mapping.rssi_correction import RssiCorrection, check_installed, shifted
from rdflux_ros.mapping.static_parts import StaticPart, StaticParts
from rdflux_ros.mapping.uncertainty import ErrorLaws, load_laws
from rdflux_ros.model.checkpoint import CheckpointError
from rdflux_ros.model.config import MethodConfig
from rdflux_ros.propagation.config import PhysicsConfig
from rdflux_ros.propagation.physics_layer import PhysicsLayer
from rdflux_ros.radio.grid import LATTICE_M, MARGIN_M, WINDOW_M
from rdflux_ros.radio.radio_map import RadioMap, Transmitter
from rdflux_ros.settings import SettingError

__all__ = ["MapperConfig", "RadioMapper", "StaticPart", "select_device"]

Z_RANGE_M = (5.0, 120.0)
"""Heights above ground that the physics layer alone answers as they are [m]; others are clamped and marked."""
BATCH = 16
"""Transmitters in one pass at most."""
POLITE_BATCH = 2
"""As many as are answered in one pass on a CPU while live poses wait: a larger one keeps them longer than it saves."""
STALE_S = 10.0
"""Poses farther apart tell nothing of the speed [s]."""
DEVICE_RETRY_S = 10.0
"""A GPU that is missing or was lost is looked for again after so long [s]."""
REMEMBERED = 32
"""Regions whose obstacle cells are."""
MAIN = "pose"
"""Name of the track of the one transmitter that most maps have."""


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

    Parameters
    ----------
    keep_going
        Where CUDA is asked for and there is none, or it is lost, let the physics layer answer on the CPU, say so in
        every answer, and look for the GPU again from time to time.

    Raises
    ------
    SettingError
        `device` is ``cuda`` and there is none, or `reuse_ratio` leaves no whole steps; what `rssi_correction` or
        `uncertainty` wants is not there.
    MissingModelError, CheckpointError
        There is no such model file, or it cannot be used.
    InputError
        ``cache_file``: it cannot be used.
    """

    def __init__(self, config: MapperConfig | None = None, *, keep_going: bool = False) -> None:
        self.config = config or MapperConfig()
        self._keep_going = keep_going
        self._physics = PhysicsLayer(PhysicsConfig(reflection_order=self.config.reflection_order))
        self.trouble = ""
        """Why the physics layer answers on the CPU in place of what was asked for; empty where it does not."""
        self._sought_at = time.monotonic()
        self._hits = 0
        self._tracks: dict[str, _Track] = {}
        self._computed: dict[str, RadioMap] = {}
        self._path: NDArray[np.float64] | None = None
        self._streets: StreetMap | None = None
        self._obstacles: OccupancyInput | None = None
        self._obstacles_outdated = False
        self._cars: dict[Region, NDArray[np.bool_]] = {}
        self._rssi = RssiCorrection(self.config)
        self._uncorrected: RadioMap | None = None
        self._laws: ErrorLaws | None = None
        try:
            device, trouble = select_device(self.config.device), ""
        except SettingError as error:
            if not keep_going:
                raise
            device, trouble = torch.device("cpu"), str(error)
        try:
            self._start(device, trouble)
        except RuntimeError as error:
            self._do_without_gpu(error)

    def _start(self, device: torch.device, trouble: str = "") -> None:
        """Have everything on a device; in trouble the networks are loaded, so that settings can be checked, not run."""
        self.device, self.trouble = device, trouble
        self._computed.clear()
        self._loaded = load_model(self.config.model, device)
        self._flux = self._pipeline(self.config)
        self._laws = self._error_laws(self.config)
        try:
            self._parts = StaticParts(self.config, device)
        except InputError as error:
            if not trouble:
                raise
            self._parts = StaticParts(dataclasses.replace(self.config, cache_file=""), device)
            self._parts.file_trouble = str(error)
        self._parts.use(self._flux, self._shaped_by(self.config), self.config)
        if self._streets is not None:
            self._parts.set_streets(self._streets)

    def _do_without_gpu(self, error: RuntimeError) -> None:
        """Let the physics layer answer on the CPU for now; raises the error where that is not wanted or no help."""
        if self.device.type != "cuda" or not self._keep_going:
            raise error
        if hasattr(self, "_parts"):
            self._parts.close()
        self._start(torch.device("cpu"), trouble=f"the GPU was lost: {' '.join(str(error).split())}")
        self._sought_at = time.monotonic()

    def _pipeline(self, config: MapperConfig) -> FluxPipeline | None:
        """The networks, run as the settings say; None in trouble."""
        self.check(config)
        if self._loaded is None or self.trouble:
            return None
        return FluxPipeline(self._loaded.model, **_asked_method(config, self._loaded.model.config.method))

    def _error_laws(self, config: MapperConfig) -> ErrorLaws | None:
        if not config.uncertainty:
            return None
        return load_laws(config.model, None if self._loaded is None else self._loaded.digest)

    def check(self, config: MapperConfig) -> None:
        """Raise what `reconfigure` would; from any thread."""
        check_installed(config)
        self._error_laws(dataclasses.replace(config, model=self.config.model))
        loaded = self._loaded  # the mapper's own thread may put another in its place
        if loaded is None:
            return
        if lacking := loaded.lacks("static", "aligned" if config.aligned else "conditional"):
            raise CheckpointError(lacking)
        method = loaded.model.config.method
        changed(method, **_asked_method(config, method))

    def _shaped_by(self, config: MapperConfig) -> tuple[object, ...]:
        """What of the networks shapes a midpoint."""
        if self._flux is None or self._loaded is None:
            return ()
        return self._loaded.digest, self._flux.method, config.aligned, self.device.type  # bf16 on a GPU

    @property
    def streets(self) -> StreetMap | None:
        """The map that poses are answered on."""
        return self._streets

    @property
    def polite_batch(self) -> int:
        """How many transmitters to answer in one pass while live poses may come."""
        return BATCH if self.device.type == "cuda" else POLITE_BATCH

    @property
    def regions_prepared(self) -> int:
        """How often a region's static part was computed."""
        return self._parts.prepared

    @property
    def regions_loaded(self) -> int:
        """How often a region's static part was found in the cache file."""
        return self._parts.loaded

    @property
    def cache_file_trouble(self) -> str:
        """Why the cache file is not used any more; empty where it is."""
        return self._parts.file_trouble

    @property
    def region_hits(self) -> int:
        """How many passes found their region's static part ready."""
        return self._hits

    def reconfigure(self, config: MapperConfig) -> None:
        """Use other settings from the next answer on, all at once or, where one cannot be used, none.

        `model`, `device`, `cache_size`, `cache_file`, `cache_file_size` and `reflection_order` stay as they are. How a
        map is read (`occupied_threshold`, `fill_enclosed`, `map_max_cells`, the height of its buildings) concerns the
        next map.

        Raises
        ------
        SettingError
            `reuse_ratio` leaves no whole steps; what `rssi_correction` or `uncertainty` wants is not there.
        CheckpointError
            The model lacks the stage that `aligned` asks for.
        """
        kept = ("model", "device", "cache_size", "cache_file", "cache_file_size", "reflection_order")
        config = dataclasses.replace(config, **{name: getattr(self.config, name) for name in kept})
        flux, laws = self._pipeline(config), self._error_laws(config)
        self.config, self._flux, self._laws = config, flux, laws
        self._rssi.use(config)
        self._computed.clear()
        self._cars.clear()
        self._parts.use(flux, self._shaped_by(config), config)

    def set_streets(self, street_map: StreetMap) -> None:
        """Answer on this map from now on; only regions whose content changed are prepared again."""
        before = self._streets
        if before is None or before.frame_id != street_map.frame_id:
            self._rssi.clear()
        elif self._rssi.measurements:
            self._rssi.forget_through(street_map.differs_from(before), street_map.grid)
            if before.grid != street_map.grid:  # buildings that stood where there is no map any more
                self._rssi.forget_through(before.differs_from(street_map), before.grid)
        self._uncorrected = None
        self._computed.clear()
        self._cars.clear()
        self._streets = street_map
        self._parts.set_streets(street_map)

    def set_obstacles(self, obstacles: OccupancyInput | None, *, outdated: bool = False) -> None:
        """Vehicles and whatever else the map does not hold, in the map's frame; None: not any more.

        Occupied cells have no value in an answer. `outdated` says that obstacles were known, but too long ago.
        """
        self._obstacles, self._obstacles_outdated = obstacles, outdated
        self._computed.clear()
        self._cars.clear()

    def measured(self, points: NDArray[np.float64], rssi_dbm: NDArray[np.float64]) -> Counter[str]:
        """Take measurements of the main track's transmitter as it was answered last (`RssiCorrection.measured`).

        Parameters
        ----------
        points
            [N, 3] receivers in the map's frame [m].
        rssi_dbm
            [N] received power [dBm].

        Returns
        -------
        Counter
            ``used``, and those refused by reason; ``no_answer``: there is no answer yet that they could be compared to.
        """
        if self._uncorrected is None:
            return Counter({"no_answer": len(points)} if self.config.rssi_correction else {})
        return self._rssi.measured(points, rssi_dbm, self._uncorrected)

    def set_path(self, points: Sequence[tuple[float, float]]) -> None:
        """Where the main track will fly [m]: regions along it are prepared before they are entered; empty: unknown.

        Points beyond the map are left out: nothing has to be prepared there.
        """
        path = np.array(points, float).reshape(-1, 2)
        if self._streets is not None:
            path = path[self._streets.extent.contains(path[:, 0], path[:, 1])]
        path = spaced(path)
        self._path = path if len(path) else None

    def reset_track(self) -> None:
        """Forget the live tracks' regions, and where the main one will fly."""
        self._tracks.clear()
        self._computed.clear()
        self._uncorrected = None
        self._path = None

    def clear_cache(self) -> None:
        """Forget all static parts."""
        self._parts.clear()
        self._computed.clear()

    def close(self) -> None:
        """Close the cache file; a closed mapper answers no more."""
        self._parts.close()

    def warm_up(self) -> None:
        """Run everything once on empty streets, so that the first pose does not pay for it."""
        try:
            self._run_once()
        except RuntimeError as error:
            self._do_without_gpu(error)

    def _run_once(self) -> None:
        side = WINDOW_M + 2 * int(MARGIN_M)
        free = np.zeros((side, side), np.float32), np.zeros((WINDOW_M, WINDOW_M), bool), 1.0, (0, 0)
        static = self._parts.computed(*free)
        while not static.ready:
            static.advance()
        asked = Asked(Region(0, 0), Pose(0.0, 0.0, 30.0), Transmitter(0.0, 0.0, 30.0), 30.0)
        batch = Batch([asked], [static], self._obstacle_cells([asked]), self.device)
        batch.answered(self._physics, self._flux, self.config.aligned, "", {})

    @property
    def _z_range_m(self) -> tuple[float, float]:
        """Above ground between which transmitters are answered as they are: as the model was trained."""
        if self._loaded is None:
            return Z_RANGE_M
        method = self._loaded.model.config.method
        return method.lowest_z_m, method.highest_z_m

    def _extrapolated(self, transmitter: Transmitter) -> bool:
        low, high = self._z_range_m
        return not low <= transmitter.z <= high

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
        if z <= roof:
            raise InputError("pose_inside_building", f"{where} is inside a building {roof:.1f} m high")
        return Transmitter(pose.x, pose.y, z)

    def refusal(self, pose: Pose) -> InputError | None:
        """Why `transmitter` refuses a pose; None where it does not."""
        try:
            self.transmitter(pose)
        except InputError as error:
            return error
        return None

    def _asked(self, pose: Pose, region: Region) -> Asked:
        """Raises as `transmitter` does."""
        transmitter = self.transmitter(pose)
        low, high = self._z_range_m
        z = min(max(transmitter.z, low), high)
        on_roof = z <= height_at(self._map(), pose.x, pose.y, self.config)
        return Asked(region, pose, transmitter, transmitter.z if on_roof else z)

    def answer(self, pose: Pose, *, wait: bool = True) -> RadioMap:
        """The main track's next answer, as `answer_tracks`; raises as `transmitter` does."""
        return self.answer_tracks({MAIN: pose}, wait=wait)[MAIN]

    def answer_tracks(self, poses: Mapping[str, Pose], *, wait: bool = True) -> dict[str, RadioMap]:
        """The next answers of live tracks, in one pass: each keeps its region near the centre.

        Where a region's midpoint is not ready, its answer waits for it. Without `wait` only a track's first pose does;
        later ones get the physics layer's answer, and `work` makes the midpoint between answers. Raises as
        `transmitter` does, and then leaves all tracks as they were.

        With `reuse_ratio: auto` a transmitter that has hardly moved since its answer was computed gets it again.
        """
        for pose in poses.values():
            self.transmitter(pose)
        asked: dict[str, Asked] = {}
        answers: dict[str, RadioMap] = {}
        waited = set()
        for name, pose in poses.items():
            track = self._tracks.setdefault(name, _Track())
            one = self._asked(pose, track.tracker.update(pose.x, pose.y))
            if (kept := self._kept(name, one)) is not None:
                answers[name] = kept
                continue
            asked[name] = one
            if wait or track.last is None:
                waited.add(one.region)
        if asked:
            computed = dict(zip(asked, self._answers(list(asked.values()), waited), strict=True))
            self._computed |= computed
            answers |= computed
        self._uncorrected = answers.get(MAIN, self._uncorrected)
        for name, pose in poses.items():
            self._look_ahead(name, pose)
        return {name: self._corrected(answer) for name, answer in answers.items()}

    def _kept(self, name: str, asked: Asked) -> RadioMap | None:
        """What was computed for a track, where it does for its next pose, too, and that is asked for."""
        start = time.perf_counter()
        computed = self._computed.get(name)
        if self.config.reuse_ratio != AUTO or computed is None or computed.method != "flux":
            return None
        there, here = computed.transmitter, asked.transmitter
        if computed.region != asked.region.window or math.dist(astuple(there), astuple(here)) > STILL_M:
            return None
        roofs = {height_at(self._map(), place.x, place.y, self.config) for place in (there, here)}
        if len(roofs) > 1:  # over a roof's edge the view of the streets opens
            return None
        return dataclasses.replace(
            computed,
            transmitter=here,
            stamp_ns=asked.pose.stamp_ns,
            cache="approximate" if computed.cache == "approximate" else "hit",
            extrapolated=self._extrapolated(here),
            reuse_ratio=1.0,
            latency_ms={"total": milliseconds_since(start)},
        )

    def work(self) -> bool:
        """One step towards the static parts of the live tracks' regions, then of those ahead; False: nothing to do."""
        self._seek_device()
        if self._streets is None:
            return False
        tracks = list(self._tracks.values())
        needed = [*(track.tracker.region for track in tracks), *(track.ahead for track in tracks)]
        regions = list(dict.fromkeys(region for region in needed if region is not None))
        return any(map(self._parts.advance, regions[: self.config.cache_size]))  # more would push each other out

    def _look_ahead(self, name: str, pose: Pose) -> None:
        """Where the track leads within `prefetch_s`: along the planned path, or straight on as since the last pose."""
        track = self._tracks[name]
        last, track.last = track.last, pose
        if pose == last and (name != MAIN or self._path is None):
            return  # answered again: it tells nothing new of the way
        seconds = 0.0 if last is None else (pose.stamp_ns - last.stamp_ns) * 1e-9
        step = np.zeros(2)
        if last is not None and 0.0 < seconds < STALE_S:
            step = np.array([pose.x - last.x, pose.y - last.y]) / seconds * self.config.prefetch_s
        way = np.array([[pose.x, pose.y], [pose.x + step[0], pose.y + step[1]]])
        if name == MAIN and self._path is not None and self.config.prefetch_s > 0:
            reach = max(float(np.hypot(*step)), float(LATTICE_M))
            way = points_along(self._path, pose.x, pose.y, reach)
        track.ahead = track.tracker.ahead(way)

    def query(self, pose: Pose) -> RadioMap:
        """The answer of the nearest region; the live tracks stay as they are; raises as `transmitter` does."""
        return self.answer_batch([pose])[0]

    def query_steps(self, pose: Pose) -> Generator[None, None, RadioMap]:
        """`query` as a generator that stops after each step towards the region's static part."""
        yield from self.prepare_steps(pose)
        return self.query(pose)

    def prepare_steps(self, pose: Pose) -> Generator[None, None, None]:
        """Prepare the region that is nearest to a pose, one step at a time; raises as `transmitter` does."""
        self.transmitter(pose)
        region = nearest_region(pose.x, pose.y)
        while self._parts.advance(region):
            yield

    def prepare(self, region: Region) -> None:
        """Prepare a region, all steps at once."""
        self._map()
        self._parts.finish(region)

    def is_prepared(self, pose: Pose) -> bool:
        """Whether the region that is nearest to a pose has its static part; `prepare_steps` makes it."""
        return self._streets is not None and self._parts.has(nearest_region(pose.x, pose.y))

    def physics_answer(self, pose: Pose, region: Region) -> RadioMap:
        """The physics layer's answer in a stated region, to stand beside a model's; raises as `transmitter` does."""
        return self._answers([self._asked(pose, region)], {region}, physics=True)[0]

    def answer_batch(self, poses: Sequence[Pose]) -> list[RadioMap]:
        """`query` for many poses, up to 16 in one pass; the first that cannot be answered raises."""
        for pose in poses:
            self.transmitter(pose)  # a region's lattice numbers want finite numbers
        asked = [self._asked(pose, nearest_region(pose.x, pose.y)) for pose in poses]
        order = sorted(range(len(asked)), key=lambda index: asked[index].region)  # those of a region share its walls
        answers: dict[int, RadioMap] = {}
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            found = self._answers([asked[index] for index in part], {asked[index].region for index in part})
            answers.update(zip(part, found, strict=True))
        return [self._corrected(answers[index]) for index in range(len(poses))]

    def _corrected(self, answer: RadioMap) -> RadioMap:
        """The answer, shifted by what was measured."""
        start = time.perf_counter()
        shift = self._rssi.shift(answer.grid, answer.transmitter)
        if shift is None:
            return answer
        latency = milliseconds_since(start)
        return dataclasses.replace(
            answer,
            pathloss_db=shifted(answer.pathloss_db, shift),
            rssi_measurements=shift.measurements,
            latency_ms={**answer.latency_ms, "rssi": latency, "total": answer.latency_ms["total"] + latency},
        )

    def _map(self) -> StreetMap:
        if self._streets is None:
            raise InputError("no_map", "no map yet")
        return self._streets

    def _answers(self, asked: Sequence[Asked], waited: set[Region], *, physics: bool = False) -> list[RadioMap]:
        """One pass; where the GPU is lost in it, the pass that the CPU then makes."""
        try:
            return self._pass(asked, waited, None if physics else self._flux)
        except RuntimeError as error:
            self._do_without_gpu(error)
            return self._pass(asked, waited, None)

    def _seek_device(self) -> None:
        """Go on as asked for where the GPU is back."""
        if self.trouble and time.monotonic() - self._sought_at > DEVICE_RETRY_S:
            self._sought_at = time.monotonic()
            if torch.cuda.is_available():
                self._parts.close()
                try:
                    self._start(select_device(self.config.device))
                except Exception as error:  # it is there, but of no use yet
                    trouble = f"the GPU is not back: {' '.join(str(error).split())}"
                    self._start(torch.device("cpu"), trouble=trouble)

    def _pass(self, asked: Sequence[Asked], waited: set[Region], flux: FluxPipeline | None) -> list[RadioMap]:
        """One pass over one region or several; the times are shared out evenly."""
        start = time.perf_counter()
        statics, hits = [], []
        for one in asked:
            static, hit = self._parts.get(one.region)
            hits.append(hit and (flux is None or static.ready))
            if flux is not None and one.region in waited:
                self._parts.finish(one.region)
            statics.append(static)
        self._hits += all(hits) and flux is self._flux
        latency = {"region": milliseconds_since(start)}
        batch = Batch(asked, statics, self._obstacle_cells(asked), self.device)
        found, how = batch.answered(self._physics, flux, self.config.aligned, self.trouble, latency)
        latency["total"] = milliseconds_since(start)
        answers = []
        for k, (one, static) in enumerate(zip(asked, statics, strict=True)):
            by_flux = how[k].method == "flux"
            cache = "approximate" if static.approximate and by_flux else "hit" if hits[k] else "miss"
            answers.append(
                RadioMap(
                    pathloss_db=found[k],
                    grid=one.region.grid,
                    transmitter=one.transmitter,
                    stamp_ns=one.pose.stamp_ns,
                    frame_id=self._map().frame_id,
                    method=how[k].method,
                    region=one.region.window,
                    cache=cache,
                    extrapolated=self._extrapolated(one.transmitter),
                    fallback=how[k].fallback,
                    reuse_ratio=flux.method.reuse_ratio if flux is not None and by_flux else None,
                    obstacles=self._obstacles_state,
                    stddev_db=self._stddev(batch, k, found[k], how[k].method, one.z),
                    latency_ms={name: value / len(asked) for name, value in latency.items()},
                )
            )
        return answers

    def _stddev(
        self, batch: Batch, k: int, pathloss_db: NDArray[np.float32], method: str, z: float
    ) -> NDArray[np.float32] | None:
        """How far off the k-th answer of a batch may be [256, 256] dB; None where nobody asks, or no law knows."""
        if self._laws is None or batch.physics_db is None or batch.visible is None:
            return None
        fitted = method == "flux" and self.config.aligned  # the frozen stage errs like the physics layer
        law = self._laws.law("flux" if fitted else "physics", self._map().grid.resolution)
        return None if law is None else law.stddev(pathloss_db, batch.physics_db[k], batch.visible[k], z)

    @property
    def _obstacles_state(self) -> str:
        """``none`` known, ``used``, or ``outdated``: too old, or of another frame than the map's."""
        if self._obstacles is None:
            return "outdated" if self._obstacles_outdated else "none"
        here = self._streets is None or self._obstacles.frame_id == self._streets.frame_id
        return "used" if here else "outdated"

    def _obstacle_cells(self, asked: Sequence[Asked]) -> NDArray[np.bool_]:
        """[B, 256, 256] cells of each window in which an obstacle stands; resampled once for each region."""
        obstacles = self._obstacles
        if obstacles is None or self._obstacles_state != "used":
            return np.zeros((len(asked), WINDOW_M, WINDOW_M), bool)
        if len(self._cars) >= REMEMBERED:
            self._cars.clear()
        for one in asked:
            if one.region not in self._cars:
                self._cars[one.region] = obstacle_cells(obstacles, one.region.grid, self.config)
        return np.stack([self._cars[one.region] for one in asked])


def _asked_method(config: MapperConfig, method: MethodConfig) -> dict[str, Any]:
    """What the settings ask for in place of the model's own method."""
    return {
        "reuse_ratio": 1 - 1 / method.steps if config.reuse_ratio == AUTO else config.reuse_ratio or None,
        "static_steps": None if config.static_steps < 0 else config.static_steps,
    }
