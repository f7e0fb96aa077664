"""The raster of streets, said anew: cell by cell, by complex numbers, with what is too near a border to call.

A cell of a raster has the source's value at its centre, and no less than those whose centres lie in it.
"""

from __future__ import annotations

import cmath
from collections import deque

import numpy as np
from numpy.typing import NDArray

from rdflux_ros.radio.grid import Grid

DOUBT = 1e-6
"""A point nearer to a border than this share of a cell may lie on either side of it."""


def centres(grid: Grid) -> NDArray[np.complex128]:
    """[rows, cols] x + iy of the cells' centres [m]."""
    corner, turn = complex(grid.origin_x, grid.origin_y), cmath.exp(1j * grid.yaw)
    cols, rows = np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5
    return corner + (cols[None, :] + 1j * rows[:, None]) * (grid.resolution * turn)


def places(points: NDArray[np.complex128], grid: Grid) -> tuple[NDArray, NDArray, NDArray[np.bool_]]:
    """(row, col) of points on a grid, and which lie too near a border of its cells to call."""
    way = (points - complex(grid.origin_x, grid.origin_y)) * cmath.exp(-1j * grid.yaw) / grid.resolution
    near = np.maximum(np.abs(way), 1.0) * DOUBT
    doubtful = (np.abs(way.real - np.rint(way.real)) < near) | (np.abs(way.imag - np.rint(way.imag)) < near)
    return np.floor(way.imag).astype(int), np.floor(way.real).astype(int), doubtful


def resampled(values: NDArray, source: Grid, target: Grid, outside: float) -> tuple[NDArray, NDArray[np.bool_]]:
    """The source's values on the target, and the target's cells of which they cannot be told for sure."""
    row, col, doubtful = places(centres(target), source)
    inside = (row >= 0) & (row < source.height) & (col >= 0) & (col < source.width)
    found = np.full(target.shape, outside, values.dtype)
    found[inside] = values[row[inside], col[inside]]
    row, col, uncertain = places(centres(source), target)
    for r, c, value, unsure in zip(row.flat, col.flat, values.flat, uncertain.flat, strict=True):
        if unsure:
            doubtful[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2] = True
        elif 0 <= r < target.height and 0 <= c < target.width:
            found[r, c] = max(found[r, c], value)
    return found, doubtful


def blocks(cells: NDArray[np.bool_], step: int) -> NDArray[np.bool_]:
    """Whether any of step x step cells is set."""
    found = np.zeros((cells.shape[0] // step, cells.shape[1] // step), bool)
    for row, col in np.argwhere(cells):
        found[row // step, col // step] = True
    return found


def groups(cells: NDArray[np.bool_]) -> list[list[tuple[int, int]]]:
    """The set cells, those that touch by edge or corner together."""
    left = {(int(row), int(col)) for row, col in np.argwhere(cells)}
    found = []
    while left:
        group = [left.pop()]
        queue = deque(group)
        while queue:
            row, col = queue.popleft()
            around = {(row + dr, col + dc) for dr in (-1, 0, 1) for dc in (-1, 0, 1)} & left
            left -= around
            group += around
            queue += around
        found.append(group)
    return found


def reached(open_cells: NDArray[np.bool_], seeds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The open cells that a way over edges of open cells joins to a seed."""
    found = seeds & open_cells
    while True:
        wider = found.copy()
        wider[1:] |= found[:-1]
        wider[:-1] |= found[1:]
        wider[:, 1:] |= found[:, :-1]
        wider[:, :-1] |= found[:, 1:]
        wider &= open_cells
        if (wider == found).all():
            return found
        found = wider
