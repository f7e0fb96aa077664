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
"""Resolution of what is drawn [m]."""
FARTHEST_CORNER = 2.0
"""Two sides meet no farther than this from where the raster's outline turns [m]; else they are joined there."""
SHORTEST_THIN = 4
"""One cell wide and so many long [cells], a part of a building is a wall; what is shorter is an oblique wall's step."""
SUBCELLS = 3
"""Odd: cells are drawn in so many along each axis, and the middle one says whether their centre is inside."""
FRACTION_BITS = 6
"""Of OpenCV's fixed-point coordinates."""


def sharpened(centimetres: NDArray[np.int16], resolution: float, *, touched: bool) -> NDArray[np.int16]:
    """[M, M] building heights [cm] in cells of `FINE_M` from [N, N] in cells of `resolution` [m], a multiple of it.

    Level by level, since what is at least so high has an outline of its own. Walls that are one cell wide stay so.

    Parameters
    ----------
    touched
        Whether a cell is built where any fine cell in it is, or where its centre is.
    """
    factor = round(resolution / FINE_M)
    standing_out = resolution - FINE_M if touched else 0.0
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
            shape = (labels[rows, cols] == label).astype(np.uint8)
            own = np.where(level_of[rows, cols] == level, centimetres[rows, cols], np.int16(0))
            around = cv2.dilate(own, np.ones((3, 3), np.uint8))  # a roof goes on to where its walls will be
            roof = np.where(own > 0, own, np.maximum(around, level))
            _draw(fine, shape, roof, (left, top), resolution, standing_out)
    return fine


def _draw(
    fine: NDArray[np.int16],
    shape: NDArray[np.uint8],
    heights: NDArray[np.int16],
    corner: tuple[int, int],
    resolution: float,
    standing_out: float,
) -> None:
    """Raise `fine` to `heights` [h, w] within the sides of a connected shape [h, w] that begins at a cell (x, y)."""
    one, factor = 1, round(resolution / FINE_M)  # a cell around the shape, since its corners may lie outside
    canvas = np.zeros([(side + 2 * one) * factor * SUBCELLS for side in shape.shape], np.uint8)
    outlines = outlined(shape, np.array([one, one]), resolution)
    polygons = [_corners(outline, standing_out) * SUBCELLS / FINE_M - 0.5 for outline in outlines]
    if polygons:
        fixed = [np.rint(polygon * 2**FRACTION_BITS).astype(np.int32) for polygon in polygons]
        cv2.fillPoly(canvas, fixed, 1, shift=FRACTION_BITS)  # even-odd: holes stay free
    inside = canvas[SUBCELLS // 2 :: SUBCELLS, SUBCELLS // 2 :: SUBCELLS] > 0
    thin = _thin(shape) if polygons else shape > 0
    inside |= np.kron(np.pad(thin, one), np.ones((factor, factor), bool))
    slopes = np.pad(heights, one, mode="edge")
    raised = np.where(inside, cv2.resize(slopes, inside.shape[::-1], interpolation=cv2.INTER_LINEAR), 0)
    left, top = corner
    row, col = (top - one) * factor, (left - one) * factor
    south, west = max(-row, 0), max(-col, 0)
    target = fine[max(row, 0) : row + raised.shape[0], max(col, 0) : col + raised.shape[1]]
    np.maximum(target, raised[south : south + target.shape[0], west : west + target.shape[1]], out=target)


def _thin(shape: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Cells [h, w] of a shape's parts that are one cell wide and at least `SHORTEST_THIN` long."""
    squares = np.pad(shape[:-1, :-1] & shape[1:, :-1] & shape[:-1, 1:] & shape[1:, 1:], 1)
    thick = squares[:-1, :-1] | squares[1:, :-1] | squares[:-1, 1:] | squares[1:, 1:]
    _, labels, found, _ = cv2.connectedComponentsWithStats(shape & ~thick, connectivity=8)
    long = found[:, cv2.CC_STAT_AREA] >= SHORTEST_THIN
    long[0] = False
    return np.asarray(long[labels])


def _corners(outline: Outline, standing_out: float) -> Array:
    """[V, 2] where the sides [m] meet, moved in from where the raster shows them.

    Its outermost cells stand out by half of `standing_out` [m] on average, along either axis.
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
