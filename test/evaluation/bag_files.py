"""Small bags for tests, in both storages, written by rosbags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

START_NS = 1_700_000_000 * 10**9
STORE = get_typestore(Stores.ROS2_HUMBLE)
TYPES = STORE.types


def write_bag(
    path: Path,
    messages: Sequence[tuple[float, str, Any]],
    storage: str = "mcap",
) -> Path:
    """Write (time [s], topic, message) in their order."""
    plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connections: dict[str, Any] = {}
        for at, topic, message in messages:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(connections[topic], START_NS + round(at * 1e9), STORE.serialize_cdr(message, kind))
    return path


def header(at: float, frame: str = "map") -> Any:
    stamp_ns = START_NS + round(at * 1e9)
    stamp = TYPES["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return TYPES["std_msgs/msg/Header"](stamp=stamp, frame_id=frame)


def pose(x: float, y: float, z: float) -> Any:
    return TYPES["geometry_msgs/msg/Pose"](
        position=TYPES["geometry_msgs/msg/Point"](x=x, y=y, z=z),
        orientation=TYPES["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0),
    )


def pose_stamped(at: float, x: float, y: float, z: float, frame: str = "map") -> Any:
    return TYPES["geometry_msgs/msg/PoseStamped"](header=header(at, frame), pose=pose(x, y, z))


def odometry(at: float, x: float, y: float, z: float, frame: str = "map") -> Any:
    zero = TYPES["geometry_msgs/msg/Vector3"](x=0.0, y=0.0, z=0.0)
    twist = TYPES["geometry_msgs/msg/Twist"](linear=zero, angular=zero)
    return TYPES["nav_msgs/msg/Odometry"](
        header=header(at, frame),
        child_frame_id="base_link",
        pose=TYPES["geometry_msgs/msg/PoseWithCovariance"](pose=pose(x, y, z), covariance=np.zeros(36)),
        twist=TYPES["geometry_msgs/msg/TwistWithCovariance"](twist=twist, covariance=np.zeros(36)),
    )


def occupancy(
    cells: np.ndarray, origin: tuple[float, float] = (0.0, 0.0), resolution: float = 1.0, frame: str = "map"
) -> Any:
    info = TYPES["nav_msgs/msg/MapMetaData"](
        map_load_time=header(0.0).stamp,
        resolution=resolution,
        width=cells.shape[1],
        height=cells.shape[0],
        origin=pose(*origin, 0.0),
    )
    return TYPES["nav_msgs/msg/OccupancyGrid"](header=header(0.0, frame), info=info, data=cells.astype(np.int8).ravel())
