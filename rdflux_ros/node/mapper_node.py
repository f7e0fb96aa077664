"""Executable `mapper`: the process around the lifecycle node `radio_mapper`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rdflux_ros.node.process import asks_for_help, spin
from rdflux_ros.node.signals import StopRequest, leave

if TYPE_CHECKING:
    from rdflux_ros.node.radio_mapper import RadioMapperNode

HELP = """\
usage: mapper [--help] [--ros-args -p NAME:=VALUE ... --params-file FILE -r FROM:=TO ...]

Radio maps for a moving base station: a ROS 2 lifecycle node that answers every pose over a map of the streets.

in   map                 nav_msgs/OccupancyGrid (or parameter map_yaml)
     pose | odom         geometry_msgs/PoseStamped | nav_msgs/Odometry (parameter pose_source; px4: vehicle_odometry)
     (parameter drones)  geometry_msgs/PoseStamped: poses of further transmitters
     dynamic_obstacles   nav_msgs/OccupancyGrid: vehicles; a hovering transmitter is answered again
     query               geometry_msgs/PoseStamped: a pose that a planner considers
     planned_path        nav_msgs/Path: answered as a whole, and prepared ahead
     users               geometry_msgs/PoseArray: ground users to serve
     rssi                sensor_msgs/PointCloud2 x y z rssi_dbm: measured power (parameter rssi_correction)
out  radio_map           nav_msgs/OccupancyGrid: 0 best .. 100 floor, -1 no value; dB = 47.84 + 0.9916 * value
     radio_map/pathloss  sensor_msgs/Image 32FC1, dB, NaN = no value, row 0 = south
     radio_map/coverage  nav_msgs/OccupancyGrid: 100 covered, 0 not, -1 no value; while subscribed
     radio_map/color     sensor_msgs/Image rgb8, north up, while subscribed
     radio_map/query     nav_msgs/OccupancyGrid, the answer to a query, stamped with it
     radio_map/along_path  sensor_msgs/PointCloud2: x y z coverage mean_pathloss_db worst_user_db
     radio_map/server    nav_msgs/OccupancyGrid: the strongest transmitter's number, with several (stations, drones)
     radio_map/stddev    sensor_msgs/Image 32FC1, dB: how far off each cell may be (parameter uncertainty)
     radio_map/grid_map  grid_map_msgs/GridMap, all layers, where it is installed
     radio_map/status    diagnostic_msgs/DiagnosticArray, how each map was found
     /diagnostics        diagnostic_msgs/DiagnosticArray, 1 Hz
srv  ~/get_radio_map     nav_msgs/GetMap: the last map
     ~/save_map, ~/clear_cache  std_srvs/Trigger

parameters (all in config/mapper.yaml):
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run until a signal or the context's end; the process ends with code 0 then, 2 where an argument was refused."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if asks_for_help(arguments):
        from rdflux_ros.node.parameters import as_help

        print(HELP + as_help(), end="")
        return 0
    code = spin("mapper", _node, arguments, StopRequest())
    leave(code)  # the worker may still be inside torch, which an ordinary exit would tear down under it


def _node() -> RadioMapperNode:
    from rdflux_ros.node.radio_mapper import RadioMapperNode

    return RadioMapperNode()


if __name__ == "__main__":
    sys.exit(main())
