"""Noise anchored to the world: the same ground gets the same noise in every window, on every device."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import torch
from torch import Tensor

from rdflux_ros.radio.grid import LATTICE_M, WINDOW_M

TILE = 16
"""Latents along a cell's edge, each 4 m."""
CELLS = WINDOW_M // LATTICE_M


def world_noise(i: int, j: int, *, seed: int, stage: int, step: int, channels: int) -> Tensor:
    """Standard normal noise of window (i, j), [channels, 64, 64] float32 on the CPU; row 0 = south.

    Each lattice cell has a tile of its own, drawn by a CPU generator from (seed, cell, stage, step). Windows that
    overlap share the tiles of the ground they share.
    """
    rows = []
    for cell_j in range(j - CELLS // 2, j + CELLS // 2):
        cells = range(i - CELLS // 2, i + CELLS // 2)
        rows.append(torch.cat([_tile(seed, cell_i, cell_j, stage, step, channels) for cell_i in cells], dim=2))
    return torch.cat(rows, dim=1)


@lru_cache(maxsize=256)  # a crossing needs only the tiles that its new window adds
def _tile(seed: int, i: int, j: int, stage: int, step: int, channels: int) -> Tensor:
    return torch.randn(channels, TILE, TILE, generator=seeded(seed, i, j, stage, step))


def seeded(*drawn_for: object) -> torch.Generator:
    """A generator on the CPU whose draws follow from what they are for."""
    digest = hashlib.sha256(" ".join(map(str, drawn_for)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
