"""Rasters of heights round a window, looked up by window coordinates."""

from __future__ import annotations

import torch
from torch import Tensor

from rdflux_ros.radio.grid import MARGIN_M, WINDOW_M

LOWEST_BUILDING = 2.0
"""What stands lower [m] neither reflects nor shadows."""


def receivers(device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """(x, y) of the window's cell centres [m], each [65536], row-major."""
    centres = torch.arange(WINDOW_M, device=device) + 0.5
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return x.reshape(-1), y.reshape(-1)


def cell_index(x: Tensor, y: Tensor, resolution: float, side: int) -> Tensor:
    """Row-major int32 index of the cell at window coordinates [m] in a raster of `side` cells with the margin."""
    scale = 1.0 / resolution
    col = ((x + MARGIN_M) * scale).clamp_(0, side - 1).to(torch.int32)
    row = ((y + MARGIN_M) * scale).clamp_(0, side - 1).to(torch.int32)
    return row.mul_(side).add_(col)


def height_at(heights_cm: Tensor, resolution: float, x: Tensor, y: Tensor) -> Tensor:
    """Heights [m] at window coordinates [m], nearest sample of [N, N] int16 [cm]; the outermost beyond the raster."""
    index = cell_index(x, y, resolution, heights_cm.shape[0])
    return heights_cm.view(-1).index_select(0, index.view(-1)).view(index.shape) * 0.01


def clear_of_edges(resolution: float) -> float:
    """How far from an edge [m] cells are surely in or out, half a cell's diagonal and what traced lines are off."""
    return max(0.6, 0.75 * resolution)
