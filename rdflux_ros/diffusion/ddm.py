"""Decoupled diffusion with constant drift: forward, reverse, one jump, sampler, preconditioning.

Papers: (R) RadioDiff, (F) RadioDiff-Flux, (K) RadioDiff-k². A latent z_0 of unit variance decays towards zero with
the drift C = -z_0 while noise grows, so that z_1 is pure noise:

    z_t = z_0 + t C + √t ε = (1 - t) z_0 + √t ε,    t in [0, 1]    (R eq. 8-21, F eq. 9-12)

A time is a number or a tensor [B]; latents are [B, C, H, W].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from torch import Tensor

from rdflux_ros.diffusion.schedule import Schedule

Time = float | Tensor
Predictor = Callable[[Tensor, float], tuple[Tensor, Tensor]]
"""(z_t, t) to the estimates of (C, ε)."""
Noise = Callable[[int], Tensor]
"""Number of the step to its noise, shaped as the latents."""


def forward(z_0: Tensor, noise: Tensor, t: Time) -> Tensor:
    """z_t given z_0 and ε (R eq. 8-21, F eq. 9-12)."""
    t = _aligned(t)
    return (1 - t) * z_0 + t**0.5 * noise


def reverse_step(z_t: Tensor, drift: Tensor, noise: Tensor, t: Time, t_next: Time, fresh: Tensor | None) -> Tensor:
    """A draw of z_{t_next} given z_t, C and ε, for t_next < t (R eq. 8-21, F eq. 9-12).

    `fresh` is the noise drawn for this step; None takes the mean, which at t_next = 0 is all there is. Where C and ε
    agree on one estimate of z_0 (one output), the mean is (t_next / t) z_t + (1 - t_next / t) z_0'. So a chain from
    z_1 = 0 without fresh noise comes to z_t = (1 - t) times a mean of its own estimates: no draw of `forward`, since it
    holds no noise, and a network has to be taught what to make of it (`training.losses.visited`).
    """
    t, t_next = _aligned(t), _aligned(t_next)
    step = t - t_next
    mean = z_t - step * drift - (step / t**0.5) * noise
    return mean if fresh is None else mean + (step * t_next / t) ** 0.5 * fresh


def one_jump(z_t: Tensor, drift: Tensor, noise: Tensor, t: Time) -> Tensor:
    """The estimate of z_0 from C and ε at once (K eq. 43, with the sign that undoes the forward process)."""
    t = _aligned(t)
    return z_t - t * drift - t**0.5 * noise


def transition_divergence(z_i: Tensor, z_j: Tensor, t: Time) -> Tensor:
    """KL divergence of q(z_t|z_i) and q(z_t|z_j), [B] in nats (F Theorem 1)."""
    distance = (z_i - z_j).square().sum(dim=(1, 2, 3))
    return (1 - t) ** 2 / (2 * t) * distance


def velocity(z_0: Tensor, noise: Tensor, t: Time) -> Tensor:
    """What both of a network's outputs must be: ((1 - t) ε - √t z_0) / √v, of unit variance.

    v = (1 - t)² + t is the variance of z_t. Solving `predictions` for either output gives this same target, so that
    one output serves both (v-prediction).
    """
    t = _aligned(t)
    return ((1 - t) * noise - t**0.5 * z_0) / _variance(t) ** 0.5


def predictions(z_t: Tensor, t: Time, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Estimates of (C, ε) from a network's two outputs, which may be the same tensor.

    Weights as in RadioDiff's code grow without bound as t falls; here outputs keep unit variance at every t, and with
    one output `one_jump` is -C exactly.
    """
    t = _aligned(t)
    v = _variance(t)
    drift = -((1 - t) / v) * z_t + (t / v) ** 0.5 * first
    noise = (t**0.5 / v) * z_t + ((1 - t) / v**0.5) * second
    return drift, noise


def signal_share(t: Time) -> Time:
    """(1 - t) / √v: how much of z_t, brought to unit variance, z_0 makes. At t = 1 nothing.

    A network that is shown z_t times this is not distracted by noise where noise is all there is.
    """
    t = _aligned(t)
    return (1 - t) / _variance(t) ** 0.5


def trajectory(predict: Predictor, z: Tensor, schedule: Schedule, noise: Noise) -> Iterator[Tensor]:
    """The latents after each step of the schedule, computed one at a time as they are asked for (R eq. 8-21).

    Parameters
    ----------
    z
        Latents at the schedule's first time.
    noise
        Called for each step but one that ends at 0.
    """
    for step, (t, t_next) in enumerate(pairwise(schedule)):
        drift, epsilon = predict(z, t)
        z = reverse_step(z, drift, epsilon, t, t_next, noise(step) if t_next > 0 else None)
        yield z


def sample(predict: Predictor, z: Tensor, schedule: Schedule, noise: Noise) -> Tensor:
    """The latents at the schedule's last time; parameters as `trajectory`."""
    for state in trajectory(predict, z, schedule, noise):
        z = state
    return z


def _variance(t: Time) -> Time:
    """Variance of z_t where z_0 has unit variance."""
    return (1 - t) ** 2 + t


def _aligned(t: Time) -> Time:
    """Times [B] shaped to multiply latents."""
    return t.view(-1, 1, 1, 1) if isinstance(t, Tensor) else t
