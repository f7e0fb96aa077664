"""RadioDiff-Flux: the first stage once per region, the last steps for every pose; the full chain and vanilla reuse too.

Papers: (R) RadioDiff, (F) RadioDiff-Flux.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from rdflux_ros.diffusion import ddm
from rdflux_ros.diffusion.noise import world_noise
from rdflux_ros.diffusion.schedule import Schedule, reused_steps, uniform_schedule
from rdflux_ros.flux.conditions import base_grey, dynamics_image
from rdflux_ros.flux.schedules import first_schedule, relative, second_schedule
from rdflux_ros.flux.similarity import environment_distance
from rdflux_ros.model.config import MethodConfig
from rdflux_ros.model.radio_model import RadioModel
from rdflux_ros.networks.condition import Condition
from rdflux_ros.networks.denoiser import LATENT_SIZE, Denoiser, Stage
from rdflux_ros.propagation.physics_layer import PathGains

Window = tuple[int, int]
"""Lattice numbers (i, j) of a region: where its noise is anchored."""
Windows = Window | Sequence[Window]
"""One for a whole batch, or one for each of it."""
FIRST, SECOND = 1, 2
"""Stages, as their noise is numbered; step 0 of the first is the chain's start."""


@dataclass(frozen=True)
class StreetsPart:
    """What the streets alone decide of the method: computed once per region, float16; a batch of one, or of many."""

    midpoint: Tensor
    """z_m [B, latents, 64, 64], where the first stage ends."""
    condition: Condition
    """What the streets tell the second stage."""
    made_for: Condition | None = None
    """What the streets told that the midpoint was made for, where it is reused for similar ones (F §IV)."""

    @property
    def approximate(self) -> bool:
        """The midpoint is one of similar streets."""
        return self.made_for is not None

    @property
    def nbytes(self) -> int:
        """Memory of all tensors."""
        return self.midpoint.nbytes + self.condition.nbytes

    def to(self, target: torch.dtype | torch.device | str) -> StreetsPart:
        """The part in another dtype or on another device."""
        made_for = None if self.made_for is None else self.made_for.to(target)
        return StreetsPart(self.midpoint.to(target), self.condition.to(target), made_for)


def joined(parts: Sequence[StreetsPart]) -> StreetsPart:
    """Parts of several regions as one batch, for a pose in each."""
    if len(parts) == 1:
        return parts[0]
    conditions = [part.condition for part in parts]
    return StreetsPart(torch.cat([part.midpoint for part in parts]), Condition.joined(conditions))


@dataclass(frozen=True)
class PosePart:
    """What B transmitters in one region add (`flux.conditions`): dynamic images, physics layer's greys, free cells."""

    dynamics: Tensor
    """[B, channels, 256, 256]."""
    base: Tensor
    """[B, 1, 256, 256]."""
    free: Tensor
    """[B or 1, 1, 256, 256] bool: cells that have a value."""


