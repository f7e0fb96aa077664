"""Walls and corners of a region as exact lines, traced once from its height raster at the raster's own resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdflux_ros.radio.grid import MARGIN_M, WINDOW_M

LOWEST_BUILDING = 2.0
"""What stands lower [m] neither reflects nor shadows."""
OUTLINE_TOLERANCE = 1.2
"""Largest distance of a traced wall from the raster's outline [cells]: what the steps of a straight wall need."""
SHORTEST_WALL = 2.0
"""Shorter sides of an outline [m] are no walls."""
WALL_CELL = 0.5
"""Resolution of the raster that says which wall is the nearest [m]."""
SHORTEST_CORNER_SIDE = 1.0
"""Both sides that meet in a corner are at least this long [m]."""
BLUNTEST_CORNER = math.radians(15.0)
"""Outlines that turn by less have no corner there."""
CORNER_AZIMUTHS = 256
CORNER_REACH = 200
"""Corners look this far [m]."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Corners:
    """Convex vertical edges of buildings, C of them, in window coordinates [m].

    Parameters
    ----------
    position
        [C, 2] x, y.
    face_0, face_n
        [C, 2] outward normals of the two faces.
    interior_angle
        [C] of the wedge [rad].
    roof, base
        [C] height range over which the edge stands free [m].
    seen, within
        [S] int32 and [C, CORNER_REACH + 1] int32: the free cells (row-major) that corner c sees in plan between
        p and q whole metres away are ``seen[within[c, p] : within[c, q]]``.
    """

    position: Tensor
    face_0: Tensor
    face_n: Tensor
    interior_angle: Tensor
    roof: Tensor
    base: Tensor
    seen: Tensor
    within: Tensor


@dataclass(frozen=True)
class Facades:
    """All that the streets alone decide about rays; cached per region. Window coordinates [m].

    Parameters
    ----------
    heights_cm
        [N, N] int16 building heights above ground [cm], 0 = free, row 0 = south; the window and
        `MARGIN_M` on each side at `resolution`. The outermost ring is free.
    resolution
        Edge of a raster cell [m], 0.25 to 1.
    free
        [65536] whether each receiver of the window, row-major, stands outside buildings.
    walls
        [W, 4] ends x0, y0, x1, y1 of each wall.
    lines
        [W, 3] outward normal n and offset c of each wall's line n.p = c.
    nearest_wall
        [M, M] int16: the wall nearest to each cell of `WALL_CELL`; -1 without any wall.
    """

    heights_cm: Tensor
    resolution: float
    free: Tensor
    walls: Tensor
    lines: Tensor
    nearest_wall: Tensor
    corners: Corners

    @property
    def nbytes(self) -> int:
        """Memory of the cached tensors [bytes]."""
        owners = (self, self.corners)
        values = [getattr(owner, field.name) for owner in owners for field in fields(owner)]
        return sum(value.nbytes for value in values if isinstance(value, Tensor))

    def to(self, device: torch.device | str) -> Facades:
        """The same on another device."""

        def moved(owner: Any) -> dict[str, Any]:
            values = {field.name: getattr(owner, field.name) for field in fields(owner)}
            return {name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)}

        return replace(self, **moved(self), corners=replace(self.corners, **moved(self.corners)))

    def height_at(self, x: Tensor, y: Tensor) -> Tensor:
        """Building heights [m] at window coordinates [m], nearest sample; 0 beyond the raster."""
        return _height_at(self.heights_cm, self.resolution, x, y)

    def wall_at(self, x: Tensor, y: Tensor) -> Tensor:
        """Index of the wall nearest to window coordinates [m]; at least one wall must exist."""
        index = _cell_index(x, y, WALL_CELL, self.nearest_wall.shape[0])
        return self.nearest_wall.view(-1).index_select(0, index).int()


def _height_at(heights_cm: Tensor, resolution: float, x: Tensor, y: Tensor) -> Tensor:
    index = _cell_index(x, y, resolution, heights_cm.shape[0])
    return heights_cm.view(-1).index_select(0, index.view(-1)).view(index.shape) * 0.01


def _cell_index(x: Tensor, y: Tensor, resolution: float, side: int) -> Tensor:
    scale = 1.0 / resolution
    col = ((x + MARGIN_M) * scale).clamp_(0, side - 1).to(torch.int32)
    row = ((y + MARGIN_M) * scale).clamp_(0, side - 1).to(torch.int32)
    return row.mul_(side).add_(col)


def clear_of_edges(resolution: float) -> float:
    """How far from an edge [m] cells are surely in or out: a little more than half a cell's diagonal."""
    return max(0.6, 0.75 * resolution)


