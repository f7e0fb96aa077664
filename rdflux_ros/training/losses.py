"""Losses of the stages and the times they are drawn at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rdflux_ros.diffusion import ddm
from rdflux_ros.diffusion.schedule import Schedule

EARLIEST_TIME = 1e-4
"""Uniform times are drawn from here to 1 (R's released code)."""
Predictor = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(z_t, t [B]) to the estimates of (C, ε)."""


@dataclass(frozen=True)
class Weights:
    """λ1, λ2, λ3 of C, ε and the one-jump estimate (K eq. 45; R uses the first two)."""

    drift: float = 1.0
    noise: float = 1.0
    jump: float = 1.0


def denoising_loss(predict: Predictor, z_0: Tensor, noise: Tensor, t: Tensor, weights: Weights) -> Tensor:
    """λ1 |C + z_0|² + λ2 |ε' - ε|² + λ3 |z_0' - z_0|², means over the latents [B, C, H, W], times t [B]."""
    z_t = ddm.forward(z_0, noise, t)
    drift, estimate = predict(z_t, t)
    jump = ddm.one_jump(z_t, drift, estimate, t)
    return (
        weights.drift * (drift + z_0).square().mean()
        + weights.noise * (estimate - noise).square().mean()
        + weights.jump * (jump - z_0).square().mean()
    )


@torch.no_grad()
def visited(predict: Predictor, z: Tensor, t: Tensor, noise: Sequence[Tensor]) -> Tensor:
    """The states at times t [B] that the sampler itself reaches from z at t = 1, in as many equal steps as `noise`.

    At temperatures below 1 they hold less noise than `ddm.forward` gives (`ddm.reverse_step`). A network that knows
    noised truth only takes its own estimate for the truth there, and loses a little with each step; telling it the time
    at which the truth has as little noise does not help, since an estimate's error is no noise.
    """
    steps = len(noise)
    for step, fresh in enumerate(noise):
        now, then = (1.0 - (1.0 - t) * k / steps for k in (step, step + 1))
        drift, estimate = predict(z, now)
        z = ddm.reverse_step(z, drift, estimate, now, then, fresh)
    return z


def visited_loss(predict: Predictor, z_t: Tensor, z_0: Tensor, t: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
    """(λ1 |C + z_0|² + λ3 |z_0' - z_0|², z_0') at states that the sampler reached: there is no true ε there."""
    drift, estimate = predict(z_t, t)
    jump = ddm.one_jump(z_t, drift, estimate, t)
    return weights.drift * (drift + z_0).square().mean() + weights.jump * (jump - z_0).square().mean(), jump


def drawn_times(uniform: Tensor, used: Schedule, used_share: float) -> Tensor:
    """Times [B] from uniform draws [2, B]: a share of them out of those that `used` steps from, the others uniform."""
    starts = torch.tensor(used[:-1], device=uniform.device)
    from_used = starts[(uniform[1] * len(starts)).long().clamp(max=len(starts) - 1)]
    anywhere = EARLIEST_TIME + (1.0 - EARLIEST_TIME) * uniform[1]
    return torch.where(uniform[0] < used_share, from_used, anywhere)


def unrolled(predict: Predictor, z: Tensor, schedule: Schedule, noise: Sequence[Tensor]) -> list[Tensor]:
    """-C, the estimate of z_0, at each step of the schedule as it is really taken from z; `noise` by step."""
    estimates: list[Tensor] = []

    def recorded(state: Tensor, t: float) -> tuple[Tensor, Tensor]:
        drift, estimate = predict(state, torch.full((1,), t, device=state.device))
        estimates.append(-drift)
        return drift, estimate

    ddm.sample(recorded, z, schedule, lambda step: noise[step])
    return estimates


def map_nmse(answer: Tensor, truth: Tensor, free: Tensor) -> Tensor:
    """NMSE [B] of greys [B, 1, 256, 256] over the whole image, 0 where a cell has no value; NaN without energy."""
    error, energy = _error_and_energy(answer, truth, free)
    return error / energy


def mean_nmse(answer: Tensor, truth: Tensor, free: Tensor) -> Tensor:
    """Mean of `map_nmse` over the maps that have energy, 0 where none has; its gradient is finite."""
    error, energy = _error_and_energy(answer, truth, free)
    known = energy > 0
    # Chosen before the division: the gradient of 0 / 0 is NaN even where the quotient is left out.
    quotients = torch.where(known, error, 0.0) / torch.where(known, energy, 1.0)
    return quotients.sum() / known.sum().clamp(min=1)


def _error_and_energy(answer: Tensor, truth: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of squares [B] over the cells that have a value."""
    error, energy = (torch.where(free, grey, 0.0).square().sum(dim=(1, 2, 3)) for grey in (answer - truth, truth))
    return error, energy
