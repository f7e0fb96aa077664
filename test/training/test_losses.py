"""Losses against what is known in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rdflux_ros.diffusion import ddm
from rdflux_ros.diffusion.schedule import uniform_schedule
from rdflux_ros.training.losses import (
    Predictor,
    Weights,
    denoising_loss,
    drawn_times,
    map_nmse,
    mean_nmse,
    unrolled,
    visited,
    visited_loss,
)


@pytest.fixture
def latents() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z_0, noise = torch.randn(2, 3, 4, 8, 8, generator=generator)
    return z_0, noise


def test_the_exact_estimates_lose_nothing(latents: tuple[Tensor, Tensor]) -> None:
    z_0, noise = latents
    t = torch.tensor([0.01, 0.5, 1.0])
    assert denoising_loss(lambda z, t: (-z_0, noise), z_0, noise, t, Weights()) < 1e-10


def test_each_weight_belongs_to_its_error(latents: tuple[Tensor, Tensor]) -> None:
    z_0, noise = latents
    t = torch.full((3,), 0.25)

    def loss(weights: Weights) -> float:
        return float(denoising_loss(lambda z, t: (-z_0 + 0.2, noise - 0.4), z_0, noise, t, weights))

    assert loss(Weights(1, 0, 0)) == pytest.approx(0.04, rel=1e-4)
    assert loss(Weights(0, 1, 0)) == pytest.approx(0.16, rel=1e-4)
    assert loss(Weights(0, 0, 1)) == pytest.approx((0.25 * 0.2 - 0.5 * 0.4) ** 2, rel=1e-4)
    assert loss(Weights(2, 3, 5)) == pytest.approx(2 * 0.04 + 3 * 0.16 + 5 * 0.0225, rel=1e-4)


def test_times_are_drawn_from_those_really_used() -> None:
    uniform = torch.rand(2, 4000, generator=torch.Generator().manual_seed(1))
    t = drawn_times(uniform, (0.02, 0.01, 0.0), 0.75)
    shares = [float((t == torch.tensor(used)).float().mean()) for used in (0.02, 0.01)]
    assert shares == pytest.approx([0.375, 0.375], abs=0.03)
    others = t[(t != torch.tensor(0.02)) & (t != torch.tensor(0.01))]
    assert others.min() >= 1e-4 and others.max() <= 1.0 and others.mean() == pytest.approx(0.5, abs=0.05)


def shrinking(share: float) -> Predictor:
    """Estimates of z_0 that are a share of the state plus 1; C and ε agree on them."""

    def predict(state: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        drift = -(share * state + 1.0)
        return drift, (state + (1 - t.view(-1, 1, 1, 1)) * drift) / t.view(-1, 1, 1, 1) ** 0.5

    return predict


def test_visited_states_are_the_samplers_own(latents: tuple[Tensor, Tensor]) -> None:
    z, noise = latents
    predict, fresh = shrinking(0.3), [0.5 * noise, 0.1 * noise]
    for end in (0.25, 0.02):
        there = ddm.sample(predict_at(predict), z, uniform_schedule(2, 1.0, end), lambda step: fresh[step])
        assert torch.allclose(visited(predict, z, torch.full((3,), end), fresh), there, atol=1e-5)
    times = torch.tensor([0.25, 0.02, 1.0])  # each map has a time of its own
    mixed = visited(predict, z, times, fresh)
    for k, end in enumerate(times):
        alone = visited(predict, z, end.expand(3), fresh)
        assert torch.allclose(mixed[k], alone[k], atol=1e-5)
    assert torch.equal(mixed[2], z[2]), "at t = 1 the chain has not moved"


def predict_at(predict: Predictor) -> ddm.Predictor:
    return lambda z, t: predict(z, torch.full((len(z),), t))


def test_without_noise_the_chain_visits_means_of_its_estimates(latents: tuple[Tensor, Tensor]) -> None:
    """Why noised truth is not enough at temperature 0: z_t / (1 - t) is an estimate, without any noise."""
    z, _ = latents
    t, nothing = torch.tensor([0.5, 0.1, 0.02]), torch.zeros_like(z)
    expected = (1 - t).view(-1, 1, 1, 1) * torch.ones_like(z)
    assert torch.allclose(visited(shrinking(0.0), nothing, t, [nothing] * 3), expected, atol=1e-5)


def test_the_way_to_a_visited_state_is_not_taught(latents: tuple[Tensor, Tensor]) -> None:
    z, noise = latents
    share = torch.tensor(0.3, requires_grad=True)

    def predict(state: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return -share * state, noise

    state = visited(predict, z, torch.full((3,), 0.5), [noise, noise])
    assert not state.requires_grad
    loss, estimate = visited_loss(predict, state, z, torch.full((3,), 0.5), Weights())
    assert loss.requires_grad and estimate.requires_grad


def test_visited_states_weigh_what_has_a_truth(latents: tuple[Tensor, Tensor]) -> None:
    z_0, noise = latents
    t = torch.full((3,), 0.25)
    z_t = ddm.forward(z_0, noise, t)
    loss, estimate = visited_loss(lambda z, t: (-z_0 + 0.2, noise - 0.4), z_t, z_0, t, Weights(2, 3, 5))
    assert float(loss) == pytest.approx(2 * 0.04 + 5 * 0.0225, rel=1e-4)
    assert torch.allclose(estimate, z_0 + 0.15, atol=1e-5)


def test_unrolled_takes_the_samplers_own_steps(latents: tuple[Tensor, Tensor]) -> None:
    """Estimates shrink towards 0.3 of the state: what -C is at each step depends on the steps before it."""
    z, noise = latents

    def predict(state: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        drift = -0.3 * state
        return drift, (state + (1 - t.view(-1, 1, 1, 1)) * drift) / t.view(-1, 1, 1, 1) ** 0.5

    first, second = unrolled(predict, z, (0.02, 0.01, 0.0), [noise])
    assert torch.allclose(first, 0.3 * z)
    drift, estimate = predict(z, torch.tensor([0.02]))
    state = ddm.reverse_step(z, drift, estimate, 0.02, 0.01, noise)
    assert torch.allclose(second, 0.3 * state, atol=1e-6)


def test_nmse_scores_cells_with_a_value() -> None:
    truth, answer = torch.full((2, 1, 4, 4), 0.5), torch.full((2, 1, 4, 4), 0.6)
    free = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    free[1, 0, 0] = False
    answer[1, 0, 0] = 9.0
    truth[1, 0, 0] = 7.0
    assert map_nmse(answer, truth, free).tolist() == pytest.approx([0.04, 0.04], rel=1e-5)
    free[1] = False
    assert map_nmse(answer, truth, free)[1].isnan()


def test_a_map_without_energy_teaches_nothing() -> None:
    truth, free = torch.full((3, 1, 4, 4), 0.5), torch.ones(3, 1, 4, 4, dtype=torch.bool)
    truth[1], free[2] = 0.0, False
    answer = torch.full((3, 1, 4, 4), 0.6, requires_grad=True)
    mean = mean_nmse(answer, truth, free)
    assert float(mean.detach()) == pytest.approx(0.04, rel=1e-5), "the mean over the one that has energy"
    mean.backward()
    assert answer.grad is not None
    assert torch.allclose(answer.grad[0], torch.tensor(2 * 0.1 / (16 * 0.25))) and not answer.grad[1:].any()
    answer.grad = None
    mean_nmse(answer[1:], truth[1:], free[1:]).backward()
    assert answer.grad is not None and not answer.grad.any(), "none has energy"
