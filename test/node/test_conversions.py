"""One off-diagonal peak through every conversion: no axis is swapped or flipped on the way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from nav_msgs.msg import OccupancyGrid

from rdflux_ros.mapping.inputs import InputError
from rdflux_ros.node import conversions
from rdflux_ros.radio.grid import Grid
from rdflux_ros.radio.radio_map import RadioMap, Transmitter

ROW, COL = 3, 10
STAMP = 12 * 10**9 + 345_678_901


@pytest.fixture
def answer() -> RadioMap:
    """12 rows, 20 columns at the floor; one good cell at (3, 10), one without value north of it."""
    pathloss = np.full((12, 20), 147.0, np.float32)
    pathloss[ROW, COL] = 60.0
    pathloss[ROW + 1, COL] = np.nan
    grid = Grid(20, 12, 1.0, -64.0, 128.0)
    return RadioMap(pathloss, grid, Transmitter(-53.5, 131.5, 30.0), STAMP, region=(-1, 2), latency_ms={"total": 1.25})


def test_occupancy_grid(answer: RadioMap) -> None:
    message = conversions.occupancy_message(answer)
    assert (message.header.stamp, message.header.frame_id) == (Time(sec=12, nanosec=345_678_901), "map")
    assert message.data[ROW * 20 + COL] == round((60.0 - 47.84) / 0.9916) == min(v for v in message.data if v >= 0)
    assert message.data[(ROW + 1) * 20 + COL] == -1 == min(message.data)
    assert message.data[0] == 100
    # as a planner reads it: metres through the origin
    info = message.info
    col, row = (int((p - o) / info.resolution) for p, o in ((-53.5, info.origin.position.x), (131.5, 128.0)))
    assert message.data[row * info.width + col] == 12
    cells, grid = conversions.grid_from_message(message)
    assert grid == answer.grid and np.argwhere(cells == 12).tolist() == [[ROW, COL]]


def test_pathloss_image(answer: RadioMap) -> None:
    message = conversions.pathloss_message(answer)
    assert (message.height, message.width, message.step, message.encoding) == (12, 20, 80, "32FC1")
    np.testing.assert_array_equal(conversions.pathloss_from_message(message), answer.pathloss_db)


def test_color_image_has_north_up(answer: RadioMap) -> None:
    message = conversions.color_message(answer)
    assert (message.height, message.width, message.step, message.encoding) == (12, 20, 60, "rgb8")
    color = np.frombuffer(message.data, np.uint8).reshape(12, 20, 3)
    brightness = color.astype(int).sum(-1)
    assert np.unravel_index(brightness.argmax(), brightness.shape) == (11 - ROW, COL)
    assert tuple(color[11 - ROW - 1, COL]) == conversions.NO_VALUE_COLOR
    assert color[0, 0, 2] > color[0, 0, 1]  # the floor is violet, so red and blue are not swapped
    assert color[11 - ROW, COL, 1] > color[11 - ROW, COL, 2]  # and the peak is green to yellow


def test_status(answer: RadioMap) -> None:
    message = conversions.status_message(answer)
    shown = {item.key: item.value for item in message.status[0].values}
    assert conversions.ns_from_stamp(message.header.stamp) == STAMP
    assert (shown["region"], shown["latency_ms.total"], shown["midpoint"]) == ("-1,2", "1.250", "miss")


def test_a_turned_map_comes_in_as_it_is() -> None:
    message = OccupancyGrid()
    message.header.frame_id = "map"
    message.info.width, message.info.height, message.info.resolution = 20, 12, 0.5
    message.info.origin.position.x = 3.0
    message.info.origin.orientation.z, message.info.origin.orientation.w = math.sin(0.3), math.cos(0.3)
    cells = np.zeros((12, 20), np.int8)
    cells[ROW, COL], cells[ROW + 1, COL] = 100, -1
    message.data = cells.ravel().tolist()
    occupancy = conversions.occupancy_from_message(message, 1000)
    np.testing.assert_array_equal(occupancy.data, cells)
    assert occupancy.grid == Grid(20, 12, 0.5, 3.0, 0.0, pytest.approx(0.6))
    with pytest.raises(InputError, match="map_max_cells"):
        conversions.occupancy_from_message(message, 100)


@pytest.mark.parametrize("stamp", [0, 1, 10**9 - 1, 10**9, 1_700_000_000_123_456_789])
def test_stamps_survive(stamp: int) -> None:
    assert conversions.ns_from_stamp(conversions.stamp_from_ns(stamp)) == stamp
