"""Clouds of measured power: every one is read as it was written, or refused for what is wrong with it."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from sensor_msgs.msg import PointCloud2, PointField

from rdflux_ros.mapping.inputs import InputError
from rdflux_ros.node import conversions
from rdflux_ros.node.fuzzing.property import Property
from rdflux_ros.node.fuzzing.wire import over_the_wire

NAMES = ("x", "y", "z", "rssi_dbm")
FLOATS = st.floats(width=32)


def cloud(columns: dict[str, list[float]], big_endian: bool = False, padding: int = 0) -> PointCloud2:
    """A cloud of float32 fields, with so many bytes of padding after each point."""
    order = ">f4" if big_endian else "<f4"
    rows = np.array(list(columns.values()), order).T.copy()
    packed = np.frombuffer(rows.tobytes(), np.uint8).reshape(len(rows), 4 * len(columns))
    data = np.concatenate([packed, np.zeros((len(rows), padding), np.uint8)], axis=1)
    message = PointCloud2(height=1, width=len(rows), is_bigendian=big_endian, point_step=4 * len(columns) + padding)
    message.row_step = message.point_step * message.width
    message.fields = [
        PointField(name=name, offset=4 * k, datatype=PointField.FLOAT32, count=1) for k, name in enumerate(columns)
    ]
    message.data = data.tobytes()
    return message


@st.composite
def written(draw: st.DrawFn) -> tuple[PointCloud2, dict[str, list[float]]]:
    """A good cloud, its fields in any order with others between, and what stands in it."""
    names = draw(st.permutations([*NAMES, "ring", "intensity"]))
    count = draw(st.integers(0, 5))
    columns = {name: draw(st.lists(FLOATS, min_size=count, max_size=count)) for name in names}
    return cloud(columns, draw(st.booleans()), draw(st.integers(0, 7))), columns


@st.composite
def damaged(draw: st.DrawFn) -> PointCloud2:
    """A cloud of which anything may be wrong."""
    message, _ = draw(written())
    for field in message.fields:
        if draw(st.integers(0, 4)) == 0:
            field.name = draw(st.sampled_from([*NAMES, "", "time"]))
            field.offset = draw(st.integers(0, 2**32 - 1) | st.integers(0, 40))
            field.datatype = draw(st.integers(0, 255))
            field.count = draw(st.integers(0, 3))
    if draw(st.booleans()):
        for name in ("height", "width", "point_step", "row_step"):
            if draw(st.booleans()):
                setattr(message, name, draw(st.integers(0, 40) | st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):
        message.data = message.data[: draw(st.integers(0, len(message.data)))]
    return message


def a_cloud_is_read_as_it_was_written(drawn: tuple[PointCloud2, dict[str, list[float]]]) -> None:
    """Whatever the order of its bytes and fields."""
    message, columns = drawn
    points, dbm = conversions.rssi_from_message(over_the_wire(message))
    expected = np.array([columns[name] for name in NAMES], np.float32).T.reshape(-1, 4)
    np.testing.assert_array_equal(np.column_stack([points, dbm]).astype(np.float32), expected)


def a_damaged_cloud_is_read_or_refused(message: PointCloud2) -> None:
    """As many points as it says, or one reason."""
    try:
        points, dbm = conversions.rssi_from_message(over_the_wire(message))
    except InputError as error:
        assert error.reason == "rssi_malformed" and str(error)
        return
    assert points.shape == (message.width * message.height, 3) and dbm.shape == (len(points),)


PROPERTIES = (
    Property("a cloud is read as it was written", written(), a_cloud_is_read_as_it_was_written),
    Property("a damaged cloud is read or refused", damaged(), a_damaged_cloud_is_read_or_refused),
)
