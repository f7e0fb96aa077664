import numpy as np
import pytest
import torch
from streets import random_blocks, raster

from rdflux_ros.propagation.facades import trace_facades
from rdflux_ros.propagation.profiles import trace_profiles


@pytest.mark.parametrize("seed", range(3))
def test_line_of_sight_against_brute_force_marching(seed):
    """Against 0.1 m steps along every straight line; cells whose line grazes a roof or wall may differ."""
    heights = raster(*random_blocks(seed), resolution=0.25)
    facades = trace_facades(heights, 0.25)
    generator = np.random.default_rng(seed)
    transmitter = np.array([*generator.uniform(60, 190, 2), generator.uniform(8, 60)])
    transmitter[2] = max(transmitter[2], facades.height_at(*torch.tensor(transmitter[:2, None])).item() + 1)
    profiles = trace_profiles(facades, torch.tensor(transmitter[None], dtype=torch.float32))
    cells = generator.choice(np.flatnonzero(facades.free.numpy()), 400, replace=False)
    receiver = np.stack([cells % 256 + 0.5, cells // 256 + 0.5, np.full(len(cells), 1.5)], 1)
    agreed = 0
    for cell, end in zip(cells, receiver, strict=True):
        steps = np.linspace(0, 1, max(int(np.linalg.norm(end - transmitter) / 0.1), 2))[:-1, None]
        way = transmitter + (end - transmitter) * steps
        index = ((way[:, :2] + 24) / 0.25).astype(int)
        inside = (index >= 0).all(1) & (index < heights.shape[0]).all(1)
        standing = heights[index[inside, 1], index[inside, 0]]
        agreed += bool(profiles.visible[0, cell]) == bool((standing <= way[inside, 2]).all())
    assert agreed / len(cells) > 0.985


def test_right_below_the_antenna_is_in_sight():
    """Also where the raster's nearest cell is a wall: nothing stands between an antenna and what lies right below."""
    facades = trace_facades(raster((100, 110, 40, 50, 40)), 0.25)
    profiles = trace_profiles(facades, torch.tensor([[99.99, 40.5, 30.0]]))
    assert profiles.visible[0].view(256, 256)[40, 99]
    beside = trace_profiles(facades, torch.tensor([[99.51, 40.5, 30.0]]))
    assert beside.distance[0].view(256, 256)[40, 99] < 0.25 and beside.visible[0].view(256, 256)[40, 99]


def test_walls_around_the_window_are_hidden_by_what_stands_before_them():
    """Whoever else is in the batch: how far the fan reaches is not the nearest transmitter's affair."""
    facades = trace_facades(raster((258, 266, 258, 266, 30), resolution=1.0), 1.0, touched=False)
    transmitters = torch.tensor([[128.0, 128.0, 10.0], [1.0, 1.0, 10.0]])
    behind = torch.tensor([142.0])
    for batch in (transmitters[:1], transmitters):
        profiles = trace_profiles(facades, batch)
        horizon = profiles.horizon_towards(torch.zeros(1, dtype=torch.long), behind, behind, behind * 2**0.5)
        assert horizon.item() > 0.05


def test_a_batch_sees_what_each_sees_alone():
    facades = trace_facades(raster(*random_blocks(5)), 0.25)
    transmitters = torch.tensor([[120.0, 130.0, 40.0], [30.0, 220.0, 35.0]])
    both = trace_profiles(facades, transmitters).visible
    for single, transmitter in zip(both, transmitters, strict=True):
        torch.testing.assert_close(single, trace_profiles(facades, transmitter[None]).visible[0])
