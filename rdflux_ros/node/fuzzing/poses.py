"""Poses: those that can be used come through as they are, each other one is refused with its reason."""

from __future__ import annotations

import math
from typing import Any

from geometry_msgs.msg import PoseStamped
from hypothesis import strategies as st
from nav_msgs.msg import Odometry

from rdflux_ros.mapping.inputs import InputError
from rdflux_ros.mapping.regions import RegionTracker
from rdflux_ros.node import conversions
from rdflux_ros.node.fuzzing.property import Property
from rdflux_ros.node.fuzzing.strategies import ANY_FLOAT, ANY_QUATERNIONS, COORDINATES, STAMPS, STAMPS_NS
from rdflux_ros.node.fuzzing.wire import over_the_wire

POSITIONS = st.tuples(ANY_FLOAT, ANY_FLOAT, ANY_FLOAT) | st.tuples(COORDINATES, COORDINATES, st.floats(0.0, 200.0))
TRACKS = st.lists(st.tuples(COORDINATES, COORDINATES), min_size=1, max_size=12)


@st.composite
def pose_messages(draw: st.DrawFn) -> PoseStamped | Odometry:
    """PoseStamped or Odometry with any numbers in it."""
    message: Any = draw(st.sampled_from([PoseStamped, Odometry]))()
    pose = message.pose.pose if isinstance(message, Odometry) else message.pose
    pose.position.x, pose.position.y, pose.position.z = draw(POSITIONS)
    turn = pose.orientation
    turn.x, turn.y, turn.z, turn.w = draw(ANY_QUATERNIONS)
    message.header.stamp.sec, message.header.stamp.nanosec = draw(STAMPS)
    return message


def used_as_sent_or_refused(message: PoseStamped | Odometry) -> None:
    """What `on_pose` does with a message whose frame is the map's."""
    message = over_the_wire(message)
    pose_of = message.pose.pose if isinstance(message, Odometry) else message.pose
    position, turn = pose_of.position, pose_of.orientation
    xyz, quaternion = (position.x, position.y, position.z), (turn.x, turn.y, turn.z, turn.w)
    stamp_ns = conversions.ns_from_stamp(message.header.stamp)
    expected = ""
    if not all(map(math.isfinite, (*xyz, *quaternion))):
        expected = "pose_not_finite"
    elif math.hypot(*quaternion) < 1e-6:
        expected = "pose_zero_quaternion"
    try:
        pose = conversions.pose_from_message(message)
    except InputError as error:
        assert error.reason == expected and "\n" not in str(error)
    else:
        assert not expected
        assert (pose.x, pose.y, pose.z, pose.stamp_ns) == (*xyz, stamp_ns)
        answered = conversions.ns_from_stamp(over_the_wire(conversions.stamp_from_ns(stamp_ns)))
        assert answered == stamp_ns, "an answer carries its pose's stamp"


def stamps_survive(stamp_ns: int) -> None:
    """Nanoseconds to a message and back."""
    assert conversions.ns_from_stamp(over_the_wire(conversions.stamp_from_ns(stamp_ns))) == stamp_ns


def every_answer_reaches_80_m(track: list[tuple[float, float]]) -> None:
    """However a track jumps, its window has 80 m to each side, and its centre is on the lattice."""
    tracker = RegionTracker()
    for x, y in track:
        region = tracker.update(x, y)
        grid = region.grid
        assert region.centre == (64 * region.i, 64 * region.j)
        reach = (x - grid.origin_x, grid.origin_x + 256 - x, y - grid.origin_y, grid.origin_y + 256 - y)
        assert min(reach) >= 80.0


PROPERTIES = (
    Property("a pose is used as sent or refused", pose_messages(), used_as_sent_or_refused, share=2.0),
    Property("stamps survive", STAMPS_NS, stamps_survive),
    Property("every answer reaches 80 m", TRACKS, every_answer_reaches_80_m),
)
