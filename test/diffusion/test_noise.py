"""Noise that belongs to the ground, not to the window."""

import itertools

import pytest
import torch

from rdflux_ros.diffusion.noise import world_noise


def window(i: int, j: int, **changes: int) -> torch.Tensor:
    return world_noise(i, j, **{"seed": 7, "stage": 1, "step": 0, "channels": 3, **changes})


def test_a_window_repeats_and_has_the_latents_shape():
    assert window(2, -1).shape == (3, 64, 64)
    assert torch.equal(window(2, -1), window(2, -1))


@pytest.mark.parametrize(("di", "dj"), [(1, 0), (0, 1), (1, 1), (3, -2)])
def test_windows_share_the_noise_of_the_ground_they_share(di, dj):
    """Window (i, j) is centred on (64 i, 64 j) m and a latent is 4 m: columns go east with i, rows north with j."""
    here, there = window(-1, 4), window(-1 + di, 4 + dj)
    rows, columns = range(max(0, 16 * dj), min(64, 64 + 16 * dj)), range(max(0, 16 * di), min(64, 64 + 16 * di))
    mine = here[:, rows.start : rows.stop, columns.start : columns.stop]
    theirs = there[:, rows.start - 16 * dj : rows.stop - 16 * dj, columns.start - 16 * di : columns.stop - 16 * di]
    assert mine.numel() > 0
    assert torch.equal(mine, theirs)


def test_cells_seeds_stages_and_steps_draw_apart():
    draws = [window(0, 0), window(0, 0, seed=8), window(0, 0, stage=2), window(0, 0, step=1), window(40, 40)]
    draws += [draws[0].flip(1), draws[0].flip(2), draws[0].roll(16, dims=1), draws[0].roll(16, dims=2)]
    for a, b in itertools.combinations(draws, 2):
        assert abs((a * b).mean().item()) < 0.05


def test_noise_is_standard_normal():
    noise = torch.stack([window(4 * k, 0) for k in range(8)])
    assert noise.mean().item() == pytest.approx(0.0, abs=0.02)
    assert noise.std().item() == pytest.approx(1.0, abs=0.02)


def test_noise_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    window(1000, 1000)
    assert torch.equal(torch.get_rng_state(), before)