def receivers(device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """(x, y) of the window's cell centres [m], each [65536], row-major."""
    centres = torch.arange(WINDOW_M, device=device) + 0.5
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return x.reshape(-1), y.reshape(-1)


def trace_facades(heights_m: Array, resolution: float, device: torch.device | str = "cpu") -> Facades:
    """Trace the walls and corners of one region.

    Parameters
    ----------
    heights_m
        [N, N] heights [m], row 0 = south, with ``N = (256 + 2 * 24) / resolution``.

    Raises
    ------
    ValueError
        The raster does not cover the window and its margin.
    """
    side = round((WINDOW_M + 2 * MARGIN_M) / resolution)
    if heights_m.shape != (side, side):
        raise ValueError(f"heights of shape {heights_m.shape}, expected {(side, side)} at {resolution} m")
    centimetres = np.rint(np.minimum(heights_m, 327.0) * 100).astype(np.int16)
    centimetres[centimetres < LOWEST_BUILDING * 100] = 0
    centimetres[[0, -1]] = centimetres[:, [0, -1]] = 0
    outlines = _outlines(centimetres, resolution)
    walls, lines = _walls(outlines)
    heights = torch.from_numpy(centimetres).to(device)
    free = _height_at(heights, resolution, *receivers(device)) == 0
    return Facades(
        heights_cm=heights,
        resolution=resolution,
        free=free,
        walls=torch.from_numpy(walls).to(device),
        lines=torch.from_numpy(lines).to(device),
        nearest_wall=torch.from_numpy(_nearest_wall(walls)).to(device),
        corners=_corners(outlines, centimetres, free.cpu().numpy(), resolution, device),
    )


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


def _outlines(centimetres: NDArray[np.int16], resolution: float) -> list[Outline]:
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
                outlines.append(_fitted(contour[:, 0], polygon, shift, resolution))
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


def _places(contour: NDArray[np.int32], polygon: NDArray[np.int32]) -> NDArray[np.int64]:
    """Index of each of the polygon's vertices in the contour that it is an excerpt of, in the contour's order."""
    places, last = [], -1
    for vertex in polygon:
        found = np.flatnonzero((contour == vertex).all(1))
        later = found[found > last]
        last = int(later[0]) if len(later) else int(found[0])
        places.append(last)
    return np.array(places)


def _walls(outlines: list[Outline]) -> tuple[Array, Array]:
    """Ends [W, 4] and lines [W, 3] of the walls."""
    ends, lines = [np.zeros((0, 4), np.float32)], [np.zeros((0, 3), np.float32)]
    for outline in outlines:
        kept = outline.length >= SHORTEST_WALL
        both = [
            point + (outline.offsets - (point * outline.normals).sum(1))[:, None] * outline.normals
            for point in (outline.vertices, np.roll(outline.vertices, -1, 0))
        ]
        ends.append(np.concatenate(both, 1)[kept])
        lines.append(np.concatenate([outline.normals, outline.offsets[:, None]], 1)[kept])
    return np.concatenate(ends), np.concatenate(lines)


def _nearest_wall(walls: Array) -> NDArray[np.int16]:
    side = round((WINDOW_M + 2 * MARGIN_M) / WALL_CELL)
    drawn = np.full((side, side), -1, np.int32)
    for index, (x0, y0, x1, y1) in enumerate(((walls + MARGIN_M) / WALL_CELL).astype(int).tolist()):
        cv2.line(drawn, (x0, y0), (x1, y1), index)
    if not len(walls):
        return drawn.astype(np.int16)
    _, labels = cv2.distanceTransformWithLabels(
        (drawn < 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    wall_of_label = np.full(labels.max() + 1, -1, np.int16)
    wall_of_label[labels[drawn >= 0]] = drawn[drawn >= 0]
    return wall_of_label[labels]


def _corners(
    outlines: list[Outline],
    centimetres: NDArray[np.int16],
    free: NDArray[np.bool_],
    resolution: float,
    device: torch.device | str,
) -> Corners:
    """Convex vertices of the outlines that stand free at least a metre above what touches them."""
    rows = [np.zeros((0, 7), np.float32)]
    for outline in outlines:
        after, c_after = outline.normals, outline.offsets
        before, c_before = np.roll(after, 1, 0), np.roll(c_after, 1)
        sine = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
        turn = np.arctan2(sine, (before * after).sum(1))
        long = (outline.length >= SHORTEST_CORNER_SIDE) & (np.roll(outline.length, 1) >= SHORTEST_CORNER_SIDE)
        # the building lies to the right, so its corners turn right; a spike has no edge to speak of
        kept = long & (turn < -BLUNTEST_CORNER) & (turn > BLUNTEST_CORNER - math.pi)
        crossing = np.stack(
            [c_before * after[:, 1] - c_after * before[:, 1], c_after * before[:, 0] - c_before * after[:, 0]], 1
        )
        position = crossing[kept] / sine[kept, None]
        rows.append(np.concatenate([position, before[kept], after[kept], math.pi + turn[kept, None]], 1))
    corner = torch.from_numpy(np.concatenate(rows).astype(np.float32))
    position, face_0, face_n = corner[:, :2], corner[:, 2:4], corner[:, 4:6]
    outward = torch.nn.functional.normalize(face_0 + face_n, dim=1)
    heights = torch.from_numpy(centimetres)

    def height(points: Tensor) -> Tensor:
        return _height_at(heights, resolution, points[:, 0], points[:, 1])

    aside = clear_of_edges(resolution)
    roof = height(position - outward * aside)
    base = torch.stack([height(position + way * aside) for way in (outward, face_0, face_n)]).amax(0)
    kept = roof > base + 1.0
    position, outward, roof, base = position[kept], outward[kept], roof[kept], base[kept]
    seen, within = _seen(position, _clear_distance(heights, resolution, position + outward * aside), free)
    parts = (position, face_0[kept], face_n[kept], corner[kept, 6], roof, base, seen, within)
    return Corners(*(part.to(device) for part in parts))


def _seen(position: Tensor, clear: Tensor, free: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """Free cells within the polygon of clear distances round each corner, nearest first, and how many by distance."""
    angle = torch.arange(CORNER_AZIMUTHS) * (2 * math.pi / CORNER_AZIMUTHS)
    rays = torch.stack([angle.cos(), angle.sin()], 1)
    fraction_bits = 4
    polygons = (position[:, None] - 0.5 + clear[..., None] * rays) * 2**fraction_bits  # pixel centres are whole
    seen, within = [np.zeros(0, np.int32)], [np.zeros((0, CORNER_REACH + 1), np.int64)]
    total = 0
    for (x, y), polygon in zip(position.numpy(), polygons.round().int().numpy(), strict=True):
        mask = np.zeros((WINDOW_M, WINDOW_M), np.uint8)
        cv2.fillPoly(mask, [polygon], 1, shift=fraction_bits)
        cells = np.flatnonzero(mask.ravel() & free).astype(np.int32)
        metres = np.hypot((cells % WINDOW_M) + 0.5 - x, (cells // WINDOW_M) + 0.5 - y).astype(np.uint8)
        seen.append(cells[np.argsort(metres, kind="stable")])
        counts = np.bincount(metres, minlength=CORNER_REACH + 1)[: CORNER_REACH + 1]
        within.append(total + np.concatenate([[0], np.cumsum(counts)[:-1]])[None])
        total += len(cells)
    return torch.from_numpy(np.concatenate(seen)), torch.from_numpy(np.concatenate(within).astype(np.int32))


def _clear_distance(heights_cm: Tensor, resolution: float, points: Tensor) -> Tensor:
    """[C, CORNER_AZIMUTHS] distance to the first building from each point [m]."""
    stride = max(1, round(1.0 / resolution))
    coarse = (heights_cm[stride // 2 :: stride, stride // 2 :: stride] > 0).reshape(-1)
    side = math.isqrt(coarse.numel())
    angle = torch.arange(CORNER_AZIMUTHS) * (2 * math.pi / CORNER_AZIMUTHS)
    clear = torch.full((len(points), CORNER_AZIMUTHS), float(CORNER_REACH))
    open_rays = torch.ones_like(clear, dtype=torch.bool).view(-1).nonzero()[:, 0]
    for distance in range(1, CORNER_REACH, 8):
        corner, azimuth = open_rays // CORNER_AZIMUTHS, open_rays % CORNER_AZIMUTHS
        steps = torch.arange(distance, distance + 8)
        x = points[corner, :1] + angle.cos()[azimuth, None] * steps
        y = points[corner, 1:] + angle.sin()[azimuth, None] * steps
        hit = coarse[_cell_index(x, y, 1.0, side)]
        first = torch.where(hit, steps, CORNER_REACH).amin(1)
        clear.view(-1)[open_rays] = first.float()
        beyond = (x[:, -1] < 0) | (x[:, -1] > WINDOW_M) | (y[:, -1] < 0) | (y[:, -1] > WINDOW_M)
        open_rays = open_rays[(first == CORNER_REACH) & ~beyond]
    return clear
