"""Decoupled diffusion against its own mathematics."""

import math
from itertools import pairwise

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from rdflux_ros.diffusion import ddm
from rdflux_ros.diffusion.schedule import reused_steps, split, uniform_schedule

SHAPE = (4, 2, 8, 8)
TIMES = (1e-4, 0.02, 0.3, 0.5, 0.98, 1.0)


def normal(seed: int, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian_predictor(mean: float, std: float) -> ddm.Predictor:
    """The exact posterior means of C and ε where z_0 ~ N(mean, std²)."""

    def predict(z: torch.Tensor, t: float) -> tuple[torch.Tensor, torch.Tensor]:
        variance = (1 - t) ** 2 * std**2 + t
        surprise = (z - (1 - t) * mean) / variance
        return -(mean + (1 - t) * std**2 * surprise), math.sqrt(t) * surprise

    return predict


def test_forward_ends_in_pure_noise_and_starts_at_the_latent():
    z_0, noise = normal(0), normal(1)
    assert torch.equal(ddm.forward(z_0, noise, 1.0), noise)
    assert torch.equal(ddm.forward(z_0, noise, 0.0), z_0)


def test_a_time_for_each_sample_is_the_same_as_one_at_a_time():
    z_0, noise = normal(0), normal(1)
    t = torch.tensor([0.1, 0.4, 0.7, 1.0], dtype=torch.float64)
    z_t = ddm.forward(z_0, noise, t)
    drift, epsilon = ddm.predictions(z_t, t, z_0, noise)
    for k, time in enumerate(t.tolist()):
        torch.testing.assert_close(z_t[k], ddm.forward(z_0[k], noise[k], time))
        one = ddm.predictions(z_t[k], time, z_0[k], noise[k])
        torch.testing.assert_close((drift[k], epsilon[k]), one)


@pytest.mark.parametrize("t", TIMES)
def test_one_jump_with_the_exact_drift_and_noise_gives_the_latent(t):
    z_0, noise = normal(0), normal(1)
    torch.testing.assert_close(ddm.one_jump(ddm.forward(z_0, noise, t), -z_0, noise, t), z_0)


@pytest.mark.parametrize(("t", "t_next"), [(1.0, 0.5), (0.5, 0.49), (0.02, 0.01)])
def test_a_reverse_step_with_the_exact_drift_and_noise_lands_on_the_forward_process(t, t_next):
    z_0 = torch.full((1, 1, 512, 512), 0.7, dtype=torch.float64)
    noise, fresh = normal(1, z_0.shape), normal(2, z_0.shape)
    z = ddm.reverse_step(ddm.forward(z_0, noise, t), -z_0, noise, t, t_next, fresh)
    assert z.mean().item() == pytest.approx((1 - t_next) * 0.7, abs=0.01)
    assert z.var().item() == pytest.approx(t_next, rel=0.02)


def test_without_fresh_noise_a_step_mixes_state_and_estimate():
    """And so a chain from z_1 = 0 comes to (1 - t) times a mean of its estimates."""
    z_t, outputs, t = normal(0), normal(1), 0.3
    drift, epsilon = ddm.predictions(z_t, t, outputs, outputs)
    mixed = 0.5 * z_t + 0.5 * -drift
    torch.testing.assert_close(ddm.reverse_step(z_t, drift, epsilon, t, 0.15, None), mixed)

    estimates = [normal(2), normal(3), normal(4)]
    state = torch.zeros(SHAPE, dtype=torch.float64)
    for (now, then), estimate in zip(pairwise((1.0, 0.5, 0.25, 0.1)), estimates, strict=True):
        state = ddm.reverse_step(state, -estimate, (state - (1 - now) * estimate) / now**0.5, now, then, None)
    weights = [1 / 0.5 - 1, 1 / 0.25 - 1 / 0.5, 1 / 0.1 - 1 / 0.25]
    mean = sum(weight * estimate for weight, estimate in zip(weights, estimates, strict=True)) / sum(weights)
    torch.testing.assert_close(state, (1 - 0.1) * mean)


def test_sampling_with_the_exact_posterior_mean_reproduces_a_gaussian():
    mean, std = 0.4, 0.8

    def error(steps: int) -> float:
        shape = (1, 1, 256, 256)
        draws = torch.Generator().manual_seed(3)
        noise = lambda _step: torch.randn(shape, generator=draws, dtype=torch.float64)  # noqa: E731
        z = ddm.sample(gaussian_predictor(mean, std), noise(0), uniform_schedule(steps), noise)
        assert z.mean().item() == pytest.approx(mean, abs=0.01)
        return abs(z.std().item() - std)

    coarse, middle, fine = error(10), error(60), error(400)
    assert fine < 0.015 < 0.03 < middle < 0.1 < coarse  # vanishes with the step


def test_two_stages_of_a_split_schedule_are_the_whole_chain():
    predict = gaussian_predictor(0.4, 0.8)
    schedule = uniform_schedule(20)
    noises = [normal(k) for k in range(20)]
    whole = ddm.sample(predict, normal(99), schedule, lambda step: noises[step])
    first, second = split(schedule, 0.9)
    middle = ddm.sample(predict, normal(99), first, lambda step: noises[step])
    assert torch.equal(ddm.sample(predict, middle, second, lambda step: noises[18 + step]), whole)


def test_a_trajectory_is_computed_only_as_far_as_it_is_asked_for():
    asked: list[float] = []

    def predict(z: torch.Tensor, t: float) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(t)
        return -z, z

    steps = ddm.trajectory(predict, normal(0), uniform_schedule(4), lambda _step: normal(1))
    next(steps)
    assert asked == [1.0]
    assert len(list(steps)) == 3
    assert asked == [1.0, 0.75, 0.5, 0.25]


def test_theorem_1_is_the_divergence_of_the_two_gaussians():
    z_i, z_j, t = normal(0), normal(1), 0.3

    def transition(z: torch.Tensor) -> Independent:
        return Independent(Normal((1 - t) * z, math.sqrt(t)), 3)

    expected = kl_divergence(transition(z_i), transition(z_j))
    torch.testing.assert_close(ddm.transition_divergence(z_i, z_j, t), expected)


@pytest.mark.parametrize("t", TIMES)
def test_both_outputs_have_the_same_target_of_unit_variance(t):
    z_0, noise = normal(0, (1, 1, 512, 512)), normal(1, (1, 1, 512, 512))
    z_t = ddm.forward(z_0, noise, t)
    v = (1 - t) ** 2 + t
    first = (-z_0 + (1 - t) / v * z_t) / math.sqrt(t / v)  # what C asks for
    target = ddm.velocity(z_0, noise, t)
    torch.testing.assert_close(first, target, rtol=1e-6, atol=1e-8)
    if t < 1:
        second = (noise - math.sqrt(t) / v * z_t) / ((1 - t) / math.sqrt(v))  # what ε asks for
        torch.testing.assert_close(second, target, rtol=1e-6, atol=1e-8)
    assert target.var().item() == pytest.approx(1.0, rel=0.01)
    drift, epsilon = ddm.predictions(z_t, t, target, target)
    torch.testing.assert_close((drift, epsilon), (-z_0, noise))


def test_with_one_output_the_jump_is_minus_the_drift():
    z_t, output = normal(0), normal(1)
    drift, epsilon = ddm.predictions(z_t, 0.02, output, output)
    torch.testing.assert_close(ddm.one_jump(z_t, drift, epsilon, 0.02), -drift)


def test_schedules_fall_in_equal_steps():
    assert uniform_schedule(4) == (1.0, 0.75, 0.5, 0.25, 0.0)
    assert uniform_schedule(2, 0.5, 0.25) == (0.5, 0.375, 0.25)
    assert uniform_schedule(0, 1.0, 1.0) == (1.0,)


@pytest.mark.parametrize(("steps", "start", "end"), [(0, 1.0, 0.0), (4, 0.0, 1.0), (4, 1.5, 0.0), (4, 1.0, -0.1)])
def test_schedules_that_do_not_fall_within_1_to_0_are_refused(steps, start, end):
    with pytest.raises(ValueError, match="must fall"):
        uniform_schedule(steps, start, end)


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.7, 0.9, 0.95, 0.98, 0.99])
def test_the_papers_ratios_split_a_hundred_steps_at_their_midpoint(ratio):
    first, second = split(uniform_schedule(100), ratio)
    assert (len(first) - 1, len(second) - 1) == (round(100 * ratio), 100 - round(100 * ratio))
    assert first[-1] == second[0] == pytest.approx(1 - ratio)


@pytest.mark.parametrize(("steps", "ratio"), [(100, 0.985), (10, 0.98), (100, 1.0), (100, -0.1), (100, math.nan)])
def test_a_split_within_a_step_or_without_a_second_stage_is_refused(steps, ratio):
    with pytest.raises(ValueError, match="whole steps"):
        reused_steps(steps, ratio)
