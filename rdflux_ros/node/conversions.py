"""Messages to arrays and back. Arrays are [row, col] with row 0 in the south; only `color_image` has north up."""

from __future__ import annotations

import array
import math
from functools import cache
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseArray, PoseStamped
from nav_msgs.msg import OccupancyGrid, Odometry
from numpy.typing import NDArray
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Float32MultiArray, Header, MultiArrayDimension

from rdflux_ros.mapping.inputs import InputError, OccupancyInput, Pose, checked_occupancy, checked_pose
from rdflux_ros.mapping.path import AlongPath
from rdflux_ros.node.transforms import Move
from rdflux_ros.radio.grid import Grid
from rdflux_ros.radio.radio_map import MIDPOINT_PENDING, RadioMap
from rdflux_ros.radio.units import NO_VALUE, grey_from_gain, occupancy_from_pathloss

NANOSECONDS = 1_000_000_000
MOST_SECONDS = 2**31
"""What a stamp cannot hold."""
ALONG_PATH = ("x", "y", "z", "coverage", "mean_pathloss_db", "worst_user_db")
"""Fields of `radio_map/along_path`."""
PX4_NED = 1
"""px4_msgs/VehicleOdometry.POSE_FRAME_NED."""
NO_VALUE_COLOR = (64, 64, 64)
"""rgb of a cell without pathloss."""


def ns_from_stamp(stamp: Time) -> int:
    """Time message to nanoseconds."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def stamp_from_ns(stamp_ns: int) -> Time:
    """Nanoseconds to a Time message."""
    sec, nanosec = divmod(stamp_ns, NANOSECONDS)
    return Time(sec=sec, nanosec=nanosec)


def occupancy_from_message(message: OccupancyGrid, max_cells: int, move: Move | None = None) -> OccupancyInput:
    """A map that is fit for use; its origin moved into another frame by `move`.

    Raises
    ------
    rdflux_ros.mapping.inputs.InputError
        The map is malformed or has more than `max_cells` cells.
    """
    info, origin = message.info, message.info.origin
    if move is not None:
        origin = move.pose(origin)
    if message.header.stamp.nanosec >= NANOSECONDS:
        raise InputError("map_malformed", f"malformed map: stamp has {message.header.stamp.nanosec} nanoseconds")
    return checked_occupancy(
        np.frombuffer(message.data, np.int8) if len(message.data) else np.empty(0, np.int8),
        info.width,
        info.height,
        info.resolution,
        (origin.position.x, origin.position.y, origin.position.z),
        (origin.orientation.x, origin.orientation.y, origin.orientation.z, origin.orientation.w),
        message.header.frame_id,
        max_cells,
        ns_from_stamp(message.header.stamp),
    )


def pose_from_message(message: PoseStamped | Odometry, move: Move | None = None) -> Pose:
    """Where the transmitter is, moved into the map's frame by `move`.

    Raises
    ------
    rdflux_ros.mapping.inputs.InputError
        ``pose_not_finite``, ``pose_zero_quaternion``; ``pose_stamp`` whose nanoseconds make a second or more.
    """
    if message.header.stamp.nanosec >= NANOSECONDS:
        raise InputError("pose_stamp", f"stamp of the pose has {message.header.stamp.nanosec} nanoseconds")
    pose = message.pose.pose if isinstance(message, Odometry) else message.pose
    at, turn = pose.position, pose.orientation
    stamp_ns = ns_from_stamp(message.header.stamp)
    checked = checked_pose((at.x, at.y, at.z), (turn.x, turn.y, turn.z, turn.w), stamp_ns)
    return checked if move is None else Pose(*moved((at.x, at.y, at.z), move), stamp_ns)


def path_pose(message: PoseStamped, move: Move | None = None) -> Pose | InputError:
    """A pose of a path, whose orientation planners often leave empty; why it is none where it is none."""
    at = message.pose.position
    try:
        pose = checked_pose((at.x, at.y, at.z), None, ns_from_stamp(message.header.stamp))
    except InputError as error:
        return error
    return pose if move is None else Pose(*moved((at.x, at.y, at.z), move), pose.stamp_ns)


def users_from_message(message: PoseArray, move: Move | None = None) -> NDArray[np.float64]:
    """Ground users as x, y [N, 2] [m]; those that are not finite are left as they are and lie in no window."""
    points = np.array([(p.position.x, p.position.y, p.position.z) for p in message.poses], float).reshape(-1, 3)
    return (points if move is None else move.points(points))[:, :2]


def rssi_from_message(
    message: PointCloud2, move: Move | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where power was received, x, y, z [N, 3] [m], and how much [N] [dBm].

    Raises
    ------
    rdflux_ros.mapping.inputs.InputError
        ``rssi_malformed``: the fields x, y, z, rssi_dbm are not all there as single float32, or the data does not hold
        what the fields say.
    """
    try:
        columns = points_from_message(message)
    except (ValueError, MemoryError) as error:
        raise InputError("rssi_malformed", str(error)) from error
    if missing := [name for name in ("x", "y", "z", "rssi_dbm") if name not in columns]:
        raise InputError("rssi_malformed", f"cloud without the float32 field {', '.join(missing)}")
    points = np.column_stack([columns[name] for name in "xyz"]).astype(np.float64)
    return (points if move is None else move.points(points)), columns["rssi_dbm"].astype(np.float64)


