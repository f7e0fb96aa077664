"""Walls and edges of a region as exact lines, traced once from its height raster at the raster's own resolution."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdflux_ros.propagation.edges import Corners, Plan, RoofEdges, trace_corners, trace_roof_edges
from rdflux_ros.propagation.outlines import Array, Outline, trace_outlines
from rdflux_ros.propagation.raster import LOWEST_BUILDING, cell_index, height_at, receivers
from rdflux_ros.propagation.sharpening import COARSE_M, FINE_M, sharpened
from rdflux_ros.radio.grid import MARGIN_M, WINDOW_M

SHORTEST_WALL = 1.5
"""Shorter sides of an outline [m] are no walls."""
WALL_CELL = 0.25
"""Resolution of the raster that says which wall is the nearest [m]."""
MOST_WALLS = 32767
"""What that raster can number; the shortest go first."""
HIGHEST_BUILDING = 327.0
"""What int16 centimetres hold [m]."""


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
    roof_edges: RoofEdges

    @property
    def nbytes(self) -> int:
        """Memory of the cached tensors [bytes]."""
        owners = (self, self.corners, self.roof_edges)
        values = [getattr(owner, field.name) for owner in owners for field in fields(owner)]
        return sum(value.nbytes for value in values if isinstance(value, Tensor))

    def to(self, device: torch.device | str) -> Facades:
        """The same on another device."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        moved: dict[str, Any] = {name: value.to(device) for name, value in values if isinstance(value, Tensor)}
        return replace(self, **moved, corners=self.corners.to(device), roof_edges=self.roof_edges.to(device))

    def height_at(self, x: Tensor, y: Tensor) -> Tensor:
        """Building heights [m] at window coordinates [m], nearest sample; 0 beyond the raster."""
        return height_at(self.heights_cm, self.resolution, x, y)

    def wall_at(self, x: Tensor, y: Tensor) -> Tensor:
        """Index of the wall nearest to window coordinates [m]; at least one wall must exist."""
        index = cell_index(x, y, WALL_CELL, self.nearest_wall.shape[0])
        return self.nearest_wall.view(-1).index_select(0, index.view(-1)).view(index.shape).int()


def trace_facades(
    heights_m: Array, resolution: float, device: torch.device | str = "cpu", *, touched: bool = True
) -> Facades:
    """Trace the walls and edges of one region; a raster of 0.5 or 1 m is drawn again at 0.25 m first (`sharpening`).

    Parameters
    ----------
    heights_m
        [N, N] heights [m], row 0 = south, with ``N = (256 + 2 * 24) / resolution``; from `HIGHEST_BUILDING` on alike.
    touched
        What a cell of such a raster says: that a building touches it, or that its centre is built.

    Raises
    ------
    ValueError
        The raster does not cover the window and its margin.
    """
    side = round((WINDOW_M + 2 * MARGIN_M) / resolution)
    if heights_m.shape != (side, side):
        raise ValueError(f"heights of shape {heights_m.shape}, expected {(side, side)} at {resolution} m")
    centimetres = np.rint(np.clip(heights_m, 0.0, HIGHEST_BUILDING) * 100).astype(np.int16)
    centimetres[centimetres < LOWEST_BUILDING * 100] = 0
    centimetres[[0, -1]] = centimetres[:, [0, -1]] = 0
    if resolution >= COARSE_M:
        centimetres, resolution = sharpened(centimetres, resolution, touched=touched), FINE_M
    outlines = trace_outlines(centimetres, resolution)
    walls, lines = _walls(outlines)
    heights = torch.from_numpy(centimetres).to(device)
    free = height_at(heights, resolution, *receivers(device)) == 0
    plan = Plan(heights.cpu(), resolution, free.cpu().numpy())
    return Facades(
        heights_cm=heights,
        resolution=resolution,
        free=free,
        walls=torch.from_numpy(walls).to(device),
        lines=torch.from_numpy(lines).to(device),
        nearest_wall=torch.from_numpy(_nearest_wall(walls)).to(device),
        corners=trace_corners(outlines, plan).to(device),
        roof_edges=trace_roof_edges(walls, lines, plan).to(device),
    )


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
    walls = np.concatenate(ends)
    longest_first = np.argsort(-np.hypot(*(walls[:, 2:] - walls[:, :2]).T), kind="stable")
    kept_walls = np.sort(longest_first[:MOST_WALLS])
    return walls[kept_walls], np.concatenate(lines)[kept_walls]


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
