"""Poses and occupancy grids: what is usable comes through as it is, anything else is refused with a reason."""

import array
import math

import numpy as np
import pytest

from rdflux_ros.mapping.inputs import InputError, Pose, checked_occupancy, checked_pose
from rdflux_ros.radio.grid import Grid

NAN, INF = float("nan"), float("inf")
UPRIGHT = (0.0, 0.0, 0.0, 1.0)
GOOD = {
    "data": [0, 100, -1, 0, 50, 100],
    "width": 3,
    "height": 2,
    "resolution": 0.5,
    "origin_xyz": (1.0, -2.0, 0.0),
    "origin_quaternion": UPRIGHT,
    "frame_id": "map",
    "max_cells": 6,
}


def test_a_finite_pose_comes_through():
    assert checked_pose((1, 2.5, -3), UPRIGHT, 17) == Pose(1.0, 2.5, -3.0, 17)
    assert checked_pose((1, 2.5, -3), None, 17) == Pose(1.0, 2.5, -3.0, 17)
    assert checked_pose((1, 2.5, -3), (0, 0, 0.2, 0), 17)  # not of length one, yet it says something


@pytest.mark.parametrize(
    ("position", "orientation", "reason"),
    [
        ((NAN, 0, 0), UPRIGHT, "pose_not_finite"),
        ((0, 0, INF), None, "pose_not_finite"),
        ((0, 0, 0), (0, NAN, 0, 1), "pose_not_finite"),
        ((0, 0, 0), (0, 0, 0, 0), "pose_zero_quaternion"),
    ],
)
def test_a_bad_pose_is_refused_with_its_reason(position, orientation, reason):
    with pytest.raises(InputError) as refused:
        checked_pose(position, orientation, 0)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "kind", [list, np.array, lambda v: array.array("b", v), lambda v: array.array("b", v).tobytes()]
)
def test_cells_come_in_rows_from_the_south_west_corner_in_any_container(kind):
    found = checked_occupancy(**{**GOOD, "data": kind(GOOD["data"])})
    np.testing.assert_array_equal(found.data, [[0, 100, -1], [0, 50, 100]])
    assert found.data.dtype == np.int8
    assert (found.grid, found.frame_id) == (Grid(3, 2, 0.5, 1.0, -2.0, 0.0), "map")


def test_the_cells_are_a_copy():
    buffer = array.array("b", GOOD["data"])
    found = checked_occupancy(**{**GOOD, "data": buffer})
    buffer[0] = 77
    assert found.data[0, 0] == 0


def test_the_yaw_of_the_origin_counts_at_any_length_of_the_quaternion():
    yaw = math.radians(-130)
    turned = tuple(0.3 * value for value in (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)))
    assert checked_occupancy(**{**GOOD, "origin_quaternion": turned}).grid.yaw == pytest.approx(yaw)


def test_a_resolution_that_came_as_float32_is_meant_as_its_decimal():
    assert checked_occupancy(**{**GOOD, "resolution": float(np.float32(0.05))}).grid.resolution == 0.05
    assert checked_occupancy(**{**GOOD, "resolution": 1 / 3}).grid.resolution == 1 / 3


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        ({"data": [0] * 5}, "map_malformed", "5 cells of data for 3 x 2"),
        ({"data": []}, "map_malformed", "0 cells"),
        ({"data": [0, 300, 0, 0, 0, 0]}, "map_malformed", "int8"),
        ({"width": 0, "data": []}, "map_malformed", "0 x 2"),
        ({"resolution": 0.0}, "map_malformed", "resolution"),
        ({"resolution": -1.0}, "map_malformed", "resolution"),
        ({"resolution": 9e-7}, "map_malformed", "resolution"),
        ({"resolution": NAN}, "map_malformed", "resolution"),
        ({"resolution": INF}, "map_malformed", "resolution"),
        ({"origin_xyz": (0.0, NAN, 0.0)}, "map_malformed", "origin"),
        ({"origin_xyz": (0.0, 1e12, 0.0)}, "map_malformed", r"1e\+08 m"),
        ({"resolution": 1e9}, "map_malformed", r"1e\+08 m"),
        ({"origin_quaternion": (0.0, 0.0, INF, 1.0)}, "map_malformed", "origin"),
        ({"origin_quaternion": (0.0, 0.0, 0.0, 0.0)}, "map_malformed", "zero quaternion"),
        ({"origin_quaternion": (1.0, 0.0, 0.0, 0.0)}, "map_malformed", "tilted"),
        ({"frame_id": ""}, "map_malformed", "frame_id"),
        ({"max_cells": 5}, "map_too_large", "map_max_cells = 5"),
    ],
)
def test_a_malformed_map_is_refused_with_what_is_wrong(change, reason, says):
    with pytest.raises(InputError, match=says) as refused:
        checked_occupancy(**{**GOOD, **change})
    assert refused.value.reason == reason
