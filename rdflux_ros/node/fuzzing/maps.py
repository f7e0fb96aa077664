"""Occupancy grids: refused with a reason, or every cell of the raster of streets is as the map has it."""

from __future__ import annotations

import array
import math

import numpy as np
from hypothesis import strategies as st
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray

from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.mapping.inputs import HeightMap, InputError, OccupancyInput, StreetMap, street_map
from rdflux_ros.mapping.regions import crop, footprint, height_at, nearest_region
from rdflux_ros.node import conversions
from rdflux_ros.node.fuzzing import rasters
from rdflux_ros.node.fuzzing.property import Property
from rdflux_ros.node.fuzzing.strategies import (
    ANY_FLOAT,
    ANY_QUATERNIONS,
    ANY_SINGLE,
    FRAMES,
    RESOLUTIONS,
    grids,
    upright,
)
from rdflux_ros.node.fuzzing.wire import over_the_wire
from rdflux_ros.propagation.sharpening import COARSE_M, FARTHEST_CORNER
from rdflux_ros.radio.grid import Grid

MAX_CELLS = 100_000
SIDES = st.integers(0, 5) | st.integers(0, 2**32 - 1)
CELLS = st.sampled_from([-1, 0, 100]) | st.integers(-128, 127)
CONFIGS = st.builds(
    MapperConfig,
    occupied_threshold=st.sampled_from([1, 50, 65, 100]),
    unknown_is=st.sampled_from(["free", "occupied"]),
    occupied_cells=st.sampled_from(["touched", "centre"]),
    fill_enclosed=st.booleans(),
    building_height_m=st.sampled_from([2.0, 25.0]),
)
HEIGHT_RESOLUTIONS = st.sampled_from([0.2, 0.25, 0.5, 1.0, 1.7])
FREE, OCCUPIED, UNKNOWN = 1, 2, 0


@st.composite
def map_messages(draw: st.DrawFn) -> OccupancyGrid:
    """Maps of which anything may be wrong, or nothing."""
    message = OccupancyGrid()
    message.header.frame_id = draw(FRAMES)
    info = message.info
    info.width, info.height = draw(SIDES), draw(SIDES)
    info.resolution = draw(RESOLUTIONS | ANY_SINGLE)
    point, turn = info.origin.position, info.origin.orientation
    point.x, point.y, point.z = draw(st.just((0.0, 0.0, 0.0)) | st.tuples(*[ANY_FLOAT] * 3))
    turn.x, turn.y, turn.z, turn.w = draw(st.just(upright(0.0)) | ANY_QUATERNIONS)
    fitting = info.width * info.height
    count = fitting if fitting <= 25 and draw(st.booleans()) else draw(st.integers(0, 25))
    message.data = array.array("b", draw(st.lists(CELLS, min_size=count, max_size=count)))
    return message


@st.composite
def occupancies(draw: st.DrawFn, side: int = 7) -> OccupancyInput:
    """Maps with nothing wrong."""
    grid = draw(grids(side))
    data = draw(st.lists(CELLS, min_size=grid.width * grid.height, max_size=grid.width * grid.height))
    return OccupancyInput(np.array(data, np.int8).reshape(grid.shape), grid, "map")


@st.composite
def towns(draw: st.DrawFn) -> tuple[OccupancyInput, MapperConfig, HeightMap | None]:
    """A map, settings, and perhaps a height map that lies near it."""
    occupancy = draw(occupancies())
    if draw(st.booleans()):
        return occupancy, draw(CONFIGS), None
    grid, near = occupancy.grid, st.integers(-5, 5)
    rows, cols = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    yaw = draw(st.sampled_from([0.0, 0.3]))
    place = Grid(cols, rows, draw(HEIGHT_RESOLUTIONS), grid.origin_x + draw(near), grid.origin_y + draw(near), yaw)
    heights = draw(st.lists(st.sampled_from([0.0, 4.0, 11.5]), min_size=rows * cols, max_size=rows * cols))
    return occupancy, draw(CONFIGS), HeightMap(np.array(heights, np.float32).reshape(rows, cols), place)


@st.composite
def peaks(draw: st.DrawFn) -> tuple[OccupancyGrid, int, int]:
    """A free map of any place, turn and resolution, with one building cell at (row, col)."""
    grid = draw(grids(side=9))
    row, col = draw(st.integers(0, grid.height - 1)), draw(st.integers(0, grid.width - 1))
    cells = np.zeros(grid.shape, np.int8)
    cells[row, col] = 100
    message = OccupancyGrid()
    message.header.frame_id = "map"
    info = message.info
    info.width, info.height, info.resolution = grid.width, grid.height, grid.resolution
    info.origin.position.x, info.origin.position.y = grid.origin_x, grid.origin_y
    turn = info.origin.orientation
    turn.x, turn.y, turn.z, turn.w = upright(grid.yaw)
    message.data = array.array("b", cells.tobytes())
    return message, row, col


