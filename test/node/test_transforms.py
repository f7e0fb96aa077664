"""Moves between frames, and the frames of other systems: PX4's NED, grid_map's axes."""

from __future__ import annotations

import math
import sys
import types
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import Pose, TransformStamped
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from std_msgs.msg import Header

from rdflux_ros.mapping.inputs import InputError
from rdflux_ros.node import conversions
from rdflux_ros.node.transforms import FrameError, Frames, Move
from rdflux_ros.radio.grid import Grid
from rdflux_ros.radio.radio_map import RadioMap, Transmitter

QUARTER_LEFT = (0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5))


def header(frame: str, stamp_ns: int = 0) -> Header:
    return Header(frame_id=frame, stamp=conversions.stamp_from_ns(stamp_ns))


def test_a_move_turns_then_shifts() -> None:
    move = Move(QUARTER_LEFT, (10.0, 20.0, 1.0))
    np.testing.assert_allclose(move.points((1.0, 2.0, 3.0)), (8.0, 21.0, 4.0))
    np.testing.assert_allclose(move.points(np.zeros((2, 3))), [(10.0, 20.0, 1.0)] * 2)
    np.testing.assert_allclose(move.orientation(QUARTER_LEFT), (0.0, 0.0, 1.0, 0.0), atol=1e-12)
    np.testing.assert_allclose(move.orientation((1.0, 0.0, 0.0, 0.0)), (math.sqrt(0.5), math.sqrt(0.5), 0.0, 0.0))


class Buffer:
    """What tf2_ros offers of a Buffer: one transform, known at one time."""

    def __init__(self, known_ns: int) -> None:
        self.known_ns = known_ns

    def lookup_transform(self, target: str, source: str, time: Any) -> TransformStamped:
        if source != "odom" or time.nanoseconds not in (0, self.known_ns):
            raise LookupError(f"{source} at {time.nanoseconds}")
        found = TransformStamped(header=header(target, self.known_ns))
        found.transform.translation.x = 5.0
        return found


def test_a_transform_that_lags_a_little_is_taken_and_an_old_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """tf2_ros is not to be had here, so that what it is asked stands in for it."""
    buffer = Buffer(known_ns=10_000_000_000)
    stand_in = types.ModuleType("tf2_ros")
    stand_in.Buffer, stand_in.TransformListener = lambda: buffer, lambda *_: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tf2_ros", stand_in)
    frames = Frames(SimpleNamespace())  # type: ignore[arg-type]
    for stamp_ns in (10_000_000_000, 10_300_000_000):
        move = frames.into("map", header("odom", stamp_ns))
        assert move is not None and move.points((0.0, 0.0, 0.0)).tolist() == [5.0, 0.0, 0.0]
    assert frames.into("map", header("map")) is None
    for frame, stamp_ns in (("odom", 12_000_000_000), ("elsewhere", 10_000_000_000)):
        with pytest.raises(FrameError, match=f"'{frame}' is not connected to 'map'"):
            frames.into("map", header(frame, stamp_ns))


def px4(**changes: Any) -> SimpleNamespace:
    values = {"pose_frame": 1, "position": [30.0, 40.0, -25.0], "timestamp_sample": 7_000_001, "reset_counter": 3}
    return SimpleNamespace(**{**values, **changes})


def test_px4_is_north_east_down() -> None:
    pose, resets = conversions.pose_from_px4(px4(), "map")
    assert (pose.x, pose.y, pose.z, pose.stamp_ns, resets) == (40.0, 30.0, 25.0, 7_000_001_000, 3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"position": [math.nan, 0.0, 0.0]}, "pose_not_finite"), ({"pose_frame": 2}, "frame_not_connected")],
)
def test_px4_without_a_position_in_the_world_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError) as refused:
        conversions.pose_from_px4(px4(**changes), "map")
    assert refused.value.reason == reason


GRID_MAP = {
    "grid_map_msgs/msg/GridMapInfo": (
        "float64 resolution\nfloat64 length_x\nfloat64 length_y\ngeometry_msgs/Pose pose\n"
    ),
    "grid_map_msgs/msg/GridMap": (
        "std_msgs/Header header\ngrid_map_msgs/GridMapInfo info\nstring[] layers\nstring[] basic_layers\n"
        "std_msgs/Float32MultiArray[] data\nuint16 outer_start_index\nuint16 inner_start_index\n"
    ),
}


def test_grid_map_has_its_centre_and_its_axes_where_grid_map_looks_for_them() -> None:
    """The fields are those of grid_map_msgs; reading goes as grid_map's own documentation says."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    for name, text in GRID_MAP.items():
        store.register(get_types_from_msg(text, name))
    fields = {entry[0] for entry in store.fielddefs["grid_map_msgs/msg/GridMap"][1]}
    grid = Grid(6, 4, 1.0, 100.0, 50.0)
    pathloss = np.arange(24, dtype=np.float32).reshape(4, 6)
    pathloss[1, 4] = 999.0
    answer = RadioMap(pathloss, grid, Transmitter(0.0, 0.0, 1.0), stamp_ns=3)
    empty = SimpleNamespace(info=SimpleNamespace(pose=Pose()))
    message = conversions.grid_map_message(answer, {"pathloss_db": pathloss}, empty)
    assert set(vars(message)) <= fields
    assert (message.info.length_x, message.info.length_y, message.info.resolution) == (6.0, 4.0, 1.0)
    centre = message.info.pose.position
    assert (centre.x, centre.y) == (103.0, 52.0)
    layout, data = message.data[0].layout.dim, np.array(message.data[0].data)
    assert [(dim.label, dim.size) for dim in layout] == [("column_index", 4), ("row_index", 6)]
    matrix = data.reshape(
        layout[1].size, layout[0].size, order="F"
    )  # column-major; rows run against x, columns against y
    row, col = np.unravel_index(matrix.argmax(), matrix.shape)
    x = centre.x + message.info.length_x / 2 - (row + 0.5)
    y = centre.y + message.info.length_y / 2 - (col + 0.5)
    assert (x, y) == grid.centres(1, 4)
