"""The lattice of overlapping windows that answers are given in, and what of the streets each of them sees."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.mapping.inputs import StreetMap
from rdflux_ros.radio.grid import LATTICE_M, MARGIN_M, WINDOW_M, Grid

HYSTERESIS_M = 48
"""A live track keeps its window up to here from the centre along x and y [m], so answers reach 80 m at least."""
STEP_M = 2.0
"""Between the points that are looked at on a way ahead [m]."""


@dataclass(frozen=True, order=True)
class Region:
    """The window centred on (64 i, 64 j) [m] of the map frame."""

    i: int
    j: int

    @property
    def centre(self) -> tuple[int, int]:
        """(x, y) of the centre [m]."""
        return LATTICE_M * self.i, LATTICE_M * self.j

    @property
    def window(self) -> tuple[int, int]:
        """(i, j)."""
        return self.i, self.j

    @property
    def grid(self) -> Grid:
        """The 256 x 256 cells of 1 m that an answer has."""
        x, y = self.centre
        return Grid(WINDOW_M, WINDOW_M, 1.0, x - WINDOW_M / 2, y - WINDOW_M / 2)


def nearest_region(x: float, y: float) -> Region:
    """The region whose centre is nearest to the point [m]."""
    return Region(math.floor(x / LATTICE_M + 0.5), math.floor(y / LATTICE_M + 0.5))


class RegionTracker:
    """The region of a moving transmitter: kept near its centre, so that hovering on a border does not flicker."""

    def __init__(self) -> None:
        self._region: Region | None = None

    @property
    def region(self) -> Region | None:
        """The region of the last point; None before the first."""
        return self._region

    def update(self, x: float, y: float) -> Region:
        """The region that answers the point [m]."""
        if self._region is None or not self._keeps(self._region, x, y):
            self._region = nearest_region(x, y)
        return self._region

    def ahead(self, way: NDArray[np.float64]) -> Region | None:
        """The region that will be entered next on the way through the points [N, 2] [m]; None for none."""
        if self._region is None:
            return None
        for (x, y), (to_x, to_y) in pairwise(way):
            parts = max(1, math.ceil(math.hypot(to_x - x, to_y - y) / STEP_M))
            for part in range(1, parts + 1):
                px, py = x + (to_x - x) * part / parts, y + (to_y - y) * part / parts
                if not self._keeps(self._region, px, py):
                    return nearest_region(px, py)
        return None

    @staticmethod
    def _keeps(region: Region, x: float, y: float) -> bool:
        cx, cy = region.centre
        return abs(x - cx) <= HYSTERESIS_M and abs(y - cy) <= HYSTERESIS_M


def points_along(path: NDArray[np.float64], x: float, y: float, reach: float) -> NDArray[np.float64]:
    """The way from (x, y) to the nearest point of a path and `reach` on along it; points [N, 2] [m]."""
    here = np.array([x, y])
    starts, legs = path[:-1], np.diff(path, axis=0)
    if len(path) == 1:
        return np.stack([here, path[0]])
    squares = (legs**2).sum(axis=1)
    shares = np.clip(((here - starts) * legs).sum(axis=1) / np.maximum(squares, 1e-12), 0.0, 1.0)
    feet = starts + shares[:, None] * legs
    nearest = int(((feet - here) ** 2).sum(axis=1).argmin())
    way, last, left = [here, feet[nearest]], feet[nearest], reach
    for point in path[nearest + 1 :]:
        length = math.dist(last, point)
        if length >= left:
            return np.stack([*way, last + (point - last) * left / length])
        way, last, left = [*way, point], point, left - length
    return np.stack(way)


def spaced(path: NDArray[np.float64]) -> NDArray[np.float64]:
    """A path's points [N, 2] without those that lie less than `STEP_M` along it from the last that is kept."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])[: len(path)]
    kept = np.diff(np.floor(along / STEP_M), prepend=-1.0) > 0
    kept[-1:] = True
    return path[kept]


def crop(street_map: StreetMap, region: Region, config: MapperConfig) -> NDArray[np.float32]:
    """Building heights [m] of the window and 24 m around it, row 0 = south; [N, N] with N = 304 / resolution.

    Where the map says nothing stands what `config.unknown_is` says.
    """
    x, y = region.centre
    reach = WINDOW_M / 2 + MARGIN_M
    side = round(2 * reach / street_map.grid.resolution)
    unknown = _unknown_height(config)
    heights = _cut(street_map.heights_m, street_map.grid, x - reach, y - reach, side, unknown)
    if unknown > 0:
        heights[~_cut(street_map.covered, street_map.grid, x - reach, y - reach, side, False)] = unknown
    return heights


def footprint(street_map: StreetMap, region: Region, config: MapperConfig) -> NDArray[np.bool_]:
    """[256, 256] cells of the window that have no value because a building stands there; row 0 = south."""
    window = region.grid
    corner = window.origin_x, window.origin_y
    buildings = _cut(street_map.buildings, street_map.buildings_grid, *corner, WINDOW_M, False)
    if _unknown_height(config) > 0:
        buildings |= ~_cut(street_map.buildings_covered, street_map.buildings_grid, *corner, WINDOW_M, False)
    return buildings


def height_at(street_map: StreetMap, x: float, y: float, config: MapperConfig) -> float:
    """Height of the building at a point [m], 0 = free, as `crop` has it."""
    row, col = (int(index) for index in street_map.grid.cells(x, y))
    inside = 0 <= row < street_map.grid.height and 0 <= col < street_map.grid.width
    known = inside and street_map.covered[row, col]
    return float(street_map.heights_m[row, col]) if known else _unknown_height(config)


def _unknown_height(config: MapperConfig) -> float:
    return config.building_height_m if config.unknown_is == "occupied" else 0.0


def content_key(heights_m: NDArray[np.float32], buildings: NDArray[np.bool_], *shaped_by: object) -> str:
    """Key of a region's static part: hash of its crop and footprint and of everything else that shapes the part."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((heights_m.shape, buildings.shape, shaped_by)).encode())
    digest.update(np.ascontiguousarray(heights_m).data)
    digest.update(np.packbits(buildings).data)
    return digest.hexdigest()


def _cut(values: NDArray, grid: Grid, x: float, y: float, side: int, outside: float) -> NDArray:
    """[side, side] cells of an axis-aligned raster from the south-west corner (x, y) [m] on; a copy."""
    row, col = round((y - grid.origin_y) / grid.resolution), round((x - grid.origin_x) / grid.resolution)
    result = np.full((side, side), outside, values.dtype)
    south, west = max(row, 0), max(col, 0)
    north, east = min(row + side, grid.height), min(col + side, grid.width)
    if south < north and west < east:
        result[south - row : north - row, west - col : east - col] = values[south:north, west:east]
    return result