def faults(message: OccupancyGrid, max_cells: int) -> set[str]:
    """Every reason for which this map may be refused."""
    info, found = message.info, set()
    point, turn = info.origin.position, info.origin.orientation
    numbers = (point.x, point.y, point.z, turn.x, turn.y, turn.z, turn.w)
    if info.width * info.height > max_cells:
        found.add("map_too_large")
    sound = message.header.frame_id and info.width and info.height and len(message.data) == info.width * info.height
    if not sound or not (info.resolution >= 1e-6 and math.isfinite(info.resolution)):
        found.add("map_malformed")
    length = math.hypot(turn.x, turn.y, turn.z, turn.w)
    tilted = math.hypot(turn.x, turn.y) > 0.0088 * length  # by more than a degree
    far = max(abs(point.x), abs(point.y)) + max(info.width, info.height) * info.resolution > 1e8
    if not all(map(math.isfinite, numbers)) or length < 1e-6 or tilted or far:
        found.add("map_malformed")
    return found


def used_as_sent_or_refused(message: OccupancyGrid) -> None:
    """What `on_map` and the worker do with a message."""
    message = over_the_wire(message)
    expected = faults(message, MAX_CELLS)
    try:
        occupancy = conversions.occupancy_from_message(message, MAX_CELLS)
    except InputError as error:
        tilted = "tilted" in str(error)
        assert error.reason in expected or tilted, (str(error), expected)
        assert "\n" not in str(error)
        return
    assert not expected
    assert occupancy.data.ravel().tolist() == list(message.data)
    assert occupancy.data.shape == (message.info.height, message.info.width)
    assert occupancy.frame_id == message.header.frame_id
    config = MapperConfig(map_max_cells=MAX_CELLS)
    try:
        streets = street_map(occupancy, config)
    except InputError as error:
        assert error.reason in ("map_too_large", "map_malformed")
    else:
        assert streets.heights_m.shape == streets.covered.shape == streets.grid.shape
        assert (occupancy.data >= config.occupied_threshold).any() == streets.buildings.any() == streets.heights_m.any()


def every_cell_is_as_the_map_has_it(drawn: tuple[OccupancyInput, MapperConfig, HeightMap | None]) -> None:
    """Heights, covered cells and the 1 m cells without value against `rasters`.

    Where the raster's cells are not the map's own, heights follow their walls: see `walls_stand_by_occupied_cells`.
    """
    occupancy, config, height_map = drawn
    found = street_map(occupancy, config, height_map)
    grid = found.grid
    _check_raster(found, occupancy.grid)
    own = _are_walls_its_own(occupancy.grid, grid)
    state, doubtful = rasters.resampled(_state(occupancy, config), occupancy.grid, grid, UNKNOWN)
    heights = np.where(state == OCCUPIED, np.float32(config.building_height_m), np.float32(0.0))
    covered = state != UNKNOWN
    buildings, per_metre = state == OCCUPIED, round(1 / grid.resolution)
    metres, metres_covered = rasters.blocks(buildings, per_metre), rasters.blocks(covered, per_metre)
    if height_map is not None:
        known, unsure = rasters.resampled(height_map.heights_m, height_map.grid, grid, -1.0)
        if (doubtful | unsure).any():  # a cell in doubt may join two buildings, or give one its height
            return
        metres |= rasters.blocks(known > 0, per_metre) & ~metres_covered
        metres_covered |= rasters.blocks(known >= 0, per_metre)
        covered |= known >= 0
        mixed = np.where(known >= 0, known, heights)
        for group in rasters.groups(buildings):
            rows, cols = np.array(group).T
            if not (known[rows, cols] > 0).any():
                mixed[rows, cols] = config.building_height_m
        heights = mixed
    sure, sure_metres = ~doubtful, ~rasters.blocks(doubtful, per_metre)
    if own:
        np.testing.assert_array_equal(found.heights_m[sure], heights[sure])
    np.testing.assert_array_equal(found.covered[sure], covered[sure])
    np.testing.assert_array_equal(found.buildings[sure_metres], metres[sure_metres])
    np.testing.assert_array_equal(found.buildings_covered[sure_metres], metres_covered[sure_metres])


def walls_stand_by_occupied_cells(drawn: tuple[OccupancyInput, MapperConfig, HeightMap | None]) -> None:
    """Without a height map: nothing stands far from an occupied cell, and none is far from what stands."""
    occupancy, config, _ = drawn
    found = street_map(occupancy, config)
    occupied = rasters.centres(occupancy.grid)[_state(occupancy, config) == OCCUPIED]
    built = rasters.centres(found.grid)[found.heights_m > 0]
    assert bool(built.size) == bool(occupied.size)
    if built.size:
        apart = np.abs(built[:, None] - occupied[None, :])
        cells = math.sqrt(0.5) * (occupancy.grid.resolution + found.grid.resolution) + 1e-6
        drawn_again = occupancy.grid.resolution >= COARSE_M
        assert apart.min(axis=1).max() <= cells + (FARTHEST_CORNER if drawn_again else 0.0)
        assert apart.min(axis=0).max() <= cells + (2 * FARTHEST_CORNER if drawn_again else 2 * found.grid.resolution)


