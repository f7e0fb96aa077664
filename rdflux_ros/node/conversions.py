"""Messages to arrays and back. Arrays are [row, col] with row 0 in the south; only `color_image` has north up."""

from __future__ import annotations

import array
import math
from functools import cache

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Point, PoseStamped, Quaternion
from nav_msgs.msg import OccupancyGrid, Odometry
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from rdflux_ros.mapping.inputs import OccupancyInput, checked_occupancy
from rdflux_ros.radio.grid import Grid
from rdflux_ros.radio.radio_map import MIDPOINT_PENDING, RadioMap
from rdflux_ros.radio.units import grey_from_gain, occupancy_from_pathloss

NANOSECONDS = 1_000_000_000
NO_VALUE_COLOR = (64, 64, 64)
"""rgb of a cell without pathloss."""


def ns_from_stamp(stamp: Time) -> int:
    """Time message to nanoseconds."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def stamp_from_ns(stamp_ns: int) -> Time:
    """Nanoseconds to a Time message."""
    sec, nanosec = divmod(stamp_ns, NANOSECONDS)
    return Time(sec=sec, nanosec=nanosec)


def occupancy_from_message(message: OccupancyGrid, max_cells: int) -> OccupancyInput:
    """A map that is fit for use.

    Raises
    ------
    rdflux_ros.mapping.inputs.InputError
        The map is malformed or has more than `max_cells` cells.
    """
    info, origin = message.info, message.info.origin
    return checked_occupancy(
        np.frombuffer(message.data, np.int8) if len(message.data) else np.empty(0, np.int8),
        info.width,
        info.height,
        info.resolution,
        (origin.position.x, origin.position.y, origin.position.z),
        (origin.orientation.x, origin.orientation.y, origin.orientation.z, origin.orientation.w),
        message.header.frame_id,
        max_cells,
    )


def position_and_orientation(message: PoseStamped | Odometry) -> tuple[Point, Quaternion]:
    """Where the transmitter is, in the frame that the message's header names."""
    pose = message.pose.pose if isinstance(message, Odometry) else message.pose
    return pose.position, pose.orientation


def header(radio_map: RadioMap) -> Header:
    """The header that all layers of one answer share: the pose's stamp."""
    return Header(stamp=stamp_from_ns(radio_map.stamp_ns), frame_id=radio_map.frame_id)


def occupancy_message(radio_map: RadioMap) -> OccupancyGrid:
    """The answer as int8 (see `units.occupancy_from_pathloss`)."""
    grid = radio_map.grid
    message = OccupancyGrid(header=header(radio_map))
    message.info.map_load_time = message.header.stamp
    message.info.width, message.info.height = grid.width, grid.height
    message.info.resolution = grid.resolution
    message.info.origin.position.x, message.info.origin.position.y = grid.origin_x, grid.origin_y
    message.info.origin.orientation.z = math.sin(grid.yaw / 2)
    message.info.origin.orientation.w = math.cos(grid.yaw / 2)
    # An array('b') is taken over as it is; a list or an ndarray is checked value by value, which takes milliseconds.
    message.data = array.array("b", occupancy_from_pathloss(radio_map.pathloss_db).tobytes())
    return message


def pathloss_message(radio_map: RadioMap) -> Image:
    """The answer as 32FC1 [dB], NaN where there is no value, row 0 = south."""
    return _image(radio_map, "32FC1", np.asarray(radio_map.pathloss_db, "<f4"))


def color_message(radio_map: RadioMap) -> Image:
    """The answer as rgb8 to look at: bright is good, grey has no value, north up."""
    grey = np.rint(255.0 * grey_from_gain(-radio_map.pathloss_db)).astype(np.uint8)
    color = _palette()[grey]
    color[np.isnan(radio_map.pathloss_db)] = NO_VALUE_COLOR
    return _image(radio_map, "rgb8", color[::-1])


def status_message(radio_map: RadioMap, **more: object) -> DiagnosticArray:
    """How the answer was found, stamped as its map."""
    values: dict[str, object] = {
        "method": radio_map.method,
        "region": "{},{}".format(*radio_map.region),
        "midpoint": radio_map.cache,
        "extrapolated": radio_map.extrapolated,
        **({"fallback": radio_map.fallback} if radio_map.fallback else {}),
        **({} if radio_map.reuse_ratio is None else {"reuse_ratio": f"{radio_map.reuse_ratio:g}"}),
        "transmitter": "{:.3f},{:.3f},{:.3f}".format(*_xyz(radio_map)),
        **{f"latency_ms.{part}": f"{value:.3f}" for part, value in radio_map.latency_ms.items()},
        **more,
    }
    remarks = [radio_map.fallback, "height clamped" * radio_map.extrapolated]
    message = ", ".join([radio_map.method, *filter(None, remarks)])
    level = DiagnosticStatus.WARN if any(remarks) else DiagnosticStatus.OK
    if radio_map.fallback not in ("", MIDPOINT_PENDING):
        level = DiagnosticStatus.ERROR
    status = DiagnosticStatus(level=level, name="radio_map", message=message, values=key_values(values))
    return DiagnosticArray(header=header(radio_map), status=[status])


def key_values(values: dict[str, object]) -> list[KeyValue]:
    """Diagnostic values as strings; booleans in lower case as elsewhere in ROS."""
    return [
        KeyValue(key=key, value=str(value).lower() if isinstance(value, bool) else str(value))
        for key, value in values.items()
    ]


def grid_from_message(message: OccupancyGrid) -> tuple[NDArray[np.int8], Grid]:
    """Values [rows, cols] of a grid message and where they lie: what a reader of `radio_map` needs."""
    info = message.info
    turn = info.origin.orientation
    yaw = math.atan2(2 * (turn.w * turn.z + turn.x * turn.y), 1 - 2 * (turn.y**2 + turn.z**2))
    grid = Grid(info.width, info.height, info.resolution, info.origin.position.x, info.origin.position.y, yaw)
    return np.frombuffer(message.data, np.int8).reshape(grid.shape), grid


def pathloss_from_message(message: Image) -> NDArray[np.float32]:
    """[rows, cols] pathloss [dB] of a `radio_map/pathloss` message, row 0 = south."""
    values = np.frombuffer(message.data, ">f4" if message.is_bigendian else "<f4")
    return values.reshape(message.height, message.width).astype(np.float32)


def _image(radio_map: RadioMap, encoding: str, pixels: NDArray[np.generic]) -> Image:
    rows, cols = pixels.shape[:2]
    return Image(
        header=header(radio_map),
        height=rows,
        width=cols,
        encoding=encoding,
        is_bigendian=0,
        step=pixels[0].nbytes,
        data=array.array("B", pixels.tobytes()),
    )


def _xyz(radio_map: RadioMap) -> tuple[float, float, float]:
    return radio_map.transmitter.x, radio_map.transmitter.y, radio_map.transmitter.z


@cache
def _palette() -> NDArray[np.uint8]:
    """[256, 3] rgb of a grey value."""
    bgr = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_VIRIDIS)
    return np.asarray(bgr[:, 0, ::-1], np.uint8)