class FluxPipeline:
    """The networks of one model, run as the method says.

    Parameters
    ----------
    model
        With all stages that are asked for.
    reuse_ratio, static_steps
        In place of the model's own: R, and the steps of the first stage (0: the paper's R T).
    temperature
        In place of the model's own: scale of all noise.

    Raises
    ------
    SettingError
        R T is not whole, or a value is out of bounds.
    """

    def __init__(
        self,
        model: RadioModel,
        *,
        reuse_ratio: float | None = None,
        static_steps: int | None = None,
        temperature: float | None = None,
    ) -> None:
        asked = {"reuse_ratio": reuse_ratio, "static_steps": static_steps, "temperature": temperature}
        self.method = changed(model.config.method, **asked)
        self.model = model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._latents = model.autoencoder.latent_channels

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.model.autoencoder.latent_mean.device

    def streets(
        self,
        image: Tensor,
        window: Window,
        *,
        aligned: bool = True,
        similar: StreetsPart | None = None,
        similarity_threshold: float = 0.0,
    ) -> Generator[None, None, StreetsPart]:
        """The first stage (F §IV) and what the streets tell the second, from a static image [1, 2, 256, 256].

        A generator that stops after each step, so that poses can be answered between them; its return value is the
        part. `aligned` says whose second stage will be told. Where the streets are no farther than the threshold from
        those that the midpoint of `similar` was made for (D_env, F eq. 16), it is kept.
        """
        with torch.inference_mode(), autocast(self.device):
            image = image.contiguous(memory_format=torch.channels_last)
            condition = self._second(aligned).streets(image).to(torch.float16)
        if similar is not None:
            origin = similar.made_for or similar.condition
            if environment_distance(condition, origin) <= similarity_threshold:
                return StreetsPart(similar.midpoint, condition, origin)
        states = self.first_stage(image, window)
        while True:
            with torch.inference_mode():
                found = next(states, None)
            if found is None:
                break
            z = found
            yield
        return StreetsPart(z.to(torch.float16), condition)

    def first_stage(self, image: Tensor, window: Window) -> Iterator[Tensor]:
        """The first stage's latents [1, latents, 64, 64]: the noise it starts from, then those after each step."""
        stage = self.model.stage("static")
        with autocast(self.device):
            condition = stage.condition(stage.streets(image.contiguous(memory_format=torch.channels_last)))
        yield from self._states(stage, condition, 1, first_schedule(self.method), window)

    def start(self, window: Window) -> Tensor:
        """The noise [1, latents, 64, 64] that the first stage starts from, at the method's temperature."""
        return self._noise(window, FIRST, 0)

    def pose_part(self, gains: PathGains, transmitters: Tensor, free: Tensor, cars: Tensor) -> PosePart:
        """What B transmitters add, from what the physics layer says of them.

        Parameters
        ----------
        transmitters
            [B, 3] x, y [m] from the window's south-west corner, z [m] above ground.
        free, cars
            [B or 1, 256, 256] bool: cells that have a value, cells under cars.
        """
        dynamics = dynamics_image(gains, transmitters, free, cars, self.model.config.dynamics.channels)
        laid_out = dynamics.contiguous(memory_format=torch.channels_last)
        return PosePart(laid_out, base_grey(gains, free), free[:, None])

    def answer(self, streets: StreetsPart, pose: PosePart, window: Windows, *, aligned: bool = True) -> Tensor:
        """Greys [B, 1, 256, 256] by the second stage from the region's midpoint: aligned, or frozen as in the paper.

        `streets` is the part of one region for all poses, or `joined` parts, one for each; `window` likewise.
        """
        condition = self.condition(streets, pose, aligned=aligned)
        latents = self.last_steps(condition, streets.midpoint.float(), window, aligned=aligned)
        return self.decoded(latents, pose)

    @torch.inference_mode()
    def condition(self, streets: StreetsPart, pose: PosePart, *, aligned: bool = True) -> Condition:
        """What the second stage is told: the region's kept part, and the encoded dynamic image."""
        with autocast(self.device):
            return self._second(aligned).condition(streets.condition.to(torch.float32), pose.dynamics)

    @torch.inference_mode()
    def last_steps(self, condition: Condition, midpoints: Tensor, window: Windows, *, aligned: bool = True) -> Tensor:
        """The second stage alone: z_m [1 or B, latents, 64, 64] to the estimates of z_0 [B, latents, 64, 64]."""
        times = second_schedule(self.method)
        if aligned:  # relative times make relative noise
            scale = times[0] ** 0.5
            times, stage, first = relative(times), SECOND, 0
        else:  # the chain's own noise
            scale, stage, first = 1.0, FIRST, reused_steps(self.method.steps, self.method.reuse_ratio) + 1
        predict = predictor(self._second(aligned), condition, aligned=aligned)
        midpoints = midpoints.expand(len(condition.stem), -1, -1, -1)
        with autocast(self.device):  # around all steps: weights are cast once
            return ddm.sample(predict, midpoints, times, lambda step: scale * self._noise(window, stage, first + step))

    @torch.inference_mode()
    def decoded(self, latents: Tensor, pose: PosePart) -> Tensor:
        """Greys [B, 1, 256, 256] on [0, 1], 0 where a cell has no value, NaN where the network's is not finite."""
        answer = self.model.autoencoder.decode(latents)
        if self.method.target == "residual":
            answer = answer + pose.base
        return torch.where(answer.isfinite(), answer.clamp(0.0, 1.0), torch.nan) * pose.free

    @torch.inference_mode()
    def full(self, image: Tensor, pose: PosePart, window: Window, *, steps: int | None = None) -> Tensor:
        """Greys [B, 1, 256, 256] by the full conditional chain (R), in T steps unless told otherwise."""
        condition = self.conditional(image, pose)
        with autocast(self.device):  # as in `last_steps`
            *_, latents = self.full_chain(condition, window, steps=steps)
        return self.decoded(latents, pose)

    @torch.inference_mode()
    def own_midpoint(self, image: Tensor, pose: PosePart, window: Window) -> Tensor:
        """z_m [B, latents, 64, 64] that the conditional chain makes for these poses: what vanilla reuse keeps (F)."""
        states = self.full_chain(self.conditional(image, pose), window)
        return next(islice(states, reused_steps(self.method.steps, self.method.reuse_ratio), None))

    @torch.inference_mode()
    def vanilla(self, midpoint: Tensor, image: Tensor, pose: PosePart, window: Window) -> Tensor:
        """Greys [B, 1, 256, 256] by vanilla reuse (F): the chain's last steps from another condition's midpoint."""
        condition = self.conditional(image, pose)
        return self.decoded(self.last_steps(condition, midpoint, window, aligned=False), pose)

    @torch.inference_mode()
    def conditional(self, image: Tensor, pose: PosePart) -> Condition:
        """What the full chain is told, of a static image [1, 2, 256, 256] and B poses."""
        stage = self.model.stage("conditional")
        with autocast(self.device):
            return stage.condition(stage.streets(image.contiguous(memory_format=torch.channels_last)), pose.dynamics)

    def full_chain(self, condition: Condition, window: Window, *, steps: int | None = None) -> Iterator[Tensor]:
        """The full chain's latents [B, latents, 64, 64]: the noise it starts from, then those after each step."""
        schedule = uniform_schedule(steps or self.method.steps)
        return self._states(self.model.stage("conditional"), condition, len(condition.stem), schedule, window)

    def _second(self, aligned: bool) -> Stage:
        return self.model.stage("aligned" if aligned else "conditional")

    def _states(
        self, stage: Stage, condition: Condition, batch: int, schedule: Schedule, window: Window
    ) -> Iterator[Tensor]:
        z = self.start(window).expand(batch, -1, -1, -1)
        yield z
        predict = predictor(stage, condition)
        yield from ddm.trajectory(predict, z, schedule, lambda step: self._noise(window, FIRST, step + 1))

    def _noise(self, window: Windows, stage: int, step: int) -> Tensor:
        """World-anchored noise at the method's temperature, [1 or B, latents, 64, 64] for one window or for each."""
        if self.method.temperature == 0.0:
            return torch.zeros(1, self._latents, LATENT_SIZE, LATENT_SIZE, device=self.device)
        each: Sequence[Any] = [window] if isinstance(window[0], int) else window
        noise = [
            world_noise(i, j, seed=self.method.seed, stage=stage, step=step, channels=self._latents) for i, j in each
        ]
        return self.method.temperature * torch.stack(noise).to(self.device)


