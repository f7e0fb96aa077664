"""The raster of streets: any resolution, origin and yaw lands in the right place, and heights by their rules."""

import dataclasses
import math

import cv2
import numpy as np
import pytest

from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.mapping.inputs import HeightMap, InputError, OccupancyInput, street_map
from rdflux_ros.radio.grid import Grid

CONFIG = MapperConfig()
WEST, SOUTH, EAST, NORTH = 12.0, 30.0, 22.0, 34.0
"""A building [m] in the map frame."""


def drawn(grid: Grid, value: int = 100, outside: int = 0) -> OccupancyInput:
    """The building on any grid, by the centres of its cells."""
    x, y = grid.centre_mesh()
    inside = (x > WEST) & (x < EAST) & (y > SOUTH) & (y < NORTH)
    return OccupancyInput(np.where(inside, value, outside).astype(np.int8), grid, "map")


def true_building(grid: Grid) -> np.ndarray:
    x, y = grid.centre_mesh()
    return (x > WEST) & (x < EAST) & (y > SOUTH) & (y < NORTH)


def test_a_map_on_whole_metres_is_taken_as_it_is():
    grid = Grid(50, 40, 1.0, -5.0, 7.0)
    source = drawn(grid)
    found = street_map(source, CONFIG)
    assert found.grid == found.buildings_grid == grid
    np.testing.assert_array_equal(found.heights_m, np.where(source.data == 100, 25.0, 0.0))
    np.testing.assert_array_equal(found.buildings, source.data == 100)
    assert found.covered.all()
    assert found.heights_m.dtype == np.float32


@pytest.mark.parametrize(("resolution", "kept"), [(0.05, 0.25), (0.1, 0.25), (0.25, 0.25), (0.5, 0.5), (2.0, 1.0)])
def test_walls_keep_the_resolution_of_the_map_within_a_quarter_and_one_metre(resolution, kept):
    grid = Grid(round(40 / resolution), round(40 / resolution), resolution, 0.0, 0.0)
    found = street_map(drawn(grid), CONFIG)
    assert found.grid.resolution == kept
    np.testing.assert_array_equal(found.heights_m > 0, true_building(found.grid))
    np.testing.assert_array_equal(found.buildings, true_building(found.buildings_grid))


@pytest.mark.parametrize("resolution", [0.05, 0.25])
def test_a_thin_wall_survives_every_reduction(resolution):
    side = round(10 / resolution)
    data = np.zeros((side, side), np.int8)
    data[round(4.5 / resolution)] = 100
    found = street_map(OccupancyInput(data, Grid(side, side, resolution), "map"), CONFIG)
    assert (found.heights_m > 0).any(axis=0).all()
    np.testing.assert_array_equal(np.flatnonzero(found.buildings.all(axis=1)), [4])
    assert found.buildings.sum() == 10


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_quarter_turns_are_exact(turn):
    straight = Grid(50, 40, 1.0)
    upright = drawn(straight)
    corner = [(0.0, 0.0), (50.0, 0.0), (50.0, 40.0), (0.0, 40.0)][turn]
    shape = (50, 40) if turn == 2 else (40, 50)
    turned = Grid(*shape, 1.0, *corner, turn * math.pi / 2)
    found = street_map(OccupancyInput(np.rot90(upright.data, turn).copy(), turned, "map"), CONFIG)
    assert found.grid == straight
    np.testing.assert_array_equal(found.buildings, upright.data == 100)


