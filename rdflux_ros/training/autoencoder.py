"""Training of the papers' autoencoder: reconstruction, and a light pull of its latents to the standard normal."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rdflux_ros.networks.autoencoder import Autoencoder, KlAutoencoder
from rdflux_ros.networks.denoiser import LATENT_SIZE
from rdflux_ros.training.config import TrainingConfig
from rdflux_ros.training.denoiser import Objective
from rdflux_ros.training.samples import Maps


class Reconstruction(Objective):
    """Mean absolute and squared error of maps (or residuals) from a drawn latent, and its KL divergence.

    Parameters
    ----------
    residual
        What a latent is of: what the map adds to the physics layer, or the map.
    """

    def __init__(self, autoencoder: KlAutoencoder, training: TrainingConfig, *, residual: bool) -> None:
        self.network, self._residual, self._weight = autoencoder, residual, training.divergence_weight

    def loss(self, network: nn.Module, maps: Maps, generator: torch.Generator) -> Tensor:
        assert isinstance(network, KlAutoencoder)
        target = maps.target(self._residual)
        shape = (len(maps), network.latent_channels, LATENT_SIZE, LATENT_SIZE)
        noise = torch.randn(shape, generator=generator).to(target.device)
        with torch.autocast(target.device.type, torch.bfloat16, enabled=target.device.type == "cuda"):
            rebuilt, divergence = network.reconstruct(target, noise)
        error = rebuilt.float() - target
        return error.abs().mean() + error.square().mean() + self._weight * divergence.float().mean()

    def answers(self, network: nn.Module, maps: Maps, generator: torch.Generator) -> Tensor | None:
        assert isinstance(network, Autoencoder)
        rebuilt = network.maps(network.raw_latents(maps.target(self._residual)))
        return maps.greys(rebuilt, self._residual)
