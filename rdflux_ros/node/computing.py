"""What the worker's thread does with each kind of job: the node's inputs on one side, the mapper on the other."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdflux_ros.machine import usable_cores
from rdflux_ros.mapping.inputs import HeightMap, InputError, OccupancyInput, Pose, StreetMap, street_map
from rdflux_ros.mapping.path import AlongPath, along_path
from rdflux_ros.mapping.servers import Served, Servers
from rdflux_ros.node.parameters import Settings
from rdflux_ros.node.worker import Mailbox
from rdflux_ros.radio.radio_map import RadioMap

CAPACITIES = {
    "reset": 1,
    "clear": 1,
    "settings": 1,
    "map": 1,
    "obstacles": 1,
    "rssi": 10,
    "pose": 1,
    "again": 1,
    "query": 10,
    "path": 1,
}
"""Kinds of jobs, the most urgent first, and how many may wait."""
MOST_THREADS = 8
"""More gain nothing: the arrays of one answer are small."""
STREETS = ("building_height_m", "fill_enclosed", "occupied_threshold", "unknown_is", "map_max_cells")
"""Settings that shape the streets: where one changes, the map is read again."""


@dataclass(frozen=True)
class Received:
    """A pose that is fit to be answered, and the steady time of its receipt [s]."""

    pose: Pose
    at: float


@dataclass(frozen=True)
class Obstacles:
    """Dynamic obstacles in the map's frame, and the steady time of their receipt [s]."""

    occupancy: OccupancyInput
    at: float


@dataclass(frozen=True)
class Rssi:
    """Received power [N] [dBm] at points [N, 3] in the map's frame [m], and the message's stamp [ns]."""

    points: NDArray[np.float64]
    dbm: NDArray[np.float64]
    stamp_ns: int


@dataclass(frozen=True)
class Again:
    """Answer what hovers or stands once more, for something new; stamped with it [ns]."""

    stamp_ns: int


@dataclass(frozen=True)
class Path:
    """A planned path in the map's frame, or why a pose of it is none; users [N, 2] as x, y [m]."""

    poses: Sequence[Pose | InputError]
    users: NDArray[np.float64]
    header: Any


@dataclass(frozen=True)
class Answered:
    """What a pose job came to, and the steady time of the newest receipt in it [s]."""

    served: Served
    at: float


@dataclass
class LatestPoses:
    """The newest pose of each moving transmitter: left by the executor, taken by the worker, latest wins."""

    _new: dict[str, Received] = field(default_factory=dict)
    _at: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, name: str, received: Received) -> bool:
        """Leave a pose; whether one of the same transmitter was lost for it."""
        with self._lock:
            lost = name in self._new
            self._new[name], self._at[name] = received, received.at
            return lost

    def take(self) -> dict[str, Received]:
        """All poses since the last call, by name."""
        with self._lock:
            taken, self._new = self._new, {}
            return taken

    def current(self, timeout_s: float) -> list[str]:
        """Names of those heard of within `timeout_s`."""
        since = time.monotonic() - timeout_s
        with self._lock:
            return [name for name, at in self._at.items() if at >= since]

    def clear(self) -> int:
        """Forget all; how many waited."""
        with self._lock:
            waiting = len(self._new)
            self._new.clear()
            self._at.clear()
            return waiting