@pytest.mark.parametrize("resolution", [0.1, 0.25, 1.0])
@pytest.mark.parametrize("degrees", [17.0, -125.0])
def test_a_turned_map_lands_where_it_is(resolution, degrees):
    yaw = math.radians(degrees)
    side = round(80 / resolution)
    middle = np.array([17.0, 32.0])
    half = 40 * math.sqrt(2)
    corner = middle + half * np.array([math.cos(yaw - 3 * math.pi / 4), math.sin(yaw - 3 * math.pi / 4)])
    source = drawn(Grid(side, side, resolution, *corner, yaw))
    found = street_map(source, dataclasses.replace(CONFIG, occupied_cells="centre"))
    wrong = (found.heights_m > 0) != true_building(found.grid)
    rim = 2 * (EAST - WEST + NORTH - SOUTH) * resolution  # half a source cell of doubt on either side of the outline
    assert wrong.sum() * found.grid.resolution**2 <= rim / 2 + 1
    x, y = found.grid.centre_mesh()
    on_map = source.grid.contains(x, y)
    assert found.covered[on_map].all()
    assert (found.covered & ~on_map).mean() < 0.005  # cells on the rim with their centre outside
    assert not (true_building(found.buildings_grid) & ~found.buildings).sum() > rim / 2


def test_half_a_metre_off_the_lattice_what_is_occupied_wins():
    data = np.zeros((20, 20), np.int8)
    data[10, 10] = 100  # x, y from 10.5 to 11.5
    found = street_map(OccupancyInput(data, Grid(20, 20, 1.0, 0.5, 0.5), "map"), CONFIG)
    np.testing.assert_array_equal(np.argwhere(found.buildings), [[10, 10], [10, 11], [11, 10], [11, 11]])
    assert (found.heights_m > 0).sum() * found.grid.resolution**2 == 1.0  # the walls stay where they are


@pytest.mark.parametrize("resolution", [0.25, 0.26, 0.3, 0.35])
@pytest.mark.parametrize("degrees", [10.0, 45.0])
def test_no_cell_of_a_turned_map_falls_between_the_cells_of_the_raster(resolution, degrees):
    """Each is there, or has what is beside it for it."""
    data = np.zeros((30, 30), np.int8)
    data[::3, ::3] = 100
    source = Grid(30, 30, resolution, 5.1, 7.3, math.radians(degrees))
    found = street_map(OccupancyInput(data, source, "map"), CONFIG)
    built = cv2.dilate(found.heights_m, np.ones((3, 3), np.uint8)) > 0
    assert built[found.grid.cells(*source.centres(*np.nonzero(data)))].all()
    assert (found.buildings[found.buildings_grid.cells(*source.centres(*np.nonzero(data)))]).all()


@pytest.mark.parametrize("occupied_cells", ["touched", "centre"])
@pytest.mark.parametrize(
    ("resolution", "degrees", "east"),
    [(0.05, 0, 0.0), (0.05, 17, 0.0), (0.2, 17, 0.0), (1, 17, 0.0), (1, 0, 0.3), (0.6, 0, 0.0)],
)
def test_walls_stand_where_they_stand_in_the_map(resolution, degrees, east, occupied_cells):
    """A block of 18 by 12 m, turned against the cells, is neither thicker nor thinner for what the cells say of it."""
    size = round(40 / resolution)
    source = Grid(size, size, resolution, -8 + east, -12, math.radians(degrees))
    touched = occupied_cells == "touched"
    parts = max(2, round(10 * resolution)) if touched else 1
    x, y = Grid(size * parts, size * parts, resolution / parts).centre_mesh()
    x, y, angle = x - 20.3, y - 19.8, math.radians(20)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    built = ((abs(along) < 9) & (abs(across) < 6)).reshape(size, parts, size, parts).any((1, 3))
    config = dataclasses.replace(CONFIG, occupied_cells=occupied_cells)
    found = street_map(OccupancyInput(np.where(built, 100, 0).astype(np.int8), source, "map"), config)
    assert found.grid.resolution == 0.25
    assert (found.heights_m > 0).sum() / 16 == pytest.approx(18 * 12, rel=0.05)


def test_negative_origins_and_cells_of_two_metres():
    data = np.zeros((30, 30), np.int8)
    data[3, 7] = 100
    found = street_map(OccupancyInput(data, Grid(30, 30, 2.0, -100.0, -60.0), "map"), CONFIG)
    rows, cols = np.nonzero(found.buildings)
    x, y = found.buildings_grid.centres(rows, cols)
    assert sorted(zip(x, y, strict=True)) == [(-85.5, -53.5), (-85.5, -52.5), (-84.5, -53.5), (-84.5, -52.5)]