def moved(point: tuple[float, float, float], move: Move) -> tuple[float, float, float]:
    """A point [m] in another frame."""
    x, y, z = move.points(point)
    return float(x), float(y), float(z)


def header(radio_map: RadioMap) -> Header:
    """The header that all layers of one answer share: the pose's stamp."""
    return Header(stamp=stamp_from_ns(radio_map.stamp_ns), frame_id=radio_map.frame_id)


def occupancy_message(radio_map: RadioMap) -> OccupancyGrid:
    """The answer as int8 (see `units.occupancy_from_pathloss`)."""
    return _grid_message(radio_map, occupancy_from_pathloss(radio_map.pathloss_db))


def coverage_message(radio_map: RadioMap, covered: NDArray[np.bool_]) -> OccupancyGrid:
    """100 where a cell is covered, 0 where it is not, -1 where it has no value."""
    values = np.where(np.isnan(radio_map.pathloss_db), NO_VALUE, np.where(covered, 100, 0))
    return _grid_message(radio_map, values.astype(np.int8))


def server_message(radio_map: RadioMap) -> OccupancyGrid:
    """The number of the strongest transmitter at each cell, -1 where there is no value."""
    assert radio_map.server is not None
    return _grid_message(radio_map, radio_map.server)


def _grid_message(radio_map: RadioMap, values: NDArray[np.int8]) -> OccupancyGrid:
    """int8 values [rows, cols] on the answer's grid."""
    grid = radio_map.grid
    message = OccupancyGrid(header=header(radio_map))
    message.info.map_load_time = message.header.stamp
    message.info.width, message.info.height = grid.width, grid.height
    message.info.resolution = grid.resolution
    message.info.origin.position.x, message.info.origin.position.y = grid.origin_x, grid.origin_y
    message.info.origin.orientation.z = math.sin(grid.yaw / 2)
    message.info.origin.orientation.w = math.cos(grid.yaw / 2)
    # An array('b') is taken over as it is; a list or an ndarray is checked value by value, which takes milliseconds.
    message.data = array.array("b", values.tobytes())
    return message


def pathloss_message(radio_map: RadioMap) -> Image:
    """The answer as 32FC1 [dB], NaN where there is no value, row 0 = south."""
    return _image(radio_map, "32FC1", np.asarray(radio_map.pathloss_db, "<f4"))


def stddev_message(radio_map: RadioMap) -> Image:
    """How far off each cell may be [dB], 32FC1, row 0 = south; the answer must have it."""
    assert radio_map.stddev_db is not None
    return _image(radio_map, "32FC1", radio_map.stddev_db.astype("<f4"))


def color_message(radio_map: RadioMap) -> Image:
    """The answer as rgb8 to look at: bright is good, grey has no value, north up."""
    return _image(radio_map, "rgb8", colors(radio_map.pathloss_db)[::-1])


def colors(pathloss_db: NDArray[np.float32]) -> NDArray[np.uint8]:
    """rgb of pathloss [dB], [..., 3]."""
    color = _palette()[np.rint(255.0 * grey_from_gain(-pathloss_db)).astype(np.uint8)]
    color[np.isnan(pathloss_db)] = NO_VALUE_COLOR
    return color


def along_path_message(found: AlongPath, header: Header) -> PointCloud2:
    """Figures along a path, one point for each of its poses: `ALONG_PATH` as float32, NaN where there is none."""
    places = np.array([(pose.x, pose.y, pose.z) for pose in found.poses], np.float32).reshape(-1, 3)
    figures = np.stack([found.coverage, found.mean_pathloss_db, found.worst_user_db], axis=1)
    points = np.concatenate([places, figures], axis=1).astype("<f4")
    size = points.itemsize
    return PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=[
            PointField(name=name, offset=size * k, datatype=PointField.FLOAT32, count=1)
            for k, name in enumerate(ALONG_PATH)
        ],
        is_bigendian=False,
        point_step=size * len(ALONG_PATH),
        row_step=size * points.size,
        is_dense=bool(np.isfinite(points).all()),
        data=array.array("B", points.tobytes()),
    )


