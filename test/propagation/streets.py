"""Small streets to reason about by hand."""

import numpy as np
import torch

from rdflux_ros.propagation.facades import Facades, trace_facades
from rdflux_ros.radio.grid import MARGIN_M, WINDOW_M


def streets(*blocks: tuple[float, float, float, float, float], resolution: float = 0.25) -> Facades:
    """Blocks (x0, x1, y0, y1, height) in window coordinates [m]."""
    return trace_facades(raster(*blocks, resolution=resolution), resolution, touched=False)


def raster(*blocks: tuple[float, float, float, float, float], resolution: float = 0.25) -> np.ndarray:
    side = round((WINDOW_M + 2 * MARGIN_M) / resolution)
    heights = np.zeros((side, side), np.float32)
    for x0, x1, y0, y1, height in blocks:
        rows = slice(round((y0 + MARGIN_M) / resolution), round((y1 + MARGIN_M) / resolution))
        cols = slice(round((x0 + MARGIN_M) / resolution), round((x1 + MARGIN_M) / resolution))
        heights[rows, cols] = height
    return heights


def random_blocks(seed: int, count: int = 25) -> list[tuple[float, float, float, float, float]]:
    generator = np.random.default_rng(seed)
    corner = generator.uniform(-20, 250, (count, 2)).round()
    size = generator.uniform(8, 40, (count, 2)).round()
    height = generator.uniform(6, 30, count).round(1)
    return [
        (x, min(x + w, 279), y, min(y + d, 279), h)
        for (x, y), (w, d), h in zip(corner, size, height.tolist(), strict=True)
    ]


def decibels(power: torch.Tensor) -> torch.Tensor:
    return 10 * torch.log10(power.clamp_min(1e-30))
