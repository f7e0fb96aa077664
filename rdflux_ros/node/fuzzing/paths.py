"""Planned paths and users: each pose is used or told apart, each user is looked up in the cell where he stands."""

from __future__ import annotations

import math

import numpy as np
from geometry_msgs.msg import Pose as PoseMessage
from geometry_msgs.msg import PoseArray, PoseStamped
from hypothesis import strategies as st

from rdflux_ros.mapping.inputs import InputError, Pose
from rdflux_ros.mapping.path import thinned, users_pathloss
from rdflux_ros.mapping.regions import points_along
from rdflux_ros.node import conversions
from rdflux_ros.node.fuzzing.answers import radio_maps
from rdflux_ros.node.fuzzing.property import Property
from rdflux_ros.node.fuzzing.strategies import ANY_FLOAT, COORDINATES
from rdflux_ros.node.fuzzing.wire import over_the_wire
from rdflux_ros.radio.radio_map import RadioMap

POINTS = st.tuples(ANY_FLOAT, ANY_FLOAT, ANY_FLOAT) | st.tuples(COORDINATES, COORDINATES, st.floats(0.0, 200.0))
LINES = st.tuples(
    st.lists(st.tuples(COORDINATES, COORDINATES), min_size=1, max_size=6),
    st.tuples(COORDINATES, COORDINATES),
    st.floats(0.1, 2000.0),
)


def a_path_pose_is_used_or_told_apart(point: tuple[float, float, float]) -> None:
    """Its orientation may be empty."""
    message = PoseStamped()
    message.pose.position.x, message.pose.position.y, message.pose.position.z = point
    found = conversions.path_pose(over_the_wire(message))
    if all(map(math.isfinite, point)):
        assert isinstance(found, Pose) and (found.x, found.y, found.z) == point
    else:
        assert isinstance(found, InputError) and found.reason == "pose_not_finite"


def a_path_is_thinned_evenly(drawn: tuple[int, int]) -> None:
    """Never more than asked for, in order, both ends kept, no gap twice as long as another plus rounding."""
    count, most = drawn
    found = thinned(count, most)
    assert len(found) == min(count, most) and found == sorted(set(found))
    if most >= 2 and count >= 2:
        gaps = np.diff(found)
        assert (found[0], found[-1]) == (0, count - 1) and gaps.max() - gaps.min() <= 1


def the_way_ahead_is_as_long_as_asked_for(
    drawn: tuple[list[tuple[float, float]], tuple[float, float], float],
) -> None:
    """From where the drone is to the path and along it, at most `reach` of it."""
    path, (x, y), reach = drawn
    way = points_along(np.array(path, float), x, y, reach)
    assert (way[0] == (x, y)).all() and np.isfinite(way).all()
    along = float(np.hypot(*np.diff(way[1:], axis=0).T).sum())
    whole = float(np.hypot(*np.diff(np.array(path, float), axis=0).T).sum())
    assert along <= min(reach, whole) * (1 + 1e-9) + 1e-6


@st.composite
def crowds(draw: st.DrawFn) -> tuple[RadioMap, PoseArray]:
    """An answer and users on it, beside it, or nowhere."""
    answer = draw(radio_maps())
    grid, message = answer.grid, PoseArray()
    near = st.tuples(st.floats(-2.0, grid.width + 2.0), st.floats(-2.0, grid.height + 2.0))
    for u, v in draw(st.lists(near, max_size=5)):
        one = PoseMessage()
        one.position.x, one.position.y = (float(value) for value in grid.centres(v - 0.5, u - 0.5))
        message.poses.append(one)
    for x in draw(st.lists(ANY_FLOAT, max_size=2)):
        one = PoseMessage()
        one.position.x = x
        message.poses.append(one)
    return answer, message


def a_user_has_the_pathloss_of_his_cell(drawn: tuple[RadioMap, PoseArray]) -> None:
    """NaN beyond the grid and in buildings."""
    answer, message = drawn
    users = conversions.users_from_message(over_the_wire(message))
    assert users.shape == (len(message.poses), 2)
    for (x, y), found in zip(users, users_pathloss(answer, users), strict=True):
        if not (math.isfinite(x) and math.isfinite(y)):
            assert math.isnan(found)
            continue
        row, col = (int(index) for index in answer.grid.cells(x, y))
        inside = 0 <= row < answer.grid.height and 0 <= col < answer.grid.width
        expected = answer.pathloss_db[row, col] if inside else math.nan
        assert found == expected or (math.isnan(found) and math.isnan(expected))


PROPERTIES = (
    Property("a path pose is used or told apart", POINTS, a_path_pose_is_used_or_told_apart),
    Property(
        "a path is thinned evenly", st.tuples(st.integers(0, 3000), st.integers(1, 200)), a_path_is_thinned_evenly
    ),
    Property("the way ahead is as long as asked for", LINES, the_way_ahead_is_as_long_as_asked_for),
    Property("a user has the pathloss of his cell", crowds(), a_user_has_the_pathloss_of_his_cell),
)
