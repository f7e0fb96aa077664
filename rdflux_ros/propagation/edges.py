"""Edges of buildings that bend rays, each with the receivers that see it: corners and roof edges."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdflux_ros.propagation.outlines import BLUNTEST_CORNER, Array, Outline, crossings
from rdflux_ros.propagation.raster import cell_index, clear_of_edges, height_at
from rdflux_ros.radio.grid import WINDOW_M

SHORTEST_CORNER_SIDE = 1.0
"""Both sides that meet in a corner are at least this long [m]."""
FREE_STANDING = 1.0
"""An edge rises this far above what touches it [m]."""
LOOKOUT_SPACING, LOOKOUT_INSET = 8.0, 0.3
"""Between the points of a roof edge that what it sees is found from, and from its ends to the outermost [m]."""
REACH = 300
"""Edges look this far [m]."""
AZIMUTHS = 256
"""Directions in which edges look."""
FRACTION_BITS = 4
"""Of the coordinates of polygons that are filled."""

E = TypeVar("E", "Corners", "RoofEdges")


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
        [S] int32 and [C, REACH + 1] int32: the free cells (row-major) that may see corner c, which buildings of less
        than half its height hide from none, between p and q whole metres away are
        ``seen[within[c, p] : within[c, q]]``.
    doubtful
        [S] bool: whether something low may stand between, or something high just beside the way.
    """

    position: Tensor
    face_0: Tensor
    face_n: Tensor
    interior_angle: Tensor
    roof: Tensor
    base: Tensor
    seen: Tensor
    within: Tensor
    doubtful: Tensor

    def to(self, device: torch.device | str) -> Corners:
        """The same on another device."""
        return _moved(self, device)


@dataclass(frozen=True)
class RoofEdges:
    """Upper edges of walls, E of them, in window coordinates [m].

    Parameters
    ----------
    line
        [E, 3] outward normal n and offset c of the wall's line n.p = c.
    ends
        [E, 2] where the edge begins and ends along the line, as n_x y - n_y x.
    roof
        [E] height.
    seen, first
        [S] int32 and [E + 1] int32: the free cells (row-major) that may see something of edge e, which buildings of
        less than half its height hide from none, are ``seen[first[e] : first[e + 1]]``.
    """

    line: Tensor
    ends: Tensor
    roof: Tensor
    seen: Tensor
    first: Tensor

    def to(self, device: torch.device | str) -> RoofEdges:
        """The same on another device."""
        return _moved(self, device)


def _moved(edges: E, device: torch.device | str) -> E:
    return replace(edges, **{field.name: getattr(edges, field.name).to(device) for field in fields(edges)})


@dataclass(frozen=True)
class Plan:
    """Where buildings stand: [N, N] int16 heights [cm] at `resolution`, and [65536] which receivers are free."""

    heights_cm: Tensor
    resolution: float
    free: NDArray[np.bool_]

    def height(self, points: Tensor) -> Tensor:
        """Heights [P] at points [P, 2]."""
        return height_at(self.heights_cm, self.resolution, points[:, 0], points[:, 1])