def test_the_threshold_says_what_is_occupied():
    data = np.array([[-1, 0, 49, 50, 100]], np.int8)
    source = OccupancyInput(data, Grid(5, 1), "map")
    found = street_map(source, MapperConfig(occupied_threshold=50))
    np.testing.assert_array_equal(found.buildings, [[False, False, False, True, True]])
    np.testing.assert_array_equal(found.covered, [[False, True, True, True, True]])
    assert street_map(source, CONFIG).buildings.sum() == 1


def walls(gap: bool) -> OccupancyInput:
    """What a robot draws of a house from the street: walls around cells that it never saw, and a free court."""
    data = np.zeros((20, 20), np.int8)
    data[5:15, 5:15] = 100
    data[6:14, 6:14] = -1
    data[9:11, 9:11] = 0
    data[8:12, 8:12] = np.where(data[8:12, 8:12] == -1, 100, data[8:12, 8:12])
    if gap:
        data[5, 10] = -1
    return OccupancyInput(data, Grid(20, 20), "map")


def test_fill_enclosed_fills_what_no_free_cell_reaches():
    filled = MapperConfig(fill_enclosed=True)
    house = np.zeros((20, 20), bool)
    house[5:15, 5:15] = True
    house[9:11, 9:11] = False
    np.testing.assert_array_equal(street_map(walls(gap=False), filled).buildings, house)
    assert street_map(walls(gap=False), CONFIG).buildings.sum() < house.sum()
    np.testing.assert_array_equal(street_map(walls(gap=True), filled).buildings, walls(gap=True).data == 100)


def test_walls_that_touch_only_at_corners_enclose():
    data = np.zeros((9, 9), np.int8)
    for k in range(5):
        data[4 - k, k] = data[4 - k, 8 - k] = data[4 + k, k] = data[4 + k, 8 - k] = 100
    diamond = np.abs(np.arange(9) - 4)[:, None] + np.abs(np.arange(9) - 4) < 4
    data[diamond] = -1
    assert (
        street_map(OccupancyInput(data, Grid(9, 9), "map"), MapperConfig(fill_enclosed=True)).buildings[diamond].all()
    )


def test_a_map_without_any_free_cell_is_not_filled():
    data = np.full((9, 9), -1, np.int8)
    data[4, 4] = 100
    assert street_map(OccupancyInput(data, Grid(9, 9), "map"), MapperConfig(fill_enclosed=True)).buildings.sum() == 1


# --- with a height map: it covers x, y from 10 to 30 of a map of 40 x 40 m -------------------------------------------


@pytest.fixture(scope="module")
def mixed():
    occupancy = np.zeros((40, 40), np.int8)
    occupancy[12:16, 12:16] = 100  # known to the height map, there a little smaller
    occupancy[20:24, 20:24] = 100  # on the height map's ground, yet unknown to it
    occupancy[34:38, 2:6] = 100  # outside the height map
    occupancy[26, 26] = -1  # the height map has a building here
    occupancy[28, 28] = occupancy[2, 2] = -1  # the height map has free ground here, and nothing there
    heights = np.zeros((80, 80), np.float32)
    heights[9:23, 9:23] = 7.5  # 12.25 to 15.75
    heights[64:68, 64:68] = 11.0  # 26 to 27
    heights[40, 4] = 4.0  # a mast of 0.25 m that the grid calls free
    height_map = HeightMap(heights, Grid(80, 80, 0.25, 10.0, 10.0))
    return street_map(OccupancyInput(occupancy, Grid(40, 40), "map"), CONFIG, height_map), height_map


def test_walls_take_the_resolution_and_the_outline_of_the_height_map(mixed):
    found, height_map = mixed
    assert found.grid == Grid(160, 160, 0.25)
    inside = found.heights_m[40:120, 40:120].copy()
    inside[40:56, 40:56] = 0  # the building it does not know
    np.testing.assert_array_equal(inside, height_map.heights_m)


