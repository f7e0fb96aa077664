"""Grids: row 0 is south, the origin is the corner of cell (0, 0), the yaw turns counter-clockwise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdflux_ros.radio.grid import Grid


def test_rows_go_north_and_columns_east_from_the_corner():
    grid = Grid(10, 20, 0.5, -3.0, 7.0)
    assert grid.cells(-3.0 + 2.1, 7.0 + 4.6) == (9, 4)
    assert grid.centres(9, 4) == (-0.75, 11.75)
    assert grid.shape == (20, 10)


def test_a_quarter_turn_puts_columns_north_and_rows_west():
    grid = Grid(10, 20, 1.0, 100.0, 50.0, math.pi / 2)
    np.testing.assert_allclose(grid.centres(0, 4), (99.5, 54.5))
    np.testing.assert_allclose(grid.centres(4, 0), (95.5, 50.5))


def test_only_points_on_the_grid_are_contained():
    grid = Grid(4, 3, 2.0, 10.0, 20.0)
    x = [10.0, 17.99, 9.99, 18.01, 12.0, 12.0]
    y = [20.0, 25.99, 21.0, 21.0, 19.99, 26.01]
    np.testing.assert_array_equal(grid.contains(x, y), [True, True, False, False, False, False])


@given(
    st.integers(0, 49),
    st.integers(0, 79),
    st.floats(0.05, 2.0),
    st.floats(-1e4, 1e4),
    st.floats(-1e4, 1e4),
    st.floats(-math.pi, math.pi),
)
def test_the_centre_of_a_cell_lies_in_it(row, col, resolution, x, y, yaw):
    grid = Grid(80, 50, resolution, x, y, yaw)
    centre = grid.centres(row, col)
    assert grid.cells(*centre) == (row, col)
    assert grid.contains(*centre)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("far", [math.nan, math.inf, -1e300, 1.7e308])
def test_no_number_is_too_far_to_be_outside(far):
    grid = Grid(3, 2, 0.5, 1.0, 1.0, 0.3)
    assert not grid.contains(far, 1.2) and not grid.contains(1.2, far)
    assert grid.contains(*grid.centres(1, 2))
