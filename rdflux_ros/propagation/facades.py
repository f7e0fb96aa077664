"""Walls of a region as exact lines, traced once from its height raster at the raster's own resolution (design: physics layer)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

WINDOW_M = 256
"""Edge of a region's window [m] = [cells]."""
MARGIN_M = 24.0
"""What the physics layer sees beyond the window on each side [m]."""


@dataclass(frozen=True)
class Facades:
    """All that the streets alone decide about rays; cached per region.

    Parameters
    ----------
    heights
        [N, N] float32 building heights above ground [m], 0 = free, row 0 = south; the window and
        `MARGIN_M` on each side at `resolution`.
    resolution
        Edge of a raster cell [m], 0.25 to 1.
    """

    heights: Tensor
    resolution: float


def trace_facades(heights_m: NDArray[np.float32], resolution: float, device: torch.device | str = "cpu") -> Facades:
    """Trace the walls of one region.

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
    return Facades(torch.as_tensor(np.ascontiguousarray(heights_m, np.float32), device=device), resolution)
