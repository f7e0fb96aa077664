"""Write the flight as a bag: the map once, latched, then the poses at 2 Hz, straight lines between those of poses.csv.

python examples/krems/make_bag.py [--storage mcap|sqlite3] [--hz 2] [--out examples/krems/flight]
"""

from __future__ import annotations

import argparse
import csv
import math
import shutil
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
TAKE_OFF_NS = 1_735_689_600 * 10**9
"""Stamp of t = 0: the start of 2025. Fixed, so that the bag is the same each time."""
MAP_LEAD_NS = 2 * 10**9
"""The map is there this long before the first pose [ns]."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "flight", help="folder of the bag (replaced)")
    parser.add_argument("--hz", type=float, default=2.0, help="poses a second")
    parser.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap")
    args = parser.parse_args(argv)

    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    sys.path.insert(0, str(HERE.parents[1]))
    from rdflux_ros.mapping.inputs import load_occupancy

    store = get_typestore(Stores.ROS2_HUMBLE)
    message = store.types
    occupancy = load_occupancy(HERE / "map.yaml")

    def header(stamp_ns: int):
        stamp = message["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        return message["std_msgs/msg/Header"](stamp=stamp, frame_id="map")

    def pose(x: float, y: float, z: float, yaw: float = 0.0):
        turn = message["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=math.sin(yaw / 2), w=math.cos(yaw / 2))
        point = message["geometry_msgs/msg/Point"](x=float(x), y=float(y), z=float(z))
        return message["geometry_msgs/msg/Pose"](position=point, orientation=turn)

    shutil.rmtree(args.out, ignore_errors=True)
    plugin = StoragePlugin.MCAP if args.storage == "mcap" else StoragePlugin.SQLITE3
    with Writer(args.out, version=9, storage_plugin=plugin) as writer:

        def topic(name: str, kind: str, **more):
            connection = writer.add_connection(name, kind, typestore=store, **more)
            return lambda at, content: writer.write(connection, at, store.serialize_cdr(content, kind))

        put_map = topic("/map", "nav_msgs/msg/OccupancyGrid", offered_qos_profiles=[latched()])
        put_pose = topic("/pose", "geometry_msgs/msg/PoseStamped")

        grid, map_stamp = occupancy.grid, TAKE_OFF_NS - MAP_LEAD_NS
        info = message["nav_msgs/msg/MapMetaData"](
            map_load_time=header(map_stamp).stamp,
            resolution=grid.resolution,
            width=grid.width,
            height=grid.height,
            origin=pose(grid.origin_x, grid.origin_y, 0.0, grid.yaw),
        )
        content = message["nav_msgs/msg/OccupancyGrid"](
            header=header(map_stamp), info=info, data=occupancy.data.ravel()
        )
        put_map(map_stamp, content)

        for t, x, y, z, yaw in flight(args.hz):
            stamp = TAKE_OFF_NS + round(t * 1e9)
            put_pose(stamp, message["geometry_msgs/msg/PoseStamped"](header=header(stamp), pose=pose(x, y, z, yaw)))
    return 0


def flight(hz: float):
    """(t [s], x, y, z [m], heading [rad]) at `hz` along the lines between the poses of poses.csv."""
    with (HERE / "poses.csv").open(newline="") as file:
        known = np.array([[float(row[key]) for key in ("t", "x", "y", "z")] for row in csv.DictReader(file)])
    times = np.arange(round((known[-1, 0] - known[0, 0]) * hz) + 1) / hz + known[0, 0]
    leg = np.clip(np.searchsorted(known[:, 0], times, side="right") - 1, 0, len(known) - 2)
    dx, dy = np.diff(known[:, 1])[leg], np.diff(known[:, 2])[leg]
    x, y, z = (np.interp(times, known[:, 0], known[:, column]) for column in (1, 2, 3))
    return zip(times, x, y, z, np.arctan2(dy, dx), strict=True)


def latched():
    """Reliable, transient local, depth 1: who subscribes late gets the map still."""
    from rosbags.interfaces import (
        Qos,
        QosDurability,
        QosHistory,
        QosLiveliness,
        QosReliability,
        QosTime,
    )

    never = QosTime(9223372036, 854775807)
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=1,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL,
        deadline=never,
        lifespan=never,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=never,
        avoid_ros_namespace_conventions=False,
    )


if __name__ == "__main__":
    sys.exit(main())
