"""Height profiles around a transmitter: what the vertical planes through it say.

A polar fan of heights ``h_i`` at radius ``r_i`` for each azimuth, and its running horizon: the largest slope
``(h_i - z) / r_i`` of the buildings met so far. A receiver is in line of sight where the horizon before it lies below
the slope down to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rdflux_ros.propagation.facades import Facades
from rdflux_ros.propagation.raster import receivers
from rdflux_ros.radio.grid import MARGIN_M, WINDOW_M
from rdflux_ros.radio.units import RECEIVER_HEIGHT

AZIMUTHS = 2048
"""Directions of the fan."""
RADIAL_STEP = 0.5
"""Distance between samples of a profile [m]."""


@dataclass(frozen=True)
class Profiles:
    """Polar fan round each transmitter of a batch; A azimuths, I radii, the window's 65536 receivers row-major.

    Parameters
    ----------
    transmitters
        [B, 3] x, y, z in window coordinates [m].
    horizon
        [B, A, I] largest slope (h - z) / r of a building up to and with sample i, -inf before the first.
    distance
        [B, 65536] plan distance of each receiver [m].
    before
        [B, 65536] horizon before each receiver.
    visible
        [B, 65536] whether the receiver is in line of sight.
    """

    transmitters: Tensor
    horizon: Tensor
    distance: Tensor
    before: Tensor
    visible: Tensor

    def horizon_towards(self, batch: Tensor, dx: Tensor, dy: Tensor, distance: Tensor) -> Tensor:
        """Lowest horizon of the three azimuths nearest to plan offsets [m] at a plan distance [m]."""
        azimuths, radii = self.horizon.shape[1:]
        azimuth = (torch.atan2(dy, dx) * (azimuths / (2 * math.pi))).round().long()
        radius = (distance / RADIAL_STEP - 0.5).long().clamp(0, radii - 1)
        near = [self.horizon[batch, (azimuth + aside) % azimuths, radius] for aside in (-1, 0, 1)]
        return torch.stack(near).amin(0)


def trace_profiles(facades: Facades, transmitters: Tensor) -> Profiles:
    """Sample the fan of every transmitter [B, 3], and find the horizon and the receivers in line of sight."""
    device = transmitters.device
    tx, ty, tz = transmitters.T[:, :, None]
    x, y = receivers(device)
    dx, dy = x - tx, y - ty
    distance = torch.hypot(dx, dy).clamp_min(1e-3)
    radii = int(_reach(transmitters) / RADIAL_STEP) + 2
    angle = torch.arange(AZIMUTHS, device=device) * (2 * math.pi / AZIMUTHS)
    r = (torch.arange(radii, device=device) + 0.5) * RADIAL_STEP
    fan_x, fan_y = angle.cos()[:, None] * r, angle.sin()[:, None] * r
    heights = facades.height_at(fan_x + tx[..., None], fan_y + ty[..., None])
    # the ground hides nothing: what lies below it is reached by a bounce
    horizon = torch.where(heights > 0, (heights - tz[..., None]) * (1.0 / r), -math.inf).cummax(-1).values
    azimuth = (torch.atan2(dy, dx) * (AZIMUTHS / (2 * math.pi))).round_().to(torch.int64) % AZIMUTHS
    radius = (distance / RADIAL_STEP - 0.5).to(torch.int64).clamp_max(radii - 1)
    before = horizon.view(len(transmitters), -1).gather(1, azimuth * radii + radius)
    before = torch.where(distance < RADIAL_STEP / 2, -math.inf, before)  # nothing stands right below the antenna
    visible = before * distance <= RECEIVER_HEIGHT - tz
    return Profiles(transmitters, horizon, distance, before, visible)


def _reach(transmitters: Tensor) -> float:
    """How far the raster's farthest corner is [m], so that walls around the window are looked at past what is before.

    On a GPU, that of a transmitter in the corner: to ask for it would make the GPU wait.
    """
    whole = WINDOW_M + MARGIN_M
    if transmitters.device.type == "cuda":
        return whole * math.sqrt(2)
    across = torch.maximum(transmitters[:, :2] + MARGIN_M, whole - transmitters[:, :2])
    return float(torch.hypot(across[:, 0], across[:, 1]).amax())
