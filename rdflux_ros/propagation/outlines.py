"""Outlines of buildings as exact lines, from a height raster at the raster's own resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rdflux_ros.radio.grid import MARGIN_M

OUTLINE_TOLERANCE = 1.2
"""Largest distance of a traced side from the raster's outline [cells]: what the steps of a straight wall need."""
LONGEST_CHAMFER, LONGEST_CHAMFER_CELLS = 1.25, 2.5
"""Shorter sides [m, and cells if that is more] between two that meet no farther off are the tracing's cut of their
corner. It cuts up to five cells, but of a coarse map that would take true sides, too."""
STEEPEST_ROOF = math.radians(50.0)
"""Neighbouring cells whose heights differ by less belong to one roof, so that a pitched one is no flight of stairs."""
BLUNTEST_CORNER = math.radians(15.0)
"""Sides that turn by less meet in no corner."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Outline:
    """Polygon of V straight sides round one roof, flat or not; side i runs from vertex i to vertex i + 1.

    Parameters
    ----------
    vertices
        [V, 2] in window coordinates [m]; the building lies to the right of the way along them.
    length
        [V] of the sides [m].
    normals, offsets
        [V, 2] and [V] outward unit normals and offsets of the sides' lines n.p = c.
    """

    vertices: Array
    length: Array
    normals: Array
    offsets: Array


def trace_outlines(centimetres: NDArray[np.int16], resolution: float) -> list[Outline]:
    """Outlines of all roofs of [N, N] building heights [cm], 0 = free, in cells of `resolution` [m]."""
    outlines = []
    roofs, boxes = roofs_of(centimetres, resolution)
    for number, (left, top, width, height) in enumerate(boxes, 1):
        shape = (roofs[top : top + height, left : left + width] == number).astype(np.uint8)
        outlines += outlined(shape, np.array([left, top]) - MARGIN_M / resolution, resolution)
    return outlines


def outlined(shape: NDArray[np.uint8], corner: NDArray[np.float64], resolution: float) -> list[Outline]:
    """Outlines of one shape [h, w] and of its holes; `corner` is where it begins, x, y [cells]."""
    contours, _ = cv2.findContours(shape, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    outlines = []
    for contour in contours:
        polygon = cv2.approxPolyDP(contour, OUTLINE_TOLERANCE, True)
        if len(polygon) > 2:
            around, turns = (np.asarray(points[:, 0], np.int32) for points in (contour, polygon))
            outline = _fitted(around, turns, corner + 0.5, resolution)
            outlines.append(_with_corners(outline, max(LONGEST_CHAMFER, LONGEST_CHAMFER_CELLS * resolution)))
    return outlines


def roofs_of(centimetres: NDArray[np.int16], resolution: float) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Number of each cell's roof [N, N] from 1 on, 0 = free; x, y, width, height of their boxes [R, 4] [cells]."""
    step = 100 * resolution * math.tan(STEEPEST_ROOF)
    occupied = centimetres > 0
    # a grid of twice the cells holds the neighbours' links between them
    linked = np.zeros([2 * side - 1 for side in centimetres.shape], np.uint8)
    linked[::2, ::2] = occupied
    linked[1::2, ::2] = occupied[1:] & occupied[:-1] & (abs(np.diff(centimetres, axis=0)) < step)
    linked[::2, 1::2] = occupied[:, 1:] & occupied[:, :-1] & (abs(np.diff(centimetres, axis=1)) < step)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(linked, connectivity=4, ltype=cv2.CV_32S)
    corner_and_size = np.concatenate([boxes[1:, :2] // 2, (boxes[1:, 2:4] + 1) // 2], 1)
    return np.asarray(labels, np.int32)[::2, ::2], corner_and_size.astype(np.int32)


def _fitted(
    contour: NDArray[np.int32], polygon: NDArray[np.int32], shift: NDArray[np.float64], resolution: float
) -> Outline:
    """Sides as least-squares lines through all outermost cells between two vertices of the polygon."""
    vertex = _places(contour, polygon)
    around = np.roll(contour, -vertex[0], 0) + shift
    first = np.sort((vertex - vertex[0]) % len(contour))
    moments = np.concatenate([around, around**2, around[:, :1] * around[:, 1:], np.ones_like(around[:, :1])], 1)
    # both vertices belong to the side
    x, y, xx, yy, xy, n = (np.add.reduceat(moments, first) + moments[np.roll(first, -1)]).T
    x, y = x / n, y / n
    direction = 0.5 * np.arctan2(2 * (xy / n - x * y), (xx - yy) / n - x * x + y * y)
    vertices = around[first]
    chord = np.roll(vertices, -1, 0) - vertices
    along = np.stack([np.cos(direction), np.sin(direction)], 1)
    along *= np.where((along * chord).sum(1, keepdims=True) < 0, -1, 1)
    normals = np.stack([-along[:, 1], along[:, 0]], 1)
    # the outermost cells' centres lie half a cell within the wall, measured along the steeper axis
    offsets = normals[:, 0] * x + normals[:, 1] * y + 0.5 * abs(normals).max(1)
    length = np.hypot(chord[:, 0], chord[:, 1])
    parts = (vertices * resolution, length * resolution, normals, offsets * resolution)
    return Outline(*(part.astype(np.float32) for part in parts))


def _with_corners(outline: Outline, longest: float) -> Outline:
    """Sides shorter than the `longest` cut [m] between two that are not give way to the corner in which those meet."""
    normals, offsets = outline.normals, outline.offsets
    before, after = ((np.roll(normals, way, 0), np.roll(offsets, way)) for way in (1, -1))
    crossing, sine = crossings(before, after)
    middle = (outline.vertices + np.roll(outline.vertices, -1, 0)) / 2
    short = outline.length < longest
    cut = short & ~np.roll(short, 1) & ~np.roll(short, -1) & (abs(sine) > math.sin(BLUNTEST_CORNER))
    cut &= np.hypot(*(crossing - middle).T) < longest
    if not cut.any() or len(cut) - cut.sum() < 3:
        return outline
    vertices = np.where(np.roll(cut, 1)[:, None], np.roll(crossing, 1, 0), outline.vertices)[~cut]
    chord = np.roll(vertices, -1, 0) - vertices
    return Outline(vertices, np.hypot(chord[:, 0], chord[:, 1]), normals[~cut], offsets[~cut])


def crossings(before: tuple[Array, Array], after: tuple[Array, Array]) -> tuple[Array, Array]:
    """Where lines n.p = c cross others, [V, 2], and the sine of the turn between them; anywhere where they do not turn.

    Parameters
    ----------
    before, after
        Unit normals [V, 2] and offsets [V].
    """
    (n, c), (m, d) = before, after
    sine = n[:, 0] * m[:, 1] - n[:, 1] * m[:, 0]
    scaled = np.stack([c * m[:, 1] - d * n[:, 1], d * n[:, 0] - c * m[:, 0]], 1)
    return (scaled / np.where(sine == 0, 1.0, sine)[:, None]).astype(np.float32), sine


def _places(contour: NDArray[np.int32], polygon: NDArray[np.int32]) -> NDArray[np.int64]:
    """Index of each of the polygon's vertices in the contour that it is an excerpt of, in the contour's order."""
    places, last = [], -1
    for vertex in polygon:
        found = np.flatnonzero((contour == vertex).all(1))
        later = found[found > last]
        last = int(later[0]) if len(later) else int(found[0])
        places.append(last)
    return np.array(places)
