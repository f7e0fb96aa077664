"""Grids in the map frame: ENU metres, arrays ``[row, col]`` with row 0 in the south (REP 103)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

WINDOW_M = 256
"""Edge of a region's window [m], and its cells, each 1 m."""
LATTICE_M = 64
"""Distance of the windows' centres; the lattice runs through the map frame's origin [m]."""
MARGIN_M = 24.0
"""What is seen beyond a window on each side [m]: buildings out there reflect into it."""


@dataclass(frozen=True)
class Grid:
    """Where the cells of an array lie.

    Parameters
    ----------
    width, height
        Columns and rows.
    resolution
        Edge of a cell [m].
    origin_x, origin_y
        South-west corner of cell (0, 0) in the map frame [m].
    yaw
        Rotation of the grid's axes against the map frame, counter-clockwise [rad].
    """

    width: int
    height: int
    resolution: float = 1.0
    origin_x: float = 0.0
    origin_y: float = 0.0
    yaw: float = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.height, self.width

    def fractional_cells(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(row, col) of points [m] as fractions: a cell's south-west corner is whole, its centre ends in .5."""
        dx, dy = np.asarray(x, float) - self.origin_x, np.asarray(y, float) - self.origin_y
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        return (cos * dy - sin * dx) / self.resolution, (cos * dx + sin * dy) / self.resolution

    def cells(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(row, col) of the cells that hold the points; may lie outside, see `contains`."""
        row, col = self.fractional_cells(x, y)
        return np.floor(row).astype(np.int64), np.floor(col).astype(np.int64)

    def contains(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.bool_]:
        """Whether the points [m] lie on the grid; any numbers may be asked."""
        with np.errstate(over="ignore", invalid="ignore"):
            row, col = self.fractional_cells(x, y)
        return (row >= 0) & (row < self.height) & (col >= 0) & (col < self.width)

    def centres(self, row: ArrayLike, col: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(x, y) of cell centres [m]."""
        u = (np.asarray(col, float) + 0.5) * self.resolution
        v = (np.asarray(row, float) + 0.5) * self.resolution
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        return self.origin_x + cos * u - sin * v, self.origin_y + sin * u + cos * v

    def centre_mesh(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(x, y) of all cell centres [m], each of `shape`."""
        return self.centres(*np.indices(self.shape))
