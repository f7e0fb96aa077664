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
LONGEST_CHAMFER = 1.25
"""Shorter sides [m] between two that meet no farther off than this are the tracing's cut of their corner."""
BLUNTEST_CORNER = math.radians(15.0)
"""Sides that turn by less meet in no corner."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Outline:
    """Polygon of V straight sides round one part of one height; side i runs from vertex i to vertex i + 1.

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
    """Outlines of all parts of one height."""
    occupied = np.flatnonzero(centimetres)
    if not len(occupied):
        return []
    occupied = occupied[np.argsort(centimetres.ravel()[occupied], kind="stable")]
    levels, start = np.unique(centimetres.ravel()[occupied], return_index=True)
    rows, cols = np.divmod(occupied, centimetres.shape[1])
    outlines = []
    for level, first, last in zip(levels, start, [*start[1:], len(occupied)], strict=True):
        top, left = rows[first], cols[first:last].min()
        box = centimetres[top : rows[last - 1] + 1, left : cols[first:last].max() + 1]
        contours, _ = cv2.findContours((box == level).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        shift = np.array([left + 0.5, top + 0.5]) - MARGIN_M / resolution
        for contour in contours:
            polygon = cv2.approxPolyDP(contour, OUTLINE_TOLERANCE, True)[:, 0]
            if len(polygon) > 2:
                outlines.append(_with_corners(_fitted(contour[:, 0], polygon, shift, resolution)))
    return outlines


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


def _with_corners(outline: Outline) -> Outline:
    """Short sides between two long ones give way to the corner in which those meet."""
    normals, offsets = outline.normals, outline.offsets
    before, after = ((np.roll(normals, way, 0), np.roll(offsets, way)) for way in (1, -1))
    crossing, sine = crossings(before, after)
    middle = (outline.vertices + np.roll(outline.vertices, -1, 0)) / 2
    short = outline.length < LONGEST_CHAMFER
    cut = short & ~np.roll(short, 1) & ~np.roll(short, -1) & (abs(sine) > math.sin(BLUNTEST_CORNER))
    cut &= np.hypot(*(crossing - middle).T) < LONGEST_CHAMFER
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
