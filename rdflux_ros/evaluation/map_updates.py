"""Map updates as they happen, drawn from the streets' own buildings: what a midpoint may have to outlive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rdflux_ros.data.radiomapseer import DataError, Sample
from rdflux_ros.radio.grid import MARGIN_M, WINDOW_M

CELLS = 4
"""Cells that a small correction of a map touches."""
SMALL = 0.25
"""Share of a scene's buildings that count as small."""
LEAST = 16
"""Cells of a building; what is smaller is a speck of the raster."""
BLOCK_M = 64
"""Edge of a block [m]."""
CLEARANCE_M = 4.0
"""Around the transmitter nothing changes [m]."""
TRIES = 100
"""Draws until one changes anything."""

Heights = NDArray[np.float32]
"""[256, 256] building heights [m], 0 = free."""


def updated(sample: Sample, kind: str, other: Sample, seed: int) -> Sample:
    """The sample's streets after an update; its truth is no longer theirs.

    Parameters
    ----------
    kind
        Of `KINDS`.
    other
        Whose buildings a changed block gets.
    seed
        Of the draw.

    Raises
    ------
    DataError
        The streets have nothing that such an update could change.
    """
    random = np.random.default_rng(seed)
    if sample.heights_m.any():
        for _ in range(TRIES):
            heights = KINDS[kind](sample.heights_m, other.heights_m, random)
            near = _near(sample)
            heights[near] = sample.heights_m[near]
            if (heights != sample.heights_m).any():
                return replace(
                    sample,
                    scene=f"{sample.name}+{kind}{seed}",  # what is kept of a scene goes by its name
                    heights_m=heights,
                    surroundings_m=_rebuilt(sample, heights),
                    cars=np.zeros_like(sample.cars),
                )
    raise DataError(f"{sample.scene}: no update of kind {kind} changes it")


def _cells(heights: Heights, other: Heights, random: np.random.Generator) -> Heights:
    """A few cells along walls become free, or become wall."""
    found = heights.copy()
    built = heights > 0
    along = _grown(built) & _grown(~built)
    for row, col in random.permutation(np.argwhere(along))[:CELLS]:
        around = heights[max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2]
        found[row, col] = 0.0 if built[row, col] else around.max()
    return found


def _wall(heights: Heights, other: Heights, random: np.random.Generator) -> Heights:
    """One side of a building moves by a cell, out or in."""
    found = heights.copy()
    building = _building(heights, random)
    moved = _shifted(building, *((0, 1), (1, 0), (0, -1), (-1, 0))[random.integers(4)])
    if random.integers(2):
        found[moved & (heights == 0)] = heights[building].max()
    else:
        found[building & ~moved] = 0.0
    return found


def _small_building(heights: Heights, other: Heights, random: np.random.Generator) -> Heights:
    """One of the smaller buildings goes, or a copy of one comes where there is room."""
    found = heights.copy()
    building = _building(heights, random, SMALL)
    rows, cols = np.nonzero(building)
    if random.integers(2):
        found[building] = 0.0
    else:
        height, width = np.ptp(rows) + 1, np.ptp(cols) + 1
        row, col = random.integers(WINDOW_M - height + 1), random.integers(WINDOW_M - width + 1)
        if not heights[row : row + height, col : col + width].any():
            found[row - rows.min() + rows, col - cols.min() + cols] = heights[building]
    return found


def _block(heights: Heights, other: Heights, random: np.random.Generator) -> Heights:
    """All that stands in a block around a building becomes what other streets have there."""
    found = heights.copy()
    row, col = random.permutation(np.argwhere(heights > 0))[0]
    south, west = (int(np.clip(at - BLOCK_M // 2, 0, WINDOW_M - BLOCK_M)) for at in (row, col))
    block = slice(south, south + BLOCK_M), slice(west, west + BLOCK_M)
    found[block] = other[block]
    return found


KINDS: dict[str, Callable[[Heights, Heights, np.random.Generator], Heights]] = {
    "cells": _cells,
    "wall": _wall,
    "small_building": _small_building,
    "block": _block,
}
"""Updates by name, from small to large."""


def _building(heights: Heights, random: np.random.Generator, smallest: float = 1.0) -> NDArray[np.bool_]:
    """Cells of one building, drawn from the share `smallest` of them that are the smallest."""
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats((heights > 0).astype(np.uint8), connectivity=4)
    areas = stats[1:, cv2.CC_STAT_AREA]
    by_size = 1 + np.argsort(areas, kind="stable")
    by_size = by_size[areas[by_size - 1] >= min(LEAST, areas.max())]
    few = by_size[: max(1, round(smallest * len(by_size)))]
    cells: NDArray[np.bool_] = labels == few[random.integers(len(few))]
    return cells


def _rebuilt(sample: Sample, heights: Heights) -> NDArray[np.float32]:
    """The finer map of the sample's surroundings, changed where its cells of 1 m are."""
    fine = round(1.0 / sample.resolution)
    rebuilt = sample.surroundings_m.copy()
    window = slice(round(MARGIN_M) * fine, (round(MARGIN_M) + WINDOW_M) * fine)
    inner = rebuilt[window, window]
    gone = (heights == 0) & (sample.heights_m > 0)
    cleared = _grown(gone) & (heights == 0)  # a wall may reach into a cell that counts as free
    changed = heights != sample.heights_m
    values = heights.repeat(fine, 0).repeat(fine, 1)
    inner[...] = np.where((cleared | changed).repeat(fine, 0).repeat(fine, 1), values, inner)
    return rebuilt


def _near(sample: Sample) -> NDArray[np.bool_]:
    rows, cols = np.indices(sample.heights_m.shape) + 0.5
    x, y = sample.position[:2]
    near: NDArray[np.bool_] = np.hypot(cols - x, rows - y) <= CLEARANCE_M
    return near


def _grown(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The cells and their neighbours, eight of each."""
    import cv2

    grown: NDArray[np.bool_] = cv2.dilate(cells.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return grown


def _shifted(cells: NDArray[np.bool_], rows: int, cols: int) -> NDArray[np.bool_]:
    """The cells moved; what leaves the window is lost."""
    padded = np.pad(cells, 1)
    return padded[1 - rows : 1 - rows + len(cells), 1 - cols : 1 - cols + len(cells)]