def trace_corners(outlines: list[Outline], plan: Plan) -> Corners:
    """Convex vertices of the outlines that stand free above what touches them."""
    rows = [np.zeros((0, 7), np.float32)]
    for outline in outlines:
        after, c_after = outline.normals, outline.offsets
        before, c_before = np.roll(after, 1, 0), np.roll(c_after, 1)
        crossing, sine = crossings((before, c_before), (after, c_after))
        turn = np.arctan2(sine, (before * after).sum(1))
        long = (outline.length >= SHORTEST_CORNER_SIDE) & (np.roll(outline.length, 1) >= SHORTEST_CORNER_SIDE)
        # the building lies to the right, so its corners turn right; a spike has no edge to speak of
        kept = long & (turn < -BLUNTEST_CORNER) & (turn > BLUNTEST_CORNER - math.pi)
        rows.append(np.concatenate([crossing[kept], before[kept], after[kept], math.pi + turn[kept, None]], 1))
    corner = torch.from_numpy(np.concatenate(rows).astype(np.float32))
    position, face_0, face_n = corner[:, :2], corner[:, 2:4], corner[:, 4:6]
    outward = torch.nn.functional.normalize(face_0 + face_n, dim=1)
    aside = clear_of_edges(plan.resolution)
    roof = plan.height(position - outward * aside)
    base = torch.stack([plan.height(position + way * aside) for way in (outward, face_0, face_n)]).amax(0)
    kept = roof > base + FREE_STANDING
    position, outward, roof, base = position[kept], outward[kept], roof[kept], base[kept]
    seen, within, doubtful = [np.zeros(0, np.int32)], [np.zeros((0, REACH + 1), np.int64)], [np.zeros(0, np.bool_)]
    total = 0
    # between two azimuths a building's end may hide a cell or not, and distances are whole metres
    past_all, past_lower = (
        _clear_distance(position, outward, plan, opaque) for opaque in (torch.zeros_like(base), base.maximum(roof / 2))
    )
    surely = _polygons(position, (_with_neighbours(past_all).amin(0) - 1.0).clamp_min(0.0))
    perhaps = _polygons(position, _with_neighbours(past_lower).amax(0))
    for clear, wide, (x, y) in zip(surely.numpy(), perhaps.numpy(), position.numpy(), strict=True):
        cells = _seen(wide[None], plan)
        metres = np.hypot((cells % WINDOW_M) + 0.5 - x, (cells // WINDOW_M) + 0.5 - y).astype(np.uint16)
        order = np.argsort(metres, kind="stable")
        seen.append(cells[order])
        doubtful.append(~np.isin(cells, _seen(clear[None], plan), assume_unique=True)[order])
        counts = np.bincount(metres, minlength=REACH + 1)[: REACH + 1]
        within.append(total + np.concatenate([[0], np.cumsum(counts)[:-1]])[None])
        total += len(cells)
    lists = np.concatenate(seen), np.concatenate(within).astype(np.int32), np.concatenate(doubtful)
    return Corners(
        position, face_0[kept], face_n[kept], corner[kept, 6], roof, base, *(torch.from_numpy(part) for part in lists)
    )


def trace_roof_edges(walls: Array, lines: Array, plan: Plan) -> RoofEdges:
    """Upper edges of walls [W, 4] on lines [W, 3] that stand free above what touches them."""
    begin, line = torch.from_numpy(walls[:, :2]), torch.from_numpy(lines)
    way = torch.from_numpy(walls[:, 2:]) - begin
    length = way.norm(dim=1)
    count = (length / LOOKOUT_SPACING).ceil().long() + 1
    wall = torch.repeat_interleave(count)
    number = torch.arange(len(wall)) - (count.cumsum(0) - count)[wall]
    share = (number / (count - 1)[wall]).clamp(LOOKOUT_INSET / length[wall], 1 - LOOKOUT_INSET / length[wall])
    place, normal = begin[wall] + way[wall] * share[:, None], line[wall, :2]
    aside = clear_of_edges(plan.resolution)
    roof, base = plan.height(place - normal * aside), plan.height(place + normal * aside)
    kept = roof > base + FREE_STANDING
    wall, place, normal, roof = wall[kept], place[kept], normal[kept], roof[kept]
    found, group, sizes = wall.unique_consecutive(return_inverse=True, return_counts=True)
    polygons = _polygons(place, _clear_distance(place, normal, plan, roof / 2, least_cosine=0.0))
    top = torch.zeros(len(found)).scatter_reduce_(0, group, roof, "amax")
    own = polygons.split(sizes.tolist()) if len(found) else ()
    seen = [np.zeros(0, np.int32), *(_seen(part.numpy(), plan) for part in own)]
    first = np.cumsum([len(cells) for cells in seen])
    line, begin, end = line[found], begin[found], begin[found] + way[found]
    ends = torch.stack([line[:, 0] * p[:, 1] - line[:, 1] * p[:, 0] for p in (begin, end)], 1).sort(1).values
    lists = torch.from_numpy(np.concatenate(seen)), torch.from_numpy(first.astype(np.int32))
    return RoofEdges(line, ends, top, *lists)


def _seen(polygons: NDArray[np.int32], plan: Plan) -> NDArray[np.int32]:
    """Free cells within any of some polygons [P, AZIMUTHS, 2] of `_polygons`, row-major."""
    around = polygons.reshape(-1, 2) >> FRACTION_BITS
    left, bottom = np.clip(around.min(0), 0, WINDOW_M)
    right, top = np.clip(around.max(0) + 2, 0, WINDOW_M)
    if left == right or bottom == top:
        return np.zeros(0, np.int32)
    mask = np.zeros((top - bottom, right - left), np.uint8)
    shift = np.array([left, bottom], np.int32) << FRACTION_BITS
    for polygon in polygons:
        cv2.fillPoly(mask, [polygon - shift], 1, shift=FRACTION_BITS)
    free = plan.free.reshape(WINDOW_M, WINDOW_M)[bottom:top, left:right]
    row, col = np.divmod(np.flatnonzero(mask & free), right - left)
    return ((row + bottom) * WINDOW_M + col + left).astype(np.int32)


def _polygons(position: Tensor, clear: Tensor) -> Tensor:
    """What lies within `clear` [P, AZIMUTHS] m of points [P, 2] of edges, int32 [P, AZIMUTHS, 2].

    In cells of the window, with `FRACTION_BITS`.
    """
    polygons = (position[:, None] - 0.5 + clear[..., None] * _rays()) * 2**FRACTION_BITS  # pixel centres are whole
    return polygons.round().int()


def _rays() -> Tensor:
    """Unit vectors [AZIMUTHS, 2]."""
    angle = torch.arange(AZIMUTHS) * (2 * math.pi / AZIMUTHS)
    return torch.stack([angle.cos(), angle.sin()], 1)


def _with_neighbours(clear: Tensor) -> Tensor:
    """[3, P, AZIMUTHS]: each azimuth's value beside those of the two next to it."""
    return torch.stack([clear.roll(way, 1) for way in (-1, 0, 1)])


def _clear_distance(
    position: Tensor, outward: Tensor, plan: Plan, opaque: Tensor, least_cosine: float = -math.inf
) -> Tensor:
    """[P, AZIMUTHS] distance from points of edges [P, 2] to the first building higher than `opaque` [P] [m].

    0 in directions whose cosine with `outward` [P, 2] is less than the least.
    """
    rays = _rays()
    points = position + outward * clear_of_edges(plan.resolution)
    stride = max(1, round(1.0 / plan.resolution))
    coarse = plan.heights_cm[stride // 2 :: stride, stride // 2 :: stride].reshape(-1) * 0.01
    side = math.isqrt(coarse.numel())
    clear = torch.where(outward @ rays.T >= least_cosine, float(REACH), 0.0)
    open_rays = (clear > 0).view(-1).nonzero()[:, 0]
    for distance in range(1, REACH, 8):
        point, azimuth = open_rays // AZIMUTHS, open_rays % AZIMUTHS
        steps = torch.arange(distance, distance + 8, dtype=torch.float32)
        x = points[point, :1] + rays[azimuth, :1] * steps
        y = points[point, 1:] + rays[azimuth, 1:] * steps
        hit = coarse[cell_index(x, y, 1.0, side)] > opaque[point, None]
        first = torch.where(hit, steps, float(REACH)).amin(1)
        clear.view(-1)[open_rays] = first
        open_rays = open_rays[(first == REACH) & ~(_left(x) | _left(y))]
    return clear


def _left(along: Tensor) -> Tensor:
    """Whether coordinates [rays, steps] lie beyond the window at the last step and do not come back to it."""
    first, last = along[:, 0], along[:, -1]
    return ((last > WINDOW_M) & (last >= first)) | ((last < 0) & (last <= first))
