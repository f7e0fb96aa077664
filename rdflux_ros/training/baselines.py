"""Training of the baselines: maps by regression."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rdflux_ros.baselines.radiounet import RadioUNet
from rdflux_ros.flux.pipeline import autocast
from rdflux_ros.training.config import TrainingConfig
from rdflux_ros.training.denoiser import Objective
from rdflux_ros.training.losses import mean_nmse
from rdflux_ros.training.samples import Maps


class Regression(Objective):
    """Mean squared error of both U-Nets' maps, and `map_weight` times their NMSE, which is our own stages' loss.

    The published training has the squared error alone, and trains the second U-Net when the first is done; here it
    follows the first, which learns nothing from it.
    """

    def __init__(self, network: RadioUNet, training: TrainingConfig) -> None:
        self.network, self._map_weight = network, training.map_weight

    def loss(self, network: nn.Module, maps: Maps, generator: torch.Generator) -> Tensor:
        return sum((self._loss(answer, maps) for answer in self._both(network, maps)), torch.zeros(()))

    def answers(self, network: nn.Module, maps: Maps, generator: torch.Generator) -> Tensor | None:
        return self._both(network, maps)[1]

    def _loss(self, answer: Tensor, maps: Maps) -> Tensor:
        error = torch.where(maps.free, answer - maps.truth, 0.0).square().mean()
        return error + self._map_weight * mean_nmse(answer, maps.truth, maps.free)

    @staticmethod
    def _both(network: nn.Module, maps: Maps) -> tuple[Tensor, Tensor]:
        with autocast(maps.truth.device):
            first, second = network(maps.streets, maps.dynamics, maps.transmitters, maps.base)
        return first.float(), second.float()