def _are_walls_its_own(source: Grid, raster: Grid) -> bool:
    """The raster's cells are the map's, or parts of them."""
    turned = abs(math.remainder(source.yaw, math.pi / 2)) * max(source.width, source.height) > 0.05
    finer = source.resolution < raster.resolution * (1 - 1e-6)
    return not (turned or finer or source.resolution >= COARSE_M > raster.resolution)


def _state(occupancy: OccupancyInput, config: MapperConfig) -> NDArray[np.uint8]:
    data = occupancy.data.astype(int)
    occupied, known = data >= config.occupied_threshold, data >= 0
    if config.fill_enclosed and (known & ~occupied).any():
        occupied = ~rasters.reached(~occupied, known & ~occupied)
        known = known | occupied
    return np.where(occupied, OCCUPIED, np.where(known, FREE, UNKNOWN)).astype(np.uint8)


def _check_raster(streets: StreetMap, source: Grid) -> None:
    """On the map frame's metres, around the whole map, the same for cells and walls."""
    grid, metres = streets.grid, streets.buildings_grid
    assert 1 / grid.resolution in (1, 2, 3, 4) and metres.resolution == 1.0
    assert grid.origin_x == round(grid.origin_x) == metres.origin_x
    assert grid.origin_y == round(grid.origin_y) == metres.origin_y
    assert grid.width * grid.resolution == metres.width and grid.height * grid.resolution == metres.height
    corners = np.array([0, source.width, 1j * source.height, source.width + 1j * source.height]) * source.resolution
    corners = corners * np.exp(1j * source.yaw) + complex(source.origin_x, source.origin_y)
    low, high = complex(grid.origin_x, grid.origin_y), complex(metres.width, metres.height)
    inside = corners - low
    assert min(inside.real.min(), inside.imag.min()) > -2e-3
    assert (high.real - inside.real.max(), high.imag - inside.imag.max()) > (-2e-3, -2e-3)


def a_window_shows_the_raster(drawn: tuple[OccupancyInput, MapperConfig, HeightMap | None]) -> None:
    """What the raster has, and `unknown_is` where the map says nothing; at some of the window's cells."""
    occupancy, config, height_map = drawn
    streets = street_map(occupancy, config, height_map)
    extent = streets.grid
    region = nearest_region(extent.origin_x, extent.origin_y)
    heights, cells = crop(streets, region, config), footprint(streets, region, config)
    unknown = config.building_height_m if config.unknown_is == "occupied" else 0.0
    x, y = region.centre
    step = extent.resolution
    for k in range(40):
        px = extent.origin_x + (k * 7 % (extent.width + 8) - 3.5) * step
        py = extent.origin_y + (k * 11 % (extent.height + 8) - 3.5) * step
        row, col = math.floor((py - y + 152.0) / step), math.floor((px - x + 152.0) / step)
        if 0 <= row < heights.shape[0] and 0 <= col < heights.shape[1]:
            assert heights[row, col] == height_at(streets, px, py, config)
        own_row, own_col = math.floor(py) - round(extent.origin_y), math.floor(px) - round(extent.origin_x)
        there = 0 <= own_row < streets.buildings.shape[0] and 0 <= own_col < streets.buildings.shape[1]
        known = there and streets.buildings_covered[own_row, own_col]
        expected = bool(streets.buildings[own_row, own_col]) if known else unknown > 0
        row, col = math.floor(py) - y + 128, math.floor(px) - x + 128
        if 0 <= row < 256 and 0 <= col < 256:
            assert cells[row, col] == expected


def one_building_cell_lands_where_it_is(drawn: tuple[OccupancyGrid, int, int]) -> None:
    """What is occupied wins: a single cell never vanishes, and nothing is built where it is not."""
    message, row, col = drawn
    message = over_the_wire(message)
    occupancy = conversions.occupancy_from_message(message, MAX_CELLS)
    streets = street_map(occupancy, MapperConfig())
    info = message.info
    turn = complex(info.origin.orientation.w, info.origin.orientation.z) ** 2
    resolution = occupancy.grid.resolution
    corner = complex(info.origin.position.x, info.origin.position.y)
    at = corner + complex(col + 0.5, row + 0.5) * resolution * turn
    for cells, grid in ((streets.heights_m > 0, streets.grid), (streets.buildings, streets.buildings_grid)):
        far = np.abs(rasters.centres(grid)[cells] - at)
        assert far.size, "the building has vanished"
        assert far.max() <= (resolution + grid.resolution) * math.sqrt(0.5) + 1e-6
        assert far.min() <= max(grid.resolution * math.sqrt(0.5), resolution / 2) + 1e-6


PROPERTIES = (
    Property("a map is used as sent or refused", map_messages(), used_as_sent_or_refused, share=2.0),
    Property("every cell is as the map has it", towns(), every_cell_is_as_the_map_has_it),
    Property("walls stand by occupied cells", towns(), walls_stand_by_occupied_cells, share=0.5),
    Property("a window shows the raster", towns(), a_window_shows_the_raster, share=0.5),
    Property("one building cell lands where it is", peaks(), one_building_cell_lands_where_it_is, share=2.0),
)
