"""Latents of a radio map: a Kullback-Leibler autoencoder and the lossless space-to-depth behind one interface."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

FACTOR = 4
"""Edge of a latent in cells."""


class MissingExtraError(ImportError):
    """A library is missing that only some configurations need; the message names the extra that brings it."""


class Autoencoder(nn.Module, ABC):
    """Maps [B, 1, 256, 256] to latents [B, `latent_channels`, 64, 64] of unit variance, and back.

    Mean and standard deviation per channel are buffers: they live in the checkpoint.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, latent_channels: int) -> None:
        super().__init__()
        self.latent_channels = latent_channels
        self.register_buffer("latent_mean", torch.zeros(latent_channels, 1, 1))
        self.register_buffer("latent_std", torch.ones(latent_channels, 1, 1))

    def encode(self, maps: Tensor) -> Tensor:
        """Latents of unit variance."""
        return (self.raw_latents(maps) - self.latent_mean) / self.latent_std

    def decode(self, latents: Tensor) -> Tensor:
        """The maps of latents of unit variance."""
        return self.maps(latents * self.latent_std + self.latent_mean)

    def calibrate(self, mean: Tensor, std: Tensor) -> None:
        """Set mean and standard deviation [`latent_channels`] of the raw latents of the training maps.

        Raises
        ------
        ValueError
            A standard deviation is not positive, or a value is not finite.
        """
        if not (torch.isfinite(mean).all() and torch.isfinite(std).all() and (std > 0).all()):
            raise ValueError("latent statistics must be finite, deviations positive")
        self.latent_mean.copy_(mean.view(-1, 1, 1))
        self.latent_std.copy_(std.view(-1, 1, 1))

    @abstractmethod
    def raw_latents(self, maps: Tensor) -> Tensor:
        """Latents of any mean and variance."""

    @abstractmethod
    def maps(self, raw_latents: Tensor) -> Tensor:
        """The maps of raw latents."""


class SpaceToDepth(Autoencoder):
    """Each 4 x 4 block of cells becomes a latent of 16 channels: no loss, no weights, no time."""

    def __init__(self) -> None:
        super().__init__(FACTOR**2)

    def raw_latents(self, maps: Tensor) -> Tensor:
        return pixel_unshuffle(maps, FACTOR)

    def maps(self, raw_latents: Tensor) -> Tensor:
        return pixel_shuffle(raw_latents, FACTOR)


class KlAutoencoder(Autoencoder):
    """The papers' autoencoder (diffusers' `AutoencoderKL`): one channel, f = 4, (R: 128 wide, 1-2-4, z = 3).

    Parameters
    ----------
    width, multipliers
        Channels of the three levels: width times each multiplier.
    blocks
        Residual blocks per level.

    Raises
    ------
    MissingExtraError
        diffusers is not installed.
    """

    def __init__(self, width: int, multipliers: tuple[int, ...], blocks: int, latent_channels: int) -> None:
        super().__init__(latent_channels)
        if 2 ** (len(multipliers) - 1) != FACTOR:
            raise ValueError(f"{len(multipliers)} levels: an autoencoder that shrinks by {FACTOR} has three")
        self.network = _diffusers_autoencoder(
            in_channels=1,
            out_channels=1,
            down_block_types=("DownEncoderBlock2D",) * len(multipliers),
            up_block_types=("UpDecoderBlock2D",) * len(multipliers),
            block_out_channels=tuple(width * multiplier for multiplier in multipliers),
            layers_per_block=blocks,
            latent_channels=latent_channels,
            norm_num_groups=math.gcd(32, width),
        )

    def raw_latents(self, maps: Tensor) -> Tensor:
        return self.network.encode(maps).latent_dist.mode()

    def maps(self, raw_latents: Tensor) -> Tensor:
        return self.network.decode(raw_latents).sample

    def reconstruct(self, maps: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """What training asks for: (maps from a drawn latent, KL divergence [B] from the standard normal).

        `noise` is standard normal, shaped as the latents.
        """
        posterior = self.network.encode(maps).latent_dist
        return self.maps(posterior.mean + posterior.std * noise), posterior.kl()


def _diffusers_autoencoder(**arguments: Any) -> Any:
    try:
        from diffusers import AutoencoderKL
    except ImportError as error:
        raise MissingExtraError("the KL autoencoder needs diffusers: pip install 'rdflux_ros[papers]'") from error
    return AutoencoderKL(**arguments)
