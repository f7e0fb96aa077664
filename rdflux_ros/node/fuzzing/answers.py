"""Answers: whatever a radio map holds, a subscriber reads the same cells at the same places."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rdflux_ros.node import conversions
from rdflux_ros.node.fuzzing.property import Property
from rdflux_ros.node.fuzzing.strategies import ANY_SINGLE, FRAMES, STAMPS_NS, grids
from rdflux_ros.node.fuzzing.wire import over_the_wire
from rdflux_ros.radio.grid import Grid
from rdflux_ros.radio.radio_map import RadioMap, Transmitter
from rdflux_ros.radio.units import occupancy_from_pathloss, pathloss_from_occupancy

BEST_DB, STEP_DB, FLOOR_DB = 47.84, 0.9916, 147.0
"""As the README has them."""
PATHLOSS = st.floats(40.0, 150.0, width=32) | st.just(math.nan) | ANY_SINGLE
NAMES = st.sampled_from(["flux", "physics", "physics_fallback"])


@st.composite
def radio_maps(draw: st.DrawFn) -> RadioMap:
    """Answers on any grid with any values."""
    grid = draw(grids(side=6))
    finite = st.floats(-1e6, 1e6)
    return RadioMap(
        pathloss_db=draw(arrays.arrays(np.float32, grid.shape, elements=PATHLOSS)),
        grid=grid,
        transmitter=Transmitter(draw(finite), draw(finite), draw(finite)),
        stamp_ns=draw(STAMPS_NS),
        frame_id=draw(FRAMES),
        method=draw(NAMES),
        region=draw(st.tuples(st.integers(), st.integers())),
        cache=draw(st.sampled_from(["hit", "miss", "approximate"])),
        extrapolated=draw(st.booleans()),
        fallback=draw(st.sampled_from(["", "midpoint not ready", "the network's answer is not finite"])),
        reuse_ratio=draw(st.none() | st.floats(0.0, 0.99)),
        latency_ms=draw(st.dictionaries(st.sampled_from(["total", "physics", "network"]), st.floats(0.0, 1e6))),
    )


@st.composite
def peaks(draw: st.DrawFn) -> tuple[RadioMap, int, int]:
    """An answer at the floor with one good cell at (row, col)."""
    grid = draw(grids(side=9))
    row, col = draw(st.integers(0, grid.height - 1)), draw(st.integers(0, grid.width - 1))
    pathloss = np.full(grid.shape, FLOOR_DB, np.float32)
    pathloss[row, col] = 60.0
    return RadioMap(pathloss, grid, Transmitter(0.0, 0.0, 30.0), 0), row, col


def cell(pathloss_db: float) -> set[int]:
    """What a cell's int8 may be: two neighbours where rounding may go either way."""
    if math.isnan(pathloss_db):
        return {-1}
    steps = min(max((pathloss_db - BEST_DB) / STEP_DB, 0.0), 100.0)
    return {math.floor(steps + half) for half in (0.5 - 1e-4, 0.5 + 1e-4)}


def read_as_written(answer: RadioMap) -> None:
    """Every cell of every layer, and one header."""
    message = over_the_wire(conversions.occupancy_message(answer))
    cells, grid = conversions.grid_from_message(message)
    assert cells.dtype == np.int8 and cells.shape == answer.pathloss_db.shape == grid.shape
    for found, pathloss in zip(cells.ravel().tolist(), answer.pathloss_db.ravel().tolist(), strict=True):
        assert found in cell(pathloss)
    assert (grid.origin_x, grid.origin_y) == (answer.grid.origin_x, answer.grid.origin_y)
    assert math.isclose(grid.resolution, answer.grid.resolution, rel_tol=1e-7)
    assert abs(math.remainder(grid.yaw - answer.grid.yaw, 2 * math.pi)) < 1e-9

    image = over_the_wire(conversions.pathloss_message(answer))
    np.testing.assert_array_equal(conversions.pathloss_from_message(image), answer.pathloss_db)
    color = over_the_wire(conversions.color_message(answer))
    pixels = np.frombuffer(color.data, np.uint8).reshape(color.height, color.width, 3)
    dark = (pixels == conversions.NO_VALUE_COLOR).all(-1)
    np.testing.assert_array_equal(dark, np.isnan(answer.pathloss_db)[::-1])
    status = over_the_wire(conversions.status_message(answer))
    assert all(pair.key for pair in status.status[0].values)
    for layer in (message, image, color, status):
        assert conversions.ns_from_stamp(layer.header.stamp) == answer.stamp_ns
        assert layer.header.frame_id == answer.frame_id


def peak_is_where_it_was(drawn: tuple[RadioMap, int, int]) -> None:
    """The cell over whose centre the answer is good is the cell that a reader finds there, by own trigonometry."""
    answer, row, col = drawn
    at = _centre(answer.grid, row, col)
    message = over_the_wire(conversions.occupancy_message(answer))
    info = message.info
    turn = complex(info.origin.orientation.w, -info.origin.orientation.z) ** 2
    way = (at - complex(info.origin.position.x, info.origin.position.y)) * turn / info.resolution
    assert message.data[math.floor(way.imag) * info.width + math.floor(way.real)] == 12
    assert sum(value == 12 for value in message.data) == 1
    image = conversions.pathloss_from_message(over_the_wire(conversions.pathloss_message(answer)))
    assert np.argwhere(image == 60.0).tolist() == [[row, col]]
    color: Any = np.frombuffer(conversions.color_message(answer).data, np.uint8).reshape(*answer.grid.shape, 3)
    green = color[..., 1].astype(int)
    assert np.unravel_index(green.argmax(), green.shape) == (answer.grid.height - 1 - row, col)


def _centre(grid: Grid, row: int, col: int) -> complex:
    turn = complex(math.cos(grid.yaw), math.sin(grid.yaw))
    return complex(grid.origin_x, grid.origin_y) + complex(col + 0.5, row + 0.5) * grid.resolution * turn


def int8_and_back(pathloss_db: float) -> None:
    """Half a step at most between the floor and the best; -1 for NaN alone; what is read is written again as it was."""
    (value,) = occupancy_from_pathloss([pathloss_db]).tolist()
    (back,) = pathloss_from_occupancy([value]).tolist()
    assert (value == -1) == math.isnan(pathloss_db) == math.isnan(back)
    if value >= 0:
        assert abs(back - min(max(pathloss_db, BEST_DB), FLOOR_DB)) <= STEP_DB / 2 + 1e-4
    assert occupancy_from_pathloss([back]).tolist() == [value]


PROPERTIES = (
    Property("an answer is read as written", radio_maps(), read_as_written, share=2.0),
    Property("an answer's peak is where it was", peaks(), peak_is_where_it_was),
    Property("int8 and back", PATHLOSS, int8_and_back),
)
