"""Several transmitters as one radio map: the strongest server at each cell."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from rdflux_ros.mapping.inputs import InputError, Pose, parsed_stations
from rdflux_ros.radio.grid import Grid
from rdflux_ros.radio.radio_map import MIDPOINT_PENDING, RadioMap
from rdflux_ros.radio.units import NO_VALUE

if TYPE_CHECKING:
    from rdflux_ros.mapping.mapper import RadioMapper


@dataclass(frozen=True)
class Served:
    """What came of one request: the map of all transmitters, None where none is answered; who was refused and why.

    `asked` are the names of those looked at for it.
    """

    radio_map: RadioMap | None
    refused: dict[str, InputError] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()


class Servers:
    """Moving transmitters by name, each with its last pose and map, and fixed stations, whose maps outlast the poses.

    Parameters
    ----------
    names
        Of the moving ones; the stations are ``station 0`` and so on after them. A server's number is its place.
    """

    def __init__(self, mapper: RadioMapper, names: Sequence[str]) -> None:
        self._mapper = mapper
        self._moving = tuple(names)
        self._poses: dict[str, Pose] = {}
        self._maps: dict[str, RadioMap] = {}
        self._stations: dict[str, Pose] = {}
        self.place_stations(mapper.config.stations)

    @property
    def names(self) -> tuple[str, ...]:
        """All servers by number."""
        return (*self._moving, *self._stations)

    def place_stations(self, text: str) -> None:
        """Have the stations that the setting `stations` says; `SettingError` where it says nothing that can be read."""
        self._stations = {f"station {k}": pose for k, pose in enumerate(parsed_stations(text))}
        self.forget_maps()

    def forget_maps(self) -> None:
        """Streets or obstacles have changed: no earlier map holds any more."""
        self._maps.clear()

    def start_over(self) -> None:
        """Forget where the moving ones were, where they wanted to go, and all maps."""
        self._mapper.reset_track()
        self._poses.clear()
        self.forget_maps()

    def work(self) -> bool:
        """One step towards the stations' regions; False: nothing to do."""
        return next(self.prepare_steps(), self) is None

    def prepare_steps(self) -> Generator[None, None, None]:
        """Prepare the regions of stations without a map, one step at a time; until then these are left out."""
        for name, pose in self._stations.items():
            if self._lacks(name) and self._mapper.refusal(pose) is None:
                yield from self._mapper.prepare_steps(pose)

    def outdated(self, current: Sequence[str]) -> bool:
        """Whether `answer` without new poses would answer anything anew."""
        moving = any(name in self._poses and name not in self._maps for name in current)
        return moving or any(
            self._lacks(name) and self._mapper.is_prepared(pose) for name, pose in self._stations.items()
        )

    def _lacks(self, name: str) -> bool:
        """There is no map of a station, or only one that the physics layer gave in the model's place."""
        return name not in self._maps or bool(self._maps[name].fallback)

    def answer(self, poses: Mapping[str, Pose], current: Sequence[str] = (), stamp_ns: int | None = None) -> Served:
        """The map of the transmitters that have new poses, of those still current, and of all stations.

        Parameters
        ----------
        poses
            New poses by name, answered in one pass.
        current
            Other moving transmitters whose last pose still holds; answered again where their maps were forgotten.
        stamp_ns
            Of what made the map be answered where no pose is new; an older one than the poses' is not taken.
        """
        again = {name: self._poses[name] for name in current if name in self._poses and name not in self._maps}
        moving = {**again, **poses}
        # a map that the physics layer gave is made anew once a second, not for every pose
        fixed = {n: pose for n, pose in self._stations.items() if n not in self._maps or (not poses and self._lacks(n))}
        asked = {**moving, **fixed}
        refused = {name: error for name, pose in asked.items() if (error := self._mapper.refusal(pose)) is not None}
        fixed = {name: pose for name, pose in fixed.items() if name in refused or self._mapper.is_prepared(pose)}
        for name in refused:
            for group in (moving, fixed, self._poses, self._maps):
                group.pop(name, None)
        if poses and not moving:  # stations are left to a call without poses, which shows them
            return Served(None, refused, frozenset(asked))
        if moving:
            self._maps |= self._mapper.answer_tracks(moving, wait=False)
            self._poses |= moving
        self._maps |= dict(zip(fixed, self._mapper.answer_batch(list(fixed.values())), strict=True))
        held = {*moving, *current, *self._stations}
        members = [name for name in self.names if name in held and name in self._maps]
        if not members:
            return Served(None, refused, frozenset(asked))
        newest = max(moving or members, key=lambda name: self._maps[name].stamp_ns)
        found = strongest({name: self._maps[name] for name in members}, newest, self.names)
        return Served(replace(found, stamp_ns=max(found.stamp_ns, stamp_ns or 0)), refused, frozenset(asked))


def strongest(maps: Mapping[str, RadioMap], shown: str, names: Sequence[str]) -> RadioMap:
    """The least pathloss of all maps at each cell, on the smallest grid that holds all their windows.

    Parameters
    ----------
    maps
        By name, in one frame, on 1 m grids along its axes.
    shown
        Whose stamp, method and latency the whole has.
    names
        Of all servers, by number.
    """
    if len(names) == 1:
        return replace(maps[shown], servers=tuple(names))
    grids = [answer.grid for answer in maps.values()]
    west, south = min(grid.origin_x for grid in grids), min(grid.origin_y for grid in grids)
    east = max(grid.origin_x + grid.width for grid in grids)
    north = max(grid.origin_y + grid.height for grid in grids)
    grid = Grid(round(east - west), round(north - south), 1.0, west, south)
    fallbacks = [answer.fallback for answer in maps.values() if answer.fallback]
    pathloss = np.full(grid.shape, np.nan, np.float32)
    server = np.full(grid.shape, NO_VALUE, np.int8)
    stddev = np.full(grid.shape, np.nan, np.float32)
    for name, answer in maps.items():
        row, col = round(answer.grid.origin_y - south), round(answer.grid.origin_x - west)
        window = slice(row, row + answer.grid.height), slice(col, col + answer.grid.width)
        with np.errstate(invalid="ignore"):
            better = (answer.pathloss_db < pathloss[window]) | np.isnan(pathloss[window])
        better &= ~np.isnan(answer.pathloss_db)
        pathloss[window][better] = answer.pathloss_db[better]
        server[window][better] = names.index(name)
        if answer.stddev_db is not None:
            stddev[window][better] = answer.stddev_db[better]
    return replace(
        maps[shown],
        pathloss_db=pathloss,
        grid=grid,
        server=server,
        stddev_db=None if maps[shown].stddev_db is None else stddev,
        servers=tuple(names),
        extrapolated=any(answer.extrapolated for answer in maps.values()),
        fallback=min(fallbacks, key=lambda text: text == MIDPOINT_PENDING) if fallbacks else "",
        method="physics_fallback" if fallbacks else maps[shown].method,
    )
