"""Executable `view`: the process around the node `radio_map_view`, which shows the radio map in a browser."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from rdflux_ros.node.process import asks_for_help, spin
from rdflux_ros.node.signals import StopRequest, leave

if TYPE_CHECKING:
    from rdflux_ros.node.radio_map_view import RadioMapViewNode

HELP = """\
usage: view [--help] [--ros-args -p NAME:=VALUE ... --params-file FILE -r FROM:=TO ...]

Shows the mapper's work in a browser, for people without RViz: open http://127.0.0.1:8080/ when it runs.

in   radio_map             nav_msgs/OccupancyGrid, drawn in colour over the streets
     radio_map/status      diagnostic_msgs/DiagnosticArray: method, region, midpoint, latency
     /diagnostics          diagnostic_msgs/DiagnosticArray: health, rates and counters of the namespace's mapper
     map                   nav_msgs/OccupancyGrid (or parameter map_yaml), the streets
     pose | odom           geometry_msgs/PoseStamped | nav_msgs/Odometry (parameter pose_source), with the track;
                           px4: where the last answer says; further transmitters: parameters drones, stations
     planned_path          nav_msgs/Path
     radio_map/along_path  sensor_msgs/PointCloud2: x y z coverage mean_pathloss_db worst_user_db along that path
     users                 geometry_msgs/PoseArray

Each of them may be missing. Names are relative: start it in the mapper's namespace and with its remappings. It may
read the mapper's parameter file: of what is in there it takes the parameters below.

parameters:
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run until a signal or the context's end; the process ends with code 0 then, 2 where an argument was refused."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if asks_for_help(arguments):
        from rdflux_ros.node.parameters import ViewConfig, as_help

        print(HELP + as_help(ViewConfig), end="")
        return 0
    if find_spec("aiohttp") is None:
        print("view: aiohttp is missing: pip install aiohttp, or apt install python3-aiohttp", file=sys.stderr)
        return 2
    leave(spin("view", _node, arguments, StopRequest()))


def _node() -> RadioMapViewNode:
    from rdflux_ros.node.radio_map_view import RadioMapViewNode

    return RadioMapViewNode()


if __name__ == "__main__":
    sys.exit(main())
