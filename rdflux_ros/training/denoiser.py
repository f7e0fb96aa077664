"""What each stage learns: the chain's loss, or the last steps as they will really be taken."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from rdflux_ros.diffusion import ddm
from rdflux_ros.diffusion.noise import seeded
from rdflux_ros.diffusion.schedule import uniform_schedule
from rdflux_ros.flux.pipeline import autocast, predictor
from rdflux_ros.flux.schedules import first_schedule, relative, second_schedule
from rdflux_ros.model.config import MethodConfig
from rdflux_ros.networks.autoencoder import Autoencoder
from rdflux_ros.networks.denoiser import LATENT_SIZE, Stage
from rdflux_ros.training.config import TrainingConfig
from rdflux_ros.training.losses import (
    Predictor,
    Weights,
    denoising_loss,
    drawn_times,
    mean_nmse,
    unrolled,
    visited,
    visited_loss,
)
from rdflux_ros.training.samples import Maps, Place

Midpoints = Callable[[Maps], Tensor]
"""Midpoints [B, latents, 64, 64] of the streets of B maps."""
KEPT_MIDPOINTS = 4096
"""In memory at once."""


class Objective(ABC):
    """A network's loss on a batch and, where it answers maps, its answers.

    `network` is passed in, since the moving average of the weights is validated, not the weights in training.
    """

    network: nn.Module

    @abstractmethod
    def loss(self, network: nn.Module, maps: Maps, generator: torch.Generator) -> Tensor:
        """The loss; all that is drawn comes from `generator`, on the CPU."""

    def answers(self, network: nn.Module, maps: Maps, generator: torch.Generator) -> Tensor | None:
        """Greys [B, 1, 256, 256], or None where the network alone answers nothing."""
        return None


class Latents:
    """Latents of maps, and maps of latents, as the method has them: of the map or of the residual.

    Parameters
    ----------
    autoencoder
        Trained and calibrated; left as it is.
    """

    def __init__(self, autoencoder: Autoencoder, method: MethodConfig) -> None:
        self._autoencoder = autoencoder.eval().requires_grad_(False)
        self._residual = method.target == "residual"
        self._temperature = method.temperature
        self.channels = autoencoder.latent_channels

    @torch.no_grad()
    def encoded(self, maps: Maps) -> Tensor:
        """z_0 [B, latents, 64, 64]."""
        return self._autoencoder.encode(maps.target(self._residual))

    def decoded(self, latents: Tensor, maps: Maps) -> Tensor:
        """Greys [B, 1, 256, 256], not clipped; anything where a cell has no value."""
        return maps.greys(self._autoencoder.decode(latents), self._residual)

    def nmse(self, latents: Tensor, maps: Maps) -> Tensor:
        """Mean NMSE of the latents' maps, over the maps that have energy."""
        return mean_nmse(self.decoded(latents, maps), maps.truth, maps.free)

    @torch.no_grad()
    def calibrate(self, batches: Sequence[Maps]) -> None:
        """Give the latents unit variance over these maps."""
        raw = torch.cat([self._autoencoder.raw_latents(maps.target(self._residual)) for maps in batches])
        self._autoencoder.calibrate(raw.mean(dim=(0, 2, 3)), raw.std(dim=(0, 2, 3)))

    def noise(self, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Standard normal latents [count, latents, 64, 64]."""
        return torch.randn(count, self.channels, LATENT_SIZE, LATENT_SIZE, generator=generator).to(device)

    def sampling_noise(self, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Noise at the method's temperature."""
        if self._temperature == 0.0:
            return torch.zeros(count, self.channels, LATENT_SIZE, LATENT_SIZE, device=device)
        return self._temperature * self.noise(count, generator, device)


class Chain(Objective):
    """The denoising chain: stage 1 where the stage knows the streets only, otherwise the full conditional chain.

    Taught on the noised truth (R), and in a share of the steps on the states that the chain itself comes to
    (`losses.visited`), there with the decoded map's NMSE where the stage answers maps.
    """

    def __init__(self, stage: Stage, latents: Latents, method: MethodConfig, training: TrainingConfig) -> None:
        self.network, self._latents = stage, latents
        self._weights = Weights(training.drift_weight, training.noise_weight, training.jump_weight)
        self._share, self._steps = training.used_share, training.validation_steps
        first = stage.dynamics is None
        self._used = first_schedule(method) if first else uniform_schedule(self._steps)
        self._schedule = first_schedule(method) if first else uniform_schedule(method.steps)
        self._visited_share, self._visited_steps = training.visited_share, training.visited_steps
        self._map_weight = 0.0 if first else training.map_weight

    def loss(self, network: nn.Module, maps: Maps, generator: torch.Generator) -> Tensor:
        device, count = maps.truth.device, len(maps)
        uniform = torch.rand(2, count, generator=generator)
        noise = self._latents.noise(count, generator, device)
        predict, z_0 = predicting(network, maps), self._latents.encoded(maps)
        if float(torch.rand((), generator=generator)) < self._visited_share:
            t = drawn_times(uniform, self._schedule, 1.0).to(device)
            return self._visited_loss(predict, z_0, t, maps, generator)
        t = drawn_times(uniform, self._used, self._share).to(device)
        return denoising_loss(predict, z_0, noise, t, self._weights)

    def _visited_loss(
        self, predict: Predictor, z_0: Tensor, t: Tensor, maps: Maps, generator: torch.Generator
    ) -> Tensor:
        steps = int(torch.randint(1, self._visited_steps + 1, (), generator=generator))
        start, *noise = (self._latents.sampling_noise(len(maps), generator, z_0.device) for _ in range(steps + 1))
        loss, estimate = visited_loss(predict, visited(predict, start, t, noise), z_0, t, self._weights)
        return loss + self._map_weight * self._latents.nmse(estimate, maps)

    def answers(self, network: nn.Module, maps: Maps, generator: torch.Generator) -> Tensor | None:
        assert isinstance(network, Stage)
        if network.dynamics is None:
            return None
        device, count = maps.truth.device, len(maps)
        noise = [self._latents.sampling_noise(count, generator, device) for _ in range(self._steps)]
        schedule = uniform_schedule(self._steps)
        start = noise.pop()
        z = unrolled(predicting(network, maps), start, schedule, noise)[-1]
        return self._latents.decoded(z, maps)


class Aligned(Objective):
    """The second stage on the midpoints that it will really be given: its few steps unrolled, -C supervised at each.

    The loss is λ1 |C + z_0|² and the decoded map's NMSE, both as means over the steps.
    """

    def __init__(
        self, stage: Stage, midpoints: Midpoints, latents: Latents, method: MethodConfig, training: TrainingConfig
    ) -> None:
        self.network, self._midpoints, self._latents = stage, midpoints, latents
        schedule = second_schedule(method)
        self._schedule, self._noise_scale = relative(schedule), schedule[0] ** 0.5
        self._drift_weight, self._map_weight = training.drift_weight, training.map_weight

    def loss(self, network: nn.Module, maps: Maps, generator: torch.Generator) -> Tensor:
        z_0 = self._latents.encoded(maps)
        total = torch.zeros((), device=z_0.device)
        estimates = self._estimates(network, maps, generator)
        for estimate in estimates:
            total = total + self._drift_weight * (estimate - z_0).square().mean()
            total = total + self._map_weight * self._latents.nmse(estimate, maps)
        return total / len(estimates)

    def answers(self, network: nn.Module, maps: Maps, generator: torch.Generator) -> Tensor | None:
        return self._latents.decoded(self._estimates(network, maps, generator)[-1], maps)

    def _estimates(self, network: nn.Module, maps: Maps, generator: torch.Generator) -> list[Tensor]:
        device, scale = maps.truth.device, self._noise_scale
        noise = [scale * self._latents.sampling_noise(len(maps), generator, device) for _ in self._schedule[2:]]
        z = self._midpoints(maps)
        return unrolled(predicting(network, maps, aligned=True), z, self._schedule, noise)


class StreetMidpoints:
    """Midpoints of a trained stage 1 by (scene, symmetry); noise follows from these and the seed: each is made once."""

    def __init__(self, stage: Stage, latents: Latents, method: MethodConfig, seed: int) -> None:
        self._stage = stage.eval().requires_grad_(False)
        self._latents, self._schedule, self._seed = latents, first_schedule(method), seed
        self._kept: OrderedDict[Place, Tensor] = OrderedDict()

    def __call__(self, maps: Maps) -> Tensor:
        """Midpoints [B, latents, 64, 64] of the maps' streets, as the float16 that is kept of them."""
        first = {place: index for index, place in reversed(list(enumerate(maps.places)))}
        missing = [place for place in first if place not in self._kept]
        found = {place: self._kept[place] for place in first if place in self._kept}
        if missing:
            made = self._made(missing, maps.streets[[first[place] for place in missing]])
            found.update(zip(missing, made.half(), strict=True))
        for place, midpoint in found.items():
            self._kept[place] = midpoint
            self._kept.move_to_end(place)
        while len(self._kept) > KEPT_MIDPOINTS:
            self._kept.popitem(last=False)
        return torch.stack([found[place].float() for place in maps.places])

    @torch.no_grad()
    def _made(self, places: Sequence[Place], streets: Tensor) -> Tensor:
        noise = self._noise_of(places, streets.device)
        with autocast(streets.device):
            condition = self._stage.streets(streets)
        return ddm.sample(predictor(self._stage, condition), noise[0], self._schedule, lambda step: noise[step + 1])

    def _noise_of(self, places: Sequence[Place], device: torch.device) -> list[Tensor]:
        """The start's noise and each step's."""
        return [torch.cat(step) for step in zip(*(self._noise(place, device) for place in places), strict=True)]

    def _noise(self, place: Place, device: torch.device) -> list[Tensor]:
        """The same of one place."""
        generator = seeded(self._seed, *place)
        return [self._latents.sampling_noise(1, generator, device) for _ in self._schedule]


class StartingNoise(StreetMidpoints):
    """What stage 1 starts from in its midpoint's place: the control of what the midpoint is worth."""

    def _made(self, places: Sequence[Place], streets: Tensor) -> Tensor:
        return self._noise_of(places, streets.device)[0]


def predicting(network: nn.Module, maps: Maps, *, aligned: bool = False) -> Predictor:
    """(z_t, t [B] or [1]) to a stage's estimates of (C, ε) where it is told of these maps."""
    assert isinstance(network, Stage)
    with autocast(maps.truth.device):
        dynamics = None if network.dynamics is None else maps.dynamics
        condition = network.condition(network.streets(maps.streets), dynamics)
        return predictor(network, condition, aligned=aligned)
