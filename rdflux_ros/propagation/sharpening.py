"""Buildings of a coarse height raster drawn again, finer: between straight sides, where its cells say that walls are.

A raster in steps of a metre scatters reflections and serrates shadows. Where a cell counts as built as soon as any
part of it is, buildings stand out by half a cell on average, too, more than that in the diagonal.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from rdflux_ros.propagation.outlines import BLUNTEST_CORNER, Array, Outline, crossings, outlined, roofs_of

FINE_M = 0.25
"""Resolution of what is drawn [m], or near it."""
COARSE_M = 2 * FINE_M
"""Rasters from here on [m] are worth it."""
FARTHEST_CORNER = 2.0
"""Two sides meet no farther than this from where the raster's outline turns [m]; else they are joined there."""
LINES_STAND_OUT = 0.85
"""By less than the cells that they run through: those at the sides' ends do, where corners are cut (val split)."""
SHORTEST_THIN = 4
"""One cell wide and so many long [cells], a part of a building is a wall; what is shorter is an oblique wall's step."""


def finer_by(resolution: float) -> int:
    """How many fine cells stand along a cell's edge [m]."""
    return round(resolution / FINE_M)


def sharpened(centimetres: NDArray[np.int16], resolution: float, *, touched: bool) -> NDArray[np.int16]:
    """[M, K] building heights [cm] in fine cells, `finer_by` along the edge of each of [N, L] cells [m], 0 = free.

    Level by level, since what is at least so high has an outline of its own. Walls that are one cell wide stay so.

    Parameters
    ----------
    touched
        Whether a cell is built where any fine cell in it is, or where its centre is.
    """
    factor = finer_by(resolution)
    roofs, _ = roofs_of(centimetres, resolution)
    lowest = np.full(roofs.max() + 1, np.iinfo(np.int16).max, np.int16)
    np.minimum.at(lowest, roofs, centimetres)
    level_of = lowest[roofs]  # of a pitched roof, its lowest part
    fine = np.zeros([side * factor for side in centimetres.shape], np.int16)
    for level in np.unique(level_of[centimetres > 0]):
        as_high = (centimetres >= level).astype(np.uint8)
        _, labels, boxes, _ = cv2.connectedComponentsWithStats(as_high, connectivity=4, ltype=cv2.CV_32S)
        for label in np.unique(labels[level_of == level]):
            left, top, width, height = boxes[label][:4]
            rows, cols = slice(top, top + height), slice(left, left + width)
            own = np.where(level_of[rows, cols] == level, centimetres[rows, cols], np.int16(0))
            around = cv2.dilate(own, np.ones((3, 3), np.uint8))  # a roof goes on to where its walls will be
            roof = np.where(own > 0, own, np.maximum(around, level))
            shape = np.pad((labels[rows, cols] == label).astype(np.uint8), 1)  # its corners may lie outside
            raised = np.where(
                _drawn(shape, resolution, touched=touched), _sloping(np.pad(roof, 1, mode="edge"), factor), 0
            )
            _raise(fine, raised, (top - 1) * factor, (left - 1) * factor)
    return fine


def _drawn(shape: NDArray[np.uint8], resolution: float, *, touched: bool) -> NDArray[np.bool_]:
    """Fine cells [H, W] whose centres are within the sides of a connected shape [h, w]."""
    factor = finer_by(resolution)
    standing_out = LINES_STAND_OUT * (1 - 1 / factor) * resolution if touched else 0.0
    outlines = outlined(shape, np.zeros(2), resolution)
    whole = _thin(shape) if outlines else shape
    drawn = np.kron(whole, np.ones((factor, factor), np.uint8)) > 0
    if outlines:
        polygons = [_corners(outline, standing_out) * (factor / resolution) for outline in outlines]
        drawn |= _within(polygons, *drawn.shape)
    return drawn


def _within(polygons: list[Array], rows: int, cols: int) -> NDArray[np.bool_]:
    """[rows, cols] cells whose centres are in an odd number of polygons [V, 2] of x, y [cells]: holes stay free."""
    x0, y0 = np.concatenate(polygons).T
    x1, y1 = np.concatenate([np.roll(polygon, -1, 0) for polygon in polygons]).T
    first, last = (np.clip(np.ceil(y - 0.5), 0, rows).astype(int) for y in (np.minimum(y0, y1), np.maximum(y0, y1)))
    count = last - first  # rows whose centres a side crosses
    side = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(side)) - np.repeat(np.cumsum(count) - count - first, count)
    x = x0[side] + (row + 0.5 - y0[side]) * ((x1 - x0)[side] / (y1 - y0)[side])
    turns = np.zeros((rows, cols + 1), np.uint8)
    np.add.at(turns, (row, np.clip(np.ceil(x - 0.5), 0, cols).astype(int)), 1)
    return np.bitwise_xor.accumulate(turns[:, :cols] & 1, axis=1) > 0


def _sloping(heights: NDArray[np.int16], factor: int) -> NDArray[np.int16]:
    """Heights in finer cells, `factor` along an edge, without steps."""
    rows, cols = heights.shape
    return np.asarray(cv2.resize(heights, (cols * factor, rows * factor), interpolation=cv2.INTER_LINEAR), np.int16)


def _raise(heights: NDArray[np.int16], block: NDArray[np.int16], row: int, col: int) -> None:
    """Make heights from (row, col) on, which may lie outside, at least as high as a block."""
    south, west = max(-row, 0), max(-col, 0)
    target = heights[max(row, 0) : row + block.shape[0], max(col, 0) : col + block.shape[1]]
    np.maximum(target, block[south : south + target.shape[0], west : west + target.shape[1]], out=target)


def _thin(shape: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cells [h, w] of a shape's parts that are one cell wide and at least `SHORTEST_THIN` long."""
    squares = np.pad(shape[:-1, :-1] & shape[1:, :-1] & shape[:-1, 1:] & shape[1:, 1:], 1)
    thick = squares[:-1, :-1] | squares[1:, :-1] | squares[:-1, 1:] | squares[1:, 1:]
    _, labels, found, _ = cv2.connectedComponentsWithStats(shape & ~thick, connectivity=8)
    long = found[:, cv2.CC_STAT_AREA] >= SHORTEST_THIN
    long[0] = False
    return long[labels].astype(np.uint8)


def _corners(outline: Outline, standing_out: float) -> Array:
    """[V, 2] where the sides [m] meet, moved in from where the raster shows them.

    There they stand out by half of `standing_out` [m] on average, along either axis.
    """
    normals = outline.normals
    offsets = outline.offsets - 0.5 * standing_out * abs(normals).sum(1)
    before = np.roll(normals, 1, 0), np.roll(offsets, 1)
    meeting, sine = crossings(before, (normals, offsets))
    turning = outline.vertices
    on_both = [turning + (c - (turning * n).sum(1))[:, None] * n for n, c in (before, (normals, offsets))]
    joined = np.mean(on_both, axis=0)
    meets = (abs(sine) > math.sin(BLUNTEST_CORNER)) & (np.hypot(*(meeting - joined).T) <= FARTHEST_CORNER)
    return np.where(meets[:, None], meeting, joined).astype(np.float32)
