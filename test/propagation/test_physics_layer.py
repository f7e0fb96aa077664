import itertools

import numpy as np
import pytest
import torch
from streets import random_blocks, raster, streets

from rdflux_ros.propagation.config import PhysicsConfig
from rdflux_ros.propagation.facades import trace_facades
from rdflux_ros.propagation.physics_layer import PhysicsLayer
from rdflux_ros.radio.units import free_space_gain
from rdflux_ros.settings import SettingError

FLOOR_DB = -147.0


def test_free_space_is_friis():
    gains = PhysicsLayer()(streets(), torch.tensor([[77.3, 190.8, 42.0]]))
    y, x = np.indices((256, 256)) + 0.5
    distance = np.sqrt((x - 77.3) ** 2 + (y - 190.8) ** 2 + 40.5**2)
    found = 10 * np.log10(gains.line_of_sight[0].numpy())
    np.testing.assert_allclose(found, free_space_gain(distance), atol=1e-3)
    assert gains.diffraction.max() == 0 and gains.reflections.max() == 0


@pytest.mark.parametrize("quarter_turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_eight_symmetries_of_the_square(quarter_turns, mirrored):
    """Streets and transmitter turned or mirrored give the map turned or mirrored."""
    heights = raster(*random_blocks(11))
    x, y = 131.3, 118.6
    layer = PhysicsLayer()
    base = layer(trace_facades(heights, 0.25), torch.tensor([[x, y, 35.0]])).gain_db()[0].numpy()
    turned_heights, turned_base = np.rot90(heights, quarter_turns), np.rot90(base, quarter_turns)
    for _ in range(quarter_turns):  # rot90 of an array whose row 0 is south turns the other way round
        x, y = y, 256 - x
    if mirrored:
        turned_heights, turned_base, x = turned_heights[:, ::-1], turned_base[:, ::-1], 256 - x
    facades = trace_facades(np.ascontiguousarray(turned_heights), 0.25)
    found = layer(facades, torch.tensor([[x, y, 35.0]])).gain_db()[0].numpy()
    heard = (found > FLOOR_DB) & (turned_base > FLOOR_DB)
    difference = np.abs(found - turned_base)[heard]
    assert ((found > FLOOR_DB) == (turned_base > FLOOR_DB)).mean() > 0.99
    assert np.median(difference) < 0.01 and difference.mean() < 0.3


def test_a_batch_is_what_each_gets_alone():
    facades, layer = trace_facades(raster(*random_blocks(3, count=12)), 0.25), PhysicsLayer()
    transmitters = torch.tensor([[120.0, 130.0, 40.0], [30.0, 220.0, 35.0]])
    batch = layer(facades, transmitters)
    for index, transmitter in enumerate(transmitters):
        alone = layer(facades, transmitter[None])
        torch.testing.assert_close(batch.total[index], alone.total[0], rtol=1e-4, atol=1e-18)


def test_on_two_cores_it_is_the_same():
    facades, layer = trace_facades(raster(*random_blocks(5, count=12)), 0.25), PhysicsLayer()
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(layer(facades, torch.tensor([[110.0, 140.0, 30.0]])).total)
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(*found, rtol=1e-5, atol=0.0)


def test_a_failure_on_the_other_core_is_raised(monkeypatch):
    threads = torch.get_num_threads()
    monkeypatch.setattr("rdflux_ros.propagation.physics_layer.reflections", lambda *_: 1 / 0)
    try:
        torch.set_num_threads(2)
        with pytest.raises(ZeroDivisionError):
            PhysicsLayer()(streets(), torch.tensor([[100.0, 100.0, 30.0]]))
    finally:
        torch.set_num_threads(threads)


def test_more_walls_bring_no_less():
    facades = trace_facades(raster(*random_blocks(4, count=12)), 0.25)
    transmitter = torch.tensor([[128.0, 140.0, 45.0]])
    totals = [PhysicsLayer(PhysicsConfig(order))(facades, transmitter).total for order in (0, 1, 4)]
    for fewer, more in itertools.pairwise(totals):  # a gap's filling may shrink where a real ray arrives
        assert (more >= 0.99 * fewer).float().mean() > 0.985
    assert totals[2].sum() > totals[1].sum() > totals[0].sum()


def test_the_parts_and_their_times_are_named():
    gains, times = PhysicsLayer().timed(streets((40, 60, 40, 60, 20)), torch.tensor([[100.0, 100.0, 30.0]]))
    assert set(times) == {"profiles", "diffraction", "reflections", "local_mean"}
    parts = gains.line_of_sight + gains.diffraction + gains.reflections + gains.ground_bounces
    torch.testing.assert_close(gains.total, parts)


def test_an_order_out_of_range_is_refused_by_name():
    with pytest.raises(SettingError, match="reflection_order = 9: must be 0 to 6"):
        PhysicsConfig(9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_the_same_map_on_cuda():
    heights, transmitter = raster(*random_blocks(6)), torch.tensor([[128.0, 140.0, 45.0]])
    layer = PhysicsLayer()
    here = layer(trace_facades(heights, 0.25), transmitter).gain_db()
    there = layer(trace_facades(heights, 0.25, "cuda"), transmitter.cuda()).gain_db().cpu()
    heard = (here > FLOOR_DB) & (there > FLOOR_DB)
    assert (here - there)[heard].abs().mean() < 0.05