def grid_map_message(radio_map: RadioMap, layers: dict[str, NDArray], message: Any) -> Any:
    """Fill a grid_map_msgs/GridMap: its pose is the centre, its first row and column are in the north-east.

    Parameters
    ----------
    layers
        [rows, cols] by name, row 0 = south.
    message
        An empty GridMap; the arrays in it are made of its own classes.
    """
    grid = radio_map.grid
    message.header = header(radio_map)
    message.info.resolution = float(grid.resolution)
    # grid_map counts its rows against x and its columns against y
    message.info.length_x, message.info.length_y = grid.width * grid.resolution, grid.height * grid.resolution
    x, y = grid.centres(grid.height / 2 - 0.5, grid.width / 2 - 0.5)
    message.info.pose.position.x, message.info.pose.position.y = float(x), float(y)
    message.info.pose.orientation.w = 1.0
    message.layers, message.basic_layers = list(layers), []
    message.data = [_multi_array(np.asarray(values, "<f4")) for values in layers.values()]
    return message


def _multi_array(values: NDArray[np.float32]) -> Float32MultiArray:
    """[rows, cols] with row 0 = south as grid_map stores it: column-major, both axes turned round."""
    rows, cols = values.shape  # grid_map's columns and rows
    found = Float32MultiArray()
    found.layout.dim = [
        MultiArrayDimension(label="column_index", size=rows, stride=rows * cols),
        MultiArrayDimension(label="row_index", size=cols, stride=cols),
    ]
    found.data = array.array("f", values[::-1, ::-1].tobytes())
    return found


def pose_from_px4(message: Any, frame_id: str) -> tuple[Pose, int]:
    """The position of a px4_msgs/VehicleOdometry (NED) in ENU, and its reset counter; the map's frame is its origin's.

    Raises
    ------
    rdflux_ros.mapping.inputs.InputError
        ``pose_not_finite``; ``frame_not_connected`` where the pose is in no NED frame.
    """
    if message.pose_frame != PX4_NED:
        raise InputError(
            "frame_not_connected", f"pose_frame = {message.pose_frame}, not NED; the map is in '{frame_id}'"
        )
    if message.timestamp_sample >= MOST_SECONDS * 1_000_000:
        raise InputError("pose_stamp", f"timestamp_sample = {message.timestamp_sample} is beyond any stamp")
    north, east, down = (float(value) for value in message.position)
    return checked_pose((east, north, -down), None, 1000 * int(message.timestamp_sample)), int(message.reset_counter)


def status_message(radio_map: RadioMap, **more: object) -> DiagnosticArray:
    """How the answer was found, stamped as its map."""
    values: dict[str, object] = {
        "method": radio_map.method,
        "region": "{},{}".format(*radio_map.region),
        "midpoint": radio_map.cache,
        "extrapolated": radio_map.extrapolated,
        "obstacles": radio_map.obstacles,
        **({"rssi_measurements": radio_map.rssi_measurements} if radio_map.rssi_measurements else {}),
        **({"servers": ",".join(radio_map.servers)} if radio_map.server is not None else {}),
        **({"fallback": radio_map.fallback} if radio_map.fallback else {}),
        **({} if radio_map.reuse_ratio is None else {"reuse_ratio": f"{radio_map.reuse_ratio:g}"}),
        "transmitter": "{:.3f},{:.3f},{:.3f}".format(*_xyz(radio_map)),
        **{f"latency_ms.{part}": f"{value:.3f}" for part, value in radio_map.latency_ms.items()},
        **more,
    }
    remarks = [
        radio_map.fallback,
        "height clamped" * radio_map.extrapolated,
        "obstacles outdated" * (radio_map.obstacles == "outdated"),
    ]
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


def points_from_message(message: PointCloud2) -> dict[str, NDArray[np.float32]]:
    """The float32 fields of a cloud by name, [points] each.

    Raises
    ------
    ValueError
        The data does not hold what the fields say.
    """
    fields = [f for f in message.fields if f.datatype == PointField.FLOAT32 and f.count == 1]
    if message.height * message.row_step != len(message.data) or message.row_step < message.width * message.point_step:
        raise ValueError(f"cloud of {message.width} x {message.height} points with {len(message.data)} bytes of data")
    layout = np.dtype(
        {
            "names": [f.name for f in fields],
            "formats": [">f4" if message.is_bigendian else "<f4"] * len(fields),
            "offsets": [f.offset for f in fields],
            "itemsize": message.point_step,
        }
    )
    rows = np.asarray(message.data, np.uint8).reshape(message.height, message.row_step)
    packed = rows[:, : message.width * message.point_step].tobytes()
    points = np.frombuffer(packed, layout) if packed else np.empty(0, layout)
    return {f.name: points[f.name].astype(np.float32) for f in fields}


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