def changed(method: MethodConfig, **asked: float | None) -> MethodConfig:
    """A model's method with what was asked for in place of its own; `SettingError` where that fits no steps."""
    return dataclasses.replace(method, **{name: value for name, value in asked.items() if value is not None})  # type: ignore[arg-type]


def predictor(
    stage: Stage, condition: Condition, *, aligned: bool = False
) -> Callable[[Tensor, ddm.Time], tuple[Tensor, Tensor]]:
    """(z_t, t or times [B]) to the estimates of (C, ε): bf16 inside on a GPU, float32 outside.

    The aligned stage, whose times are relative, is shown the state as it is: the midpoint is no noise.
    """
    denoiser = stage.denoiser
    assert isinstance(denoiser, Denoiser)

    def predict(z: Tensor, t: ddm.Time) -> tuple[Tensor, Tensor]:
        times = t if isinstance(t, Tensor) else torch.full((1,), t, device=z.device)
        shown = z if aligned else z * ddm.signal_share(times)
        with autocast(z.device):
            first, second = denoiser(shown.contiguous(memory_format=torch.channels_last), times, condition)
        return ddm.predictions(z, times, first.float(), second.float())

    return predict


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """bf16 on a GPU; elsewhere whatever is on already, which is nothing but in training (`TrainingConfig.bfloat16`)."""
    return torch.autocast(device.type, torch.bfloat16) if device.type == "cuda" else nullcontext()
