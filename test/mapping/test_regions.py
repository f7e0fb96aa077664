"""The lattice of windows: which one answers, how far it reaches, and what it sees of the streets."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.mapping.inputs import OccupancyInput, street_map
from rdflux_ros.mapping.regions import (
    Region,
    RegionTracker,
    content_key,
    crop,
    footprint,
    height_at,
    nearest_region,
    spaced,
)
from rdflux_ros.radio.grid import Grid

COORDINATE = st.floats(-5000, 5000)
FREE = MapperConfig()
OCCUPIED = MapperConfig(unknown_is="occupied")


def reach(region: Region, x: float, y: float) -> float:
    """Distance from a point to the nearest edge of a window [m]."""
    grid = region.grid
    south, west = y - grid.origin_y, x - grid.origin_x
    return min(south, west, grid.height - south, grid.width - west)


def test_windows_are_256_m_on_a_lattice_of_64_m_through_the_origin():
    assert Region(0, 0).grid == Grid(256, 256, 1.0, -128.0, -128.0)
    assert Region(3, -2).grid == Grid(256, 256, 1.0, 3 * 64 - 128, -2 * 64 - 128)


@given(COORDINATE, COORDINATE)
def test_a_query_takes_the_nearest_window(x, y):
    found = nearest_region(x, y)
    around = [Region(found.i + di, found.j + dj) for di in (-1, 0, 1) for dj in (-1, 0, 1)]
    assert math.dist(found.centre, (x, y)) == min(math.dist(region.centre, (x, y)) for region in around)
    assert reach(found, x, y) >= 96


def test_a_track_keeps_its_window_to_48_m_and_then_takes_the_nearest():
    tracker = RegionTracker()
    assert tracker.update(0, 0) == Region(0, 0)
    assert tracker.update(48, -48) == Region(0, 0)
    assert nearest_region(48, -48) == Region(1, -1)
    assert tracker.update(48.1, 0) == Region(1, 0)
    assert tracker.update(16, 0) == Region(1, 0)  # back over the middle line: no flicker
    assert tracker.update(15.9, 0) == Region(0, 0)


@pytest.mark.parametrize("count", [0, 1, 2, 400])
def test_a_dense_path_is_spaced_and_keeps_its_end(count):
    path = np.stack([np.linspace(0, 40, count), np.zeros(count)], 1)
    found = spaced(path)
    assert (
        len(found) == min(count, 21) and np.array_equal(found[-1:], path[-1:]) and np.array_equal(found[:1], path[:1])
    )
    assert count < 400 or np.hypot(*np.diff(found, axis=0).T).max() < 2.2


@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(-90, 90)), min_size=1, max_size=40))
def test_every_answer_of_a_track_reaches_80_m(steps):
    tracker, x, y = RegionTracker(), 0.0, 0.0
    for dx, dy in steps:
        x, y = x + dx, y + dy
        assert reach(tracker.update(x, y), x, y) >= 80


@pytest.fixture(scope="module")
def streets():
    """A map of 400 x 300 m with its corner in (-50, 30) and one building of 4 x 6 cells."""
    data = np.zeros((300, 400), np.int8)
    data[100:104, 150:156] = 100  # x 100..106, y 130..134
    data[:, 390:] = -1
    return street_map(OccupancyInput(data, Grid(400, 300, 1.0, -50.0, 30.0), "map"), FREE)


@pytest.mark.parametrize("region", [Region(2, 2), Region(1, 3), Region(0, 1)])
def test_crop_and_footprint_put_a_building_where_it_stands(streets, region):
    heights, buildings = crop(streets, region, FREE), footprint(streets, region, FREE)
    x, y = region.grid.centre_mesh()
    inside = (x > 100) & (x < 106) & (y > 130) & (y < 134)
    assert inside.sum() == 24
    np.testing.assert_array_equal(buildings, inside)
    np.testing.assert_array_equal(heights[24:-24, 24:-24], np.where(inside, 25.0, 0.0))
    assert heights.shape == (304, 304)


def test_the_margin_shows_what_stands_just_outside_the_window(streets):
    region = Region(4, 3)  # x from 128 - 24 on, y from 64 - 24 on; the building ends at x = 106
    assert not footprint(streets, region, FREE).any()
    expected = [[row, col] for row in range(90, 94) for col in range(2)]
    np.testing.assert_array_equal(np.argwhere(crop(streets, region, FREE)), expected)


def test_beyond_the_map_and_in_unknown_cells_stands_what_unknown_is(streets):
    region = Region(5, 2)  # x 192..448, y 0..256; the map ends at x 350, y 30 and knows nothing from x 340 on
    x, y = region.grid.centre_mesh()
    known = (x < 340) & (y > 30)
    np.testing.assert_array_equal(footprint(streets, region, OCCUPIED), ~known)
    np.testing.assert_array_equal(crop(streets, region, OCCUPIED)[24:-24, 24:-24], np.where(known, 0.0, 25.0))
    assert not footprint(streets, region, FREE).any()
    assert not crop(streets, region, FREE).any()


def test_a_window_off_the_map_is_all_unknown(streets):
    assert not crop(streets, Region(100, 100), FREE).any()
    assert footprint(streets, Region(100, 100), OCCUPIED).all()


def test_height_at_a_point_agrees_with_the_crop(streets):
    assert height_at(streets, 100.1, 133.9, FREE) == 25.0
    assert height_at(streets, 99.9, 133.9, FREE) == 0.0
    assert [height_at(streets, x, 133.9, OCCUPIED) for x in (99.9, 345.0, 9999.0)] == [0.0, 25.0, 25.0]


def test_the_key_follows_the_content_and_nothing_else(streets):
    heights, buildings = crop(streets, Region(2, 2), FREE), footprint(streets, Region(2, 2), FREE)
    key = content_key(heights, buildings, 1.0)
    assert key == content_key(heights.copy(), np.asfortranarray(buildings), 1.0)
    taller, wider = heights.copy(), buildings.copy()
    taller[0, 0], wider[200, 3] = 3.0, True
    others = {
        content_key(taller, buildings, 1.0),
        content_key(heights, wider, 1.0),
        content_key(heights, buildings, 0.5),
    }
    assert len(others | {key}) == 4
