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
    facades = trace_facades(raster(resolution=1.0), 1.0)
    assert trace_profiles(facades, torch.tensor([[100.5, 40.5, 30.0]])).visible.all()


def test_a_batch_sees_what_each_sees_alone():
    facades = trace_facades(raster(*random_blocks(5)), 0.25)
    transmitters = torch.tensor([[120.0, 130.0, 40.0], [30.0, 220.0, 35.0]])
    both = trace_profiles(facades, transmitters).visible
    for single, transmitter in zip(both, transmitters, strict=True):
        torch.testing.assert_close(single, trace_profiles(facades, transmitter[None]).visible[0])