class Computing:
    """The handlers of all jobs; everything here but the constructor runs in the worker's thread."""

    def __init__(
        self, settings: Settings, heights: HeightMap | None, mailbox: Mailbox, poses: LatestPoses, names: Sequence[str]
    ) -> None:
        self._settings, self._heights, self._mailbox, self._poses, self._names = (
            settings,
            heights,
            mailbox,
            poses,
            names,
        )
        self._occupancy: OccupancyInput | None = None
        self._obstacles_at: float | None = None
        self.mapper: Any = None
        """None until `build` has run."""

    def build(self) -> tuple[Mapping[str, Callable[[Any], Any]], Callable[[], bool]]:
        """A mapper that is ready to answer: handlers by kind of job, and the step between jobs."""
        import torch

        from rdflux_ros.mapping.mapper import RadioMapper

        torch.set_num_threads(self._settings.node.threads or _spare_cores())
        mapper = RadioMapper(self._settings.mapper, keep_going=True)
        self._servers = Servers(mapper, self._names)
        mapper.warm_up()
        self.mapper = mapper
        handlers: dict[str, Callable[[Any], Any]] = {
            "reset": lambda _: self._servers.start_over(),
            "clear": lambda _: self._clear(),
            "settings": self._use_settings,
            "map": self._use_map,
            "obstacles": self._use_obstacles,
            "rssi": self._use_rssi,
            "pose": self._answer,
            "again": self._answer_again,
            "query": self._query,
            "path": self._along_path,
        }
        return handlers, lambda: bool(mapper.work() or self._servers.work())

    def _clear(self) -> None:
        self.mapper.clear_cache()
        self._servers.forget_maps()

    def _use_settings(self, settings: Settings) -> StreetMap | None:
        """The new streets where the settings shape them."""
        before, self._settings = self._settings.mapper, settings
        if before == settings.mapper:
            return None
        self.mapper.reconfigure(settings.mapper)
        self._servers.place_stations(settings.mapper.stations)
        changed = any(getattr(before, name) != getattr(settings.mapper, name) for name in STREETS)
        return self._use_map(self._occupancy) if changed and self._occupancy is not None else None

    def _use_map(self, occupancy: OccupancyInput) -> StreetMap:
        start = time.monotonic()
        streets = street_map(occupancy, self._settings.mapper, self._heights)
        self._occupancy = occupancy
        self.mapper.set_streets(streets)
        self._servers.forget_maps()
        self._mailbox.hold("map", time.monotonic() - start)  # half of the time is the poses', however fast maps come
        return streets

    def _use_obstacles(self, obstacles: Obstacles) -> Obstacles:
        self.mapper.set_obstacles(obstacles.occupancy)
        self._obstacles_at = obstacles.at
        self._servers.forget_maps()
        return obstacles

    def _use_rssi(self, rssi: Rssi) -> Counter[str]:
        """How many measurements are used, and how many were refused by reason."""
        counts: Counter[str] = self.mapper.measured(rssi.points, rssi.dbm)
        if counts["used"]:
            self._servers.forget_maps()
        return counts

    def _drop_outdated(self) -> None:
        """Obstacles that were heard of too long ago hold no more."""
        timeout_s = self._settings.node.dynamic_timeout_s
        if self._obstacles_at is not None and time.monotonic() - self._obstacles_at > timeout_s:
            self._obstacles_at = None
            self.mapper.set_obstacles(None, outdated=True)
            self._servers.forget_maps()

    def _answer(self, _: None) -> Answered:
        received = self._poses.take()
        if not received:  # an earlier job has taken what this one was left for
            return Answered(Served(None), time.monotonic())
        self._hold()
        self._drop_outdated()
        poses = {name: one.pose for name, one in received.items()}
        at = max((one.at for one in received.values()), default=time.monotonic())
        return Answered(self._servers.answer(poses, self._current()), at)

    def _answer_again(self, again: Again) -> Generator[None, None, Answered]:
        at = time.monotonic()
        yield from self._servers.prepare_steps()
        self._drop_outdated()
        current = self._current()
        if not self._servers.outdated(current):  # a pose came in between and has been answered
            return Answered(Served(None), at)
        self._hold()
        return Answered(self._servers.answer({}, current, again.stamp_ns), at)

    def _query(self, received: Received) -> Generator[None, None, Answered]:
        self._drop_outdated()
        answer: RadioMap = yield from self.mapper.query_steps(received.pose)
        return Answered(Served(answer), received.at)

    def _along_path(self, path: Path) -> Generator[None, None, AlongPath]:
        self._drop_outdated()
        self.mapper.set_path([(pose.x, pose.y) for pose in path.poses if isinstance(pose, Pose)])
        return (yield from along_path(self.mapper, path.poses, path.users))

    def _current(self) -> list[str]:
        return self._poses.current(self._settings.node.pose_timeout_s)

    def _hold(self) -> None:
        """Answers come at `max_rate_hz` at most."""
        for kind in ("pose", "again"):
            self._mailbox.hold(kind, 1.0 / self._settings.node.max_rate_hz)


def _spare_cores() -> int:
    """How many threads leave a core to the rest of the system."""
    return min(max(usable_cores() - 1, 1), MOST_THREADS)