def test_buildings_without_a_known_height_take_the_default(mixed):
    """Their walls stand within the outermost of the 1 m cells that they touch."""
    found, _ = mixed
    for south, west in ((80, 80), (136, 8)):
        assert (found.heights_m[south + 2 : south + 14, west + 2 : west + 14] == 25.0).all()
        assert not found.heights_m[south, west : west + 16].any()
    assert 2 * 12 * 12 < (found.heights_m == 25.0).sum() <= 2 * 14 * 14


def test_cells_without_value_follow_the_grid_where_it_says_something(mixed):
    found, _ = mixed
    expected = np.zeros((40, 40), bool)
    for south, west in ((12, 12), (20, 20), (34, 2)):
        expected[south : south + 4, west : west + 4] = True
    expected[26, 26] = True  # unknown to the grid, so the height map decides
    np.testing.assert_array_equal(found.buildings, expected)


def test_unknown_is_what_neither_map_knows(mixed):
    found, _ = mixed
    assert np.argwhere(~found.buildings_covered).tolist() == [[2, 2]]
    assert np.argwhere(~found.covered).min(0).tolist() == [8, 8]
    assert (~found.covered).sum() == 16


def test_a_height_map_beyond_the_grid_is_used_as_far_as_windows_see():
    occupancy = OccupancyInput(np.zeros((20, 20), np.int8), Grid(20, 20), "map")
    heights = np.full((10, 1000), 9.0, np.float32)
    found = street_map(occupancy, CONFIG, HeightMap(heights, Grid(1000, 10, 1.0, -500.0, 5.0)))
    assert (found.grid.origin_x, found.grid.width) == (-200.0, 420)
    assert found.buildings.sum() == 400 * 10


def test_a_fine_height_map_beyond_reach_does_not_wrap_around():
    occupancy = OccupancyInput(np.zeros((20, 20), np.int8), Grid(20, 20), "map")
    heights = np.zeros((50, 5000), np.float32)
    heights[:, :100] = 9.0  # far in the west
    found = street_map(occupancy, CONFIG, HeightMap(heights, Grid(5000, 50, 0.1, -500.0, 5.0)))
    assert not found.heights_m.any()


@pytest.mark.parametrize("yaw", [0.0, 0.4])
def test_cells_far_below_a_quarter_metre_cost_no_more_than_their_number(yaw):
    data = np.zeros((9, 9), np.int8)
    data[4, 4] = 100
    assert street_map(OccupancyInput(data, Grid(9, 9, 1e-6, 5.0, 5.0, yaw), "map"), CONFIG).buildings.sum() == 1


def test_a_far_height_map_changes_nothing():
    occupancy = drawn(Grid(50, 40))
    for resolution in (1.0, 0.25):
        far = HeightMap(np.ones((10, 10), np.float32), Grid(10, 10, resolution, 9000.0, 0.0))
        found = street_map(occupancy, CONFIG, far).heights_m
        np.testing.assert_array_equal(found, street_map(occupancy, CONFIG).heights_m)


def test_a_map_or_raster_beyond_the_limit_is_refused():
    source = drawn(Grid(50, 40))
    fine = HeightMap(np.zeros((4, 4), np.float32), Grid(4, 4, 0.25))
    limited = MapperConfig(map_max_cells=2000)
    assert street_map(source, limited).grid.shape == (40, 50)
    with pytest.raises(InputError, match=r"200 x 160 cells of 0\.25 m.*map_max_cells = 2000") as refused:
        street_map(source, limited, fine)
    assert refused.value.reason == "map_too_large"
    with pytest.raises(InputError, match="map has 50 x 40 cells") as refused:
        street_map(source, MapperConfig(map_max_cells=1999))
    assert refused.value.reason == "map_too_large"


def test_a_building_on_a_map_smaller_than_any_rounding_stays():
    data = np.full((3, 3), -1, np.int8)
    data[2, 2] = 100
    found = street_map(OccupancyInput(data, Grid(3, 3, 2.86e-6, 0.0, 0.0, math.pi / 2), "map"), CONFIG)
    assert found.buildings.sum() == 1 and found.heights_m.any()
