"""Condition images, assembled in this one place for training, evaluation and node alike.

The static image tells what the streets alone decide, the dynamic one what a transmitter and the cars add. Powers are
on the grey scale (`radio.units`) and 0 where a cell has no value. Arrays are [row, col] with row 0 = south.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rdflux_ros.model.config import ModelConfig
from rdflux_ros.propagation.facades import Facades
from rdflux_ros.propagation.physics_layer import PathGains
from rdflux_ros.propagation.raster import receivers
from rdflux_ros.radio.grid import WINDOW_M
from rdflux_ros.radio.units import FLOOR_GAIN_DB, FREE_SPACE, GREY_SPAN_DB, RECEIVER_HEIGHT
from rdflux_ros.settings import SettingError

STREETS = ("height", "footprint")
"""Channels of the static image: mean building height [100 m], cells without value."""
GEOMETRY = ("east", "north", "up", "free_space", "transmitter_height", "cars")
"""What is known without the physics layer: unit vector from receiver to transmitter, grey of free space over the
distance, transmitter height above ground [100 m], cells under cars."""
PHYSICS = ("sum", "line_of_sight", "diffraction", "reflections", "ground_bounces", "visible")
"""What the physics layer says: greys of its mechanisms and of their sum, line of sight as a mask."""
DYNAMICS = PHYSICS + GEOMETRY
"""Channels of the dynamic image with physics channels; without them it is `GEOMETRY` alone."""
METRES = 100.0
"""Heights of 100 m are 1."""
SAMPLES = 4
"""Along a cell's edge, to find its mean height: exact for maps of 0.25, 0.5 and 1 m."""


def check_channels(config: ModelConfig) -> None:
    """Raise `SettingError` where a model's images have another number of channels than are assembled here."""
    if config.streets.channels != len(STREETS):
        raise SettingError(
            f"streets.channels = {config.streets.channels}: must be {len(STREETS)}, {', '.join(STREETS)}"
        )
    if config.dynamics.channels not in (len(DYNAMICS), len(GEOMETRY)):
        raise SettingError(
            f"dynamics.channels = {config.dynamics.channels}: must be {len(DYNAMICS)}, or {len(GEOMETRY)} without "
            "physics channels"
        )


def mean_heights(facades: Facades) -> Tensor:
    """Mean building height [m] of each cell of a region's window, [256, 256] float32."""
    x, y = receivers(facades.heights_cm.device)
    offsets = (torch.arange(SAMPLES, device=x.device) + 0.5) / SAMPLES - 0.5
    total = torch.zeros_like(x)
    for east in offsets:
        for north in offsets:
            total += facades.height_at(x + east, y + north)
    return (total / SAMPLES**2).view(WINDOW_M, WINDOW_M)


def streets_image(heights_m: Tensor, footprint: Tensor) -> Tensor:
    """The static image [B, 2, 256, 256] from `mean_heights` and the cells without value, each [B, 256, 256]."""
    return torch.stack([heights_m / METRES, footprint.float()], dim=1)


def grey(gain: Tensor) -> Tensor:
    """Linear path gain on the grey scale, clipped to [0, 1]."""
    gain_db = 10.0 * torch.log10(gain.clamp_min(1e-30))
    return ((gain_db - FLOOR_GAIN_DB) / GREY_SPAN_DB).clamp(0.0, 1.0)


def base_grey(gains: PathGains, free: Tensor) -> Tensor:
    """The physics layer's map [B, 1, 256, 256], which a residual is added to; `free` [B, 256, 256] has a value."""
    return (grey(gains.total) * free)[:, None]


def dynamics_image(gains: PathGains, transmitters: Tensor, free: Tensor, cars: Tensor, channels: int) -> Tensor:
    """The dynamic image [B, `channels`, 256, 256].

    Parameters
    ----------
    transmitters
        [B, 3] x, y [m] from the window's south-west corner, z [m] above ground.
    free, cars
        [B or 1, 256, 256] bool: cells that have a value (no building, no car), cells under cars.
    channels
        12 for `DYNAMICS`, 6 for `GEOMETRY`.
    """
    east, north, up = (part.expand(len(transmitters), WINDOW_M, WINDOW_M) for part in _offsets(transmitters))
    distance = (east**2 + north**2 + up**2).sqrt().clamp_min(0.1)  # a receiver may be where the transmitter is
    height = (transmitters[:, 2] / METRES).view(-1, 1, 1)
    planes = [
        east / distance,
        north / distance,
        up / distance,
        grey(FREE_SPACE / distance**2) * free,
        height.expand_as(distance),
        cars.expand_as(distance).float(),
    ]
    if channels == len(DYNAMICS):
        greys = (grey(getattr(gains, name)) for name in PHYSICS[1:-1])
        planes = [base_grey(gains, free)[:, 0], *(plane * free for plane in greys), (gains.visible & free), *planes]
    return torch.stack([plane.float() for plane in planes], dim=1)


def _offsets(transmitters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """East, north and up [m] from each receiver to each transmitter, broadcastable to [B, 256, 256]."""
    x, y, z = transmitters.float().view(-1, 3, 1, 1).unbind(1)
    centres = torch.arange(WINDOW_M, device=transmitters.device) + 0.5
    return x - centres.view(1, 1, -1), y - centres.view(1, -1, 1), z - RECEIVER_HEIGHT
