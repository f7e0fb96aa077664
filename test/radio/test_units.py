"""Units: each conversion against values worked out by hand, and there and back."""

import numpy as np
import pytest

from rdflux_ros.radio import units


def test_grey_scale_is_radiomapseers():
    gains = np.array([-147.0, -47.84, -97.42, -200.0, 0.0, np.nan])
    np.testing.assert_allclose(units.grey_from_gain(gains), [0, 1, 0.5, 0, 1, 0], atol=1e-6)


def test_grey_and_gain_are_inverse_within_the_scale():
    grey = np.linspace(0, 1, 256)
    np.testing.assert_allclose(units.grey_from_gain(units.gain_from_grey(grey)), grey, atol=1e-6)


def test_occupancy_values_are_0_at_best_100_at_the_floor_and_minus_1_without_value():
    pathloss = np.array([47.84, 20.0, 147.0, 300.0, np.nan, 97.42])
    np.testing.assert_array_equal(units.occupancy_from_pathloss(pathloss), [0, 0, 100, 100, -1, 50])
    assert units.occupancy_from_pathloss(pathloss).dtype == np.int8


def test_pathloss_comes_back_from_occupancy_to_half_a_step():
    pathloss = np.linspace(48, 147, 1000)
    back = units.pathloss_from_occupancy(units.occupancy_from_pathloss(pathloss))
    assert np.abs(back - pathloss).max() <= 0.5
    assert np.isnan(units.pathloss_from_occupancy([-1])).all()


def test_free_space_is_friis():
    # 20 log10(4 pi d / lambda) with d = 100 m at 5.9 GHz
    assert units.free_space_gain(100.0) == pytest.approx(-87.865, abs=0.005)
    assert units.free_space_gain(10.0) - units.free_space_gain(1000.0) == pytest.approx(40.0, abs=1e-4)
