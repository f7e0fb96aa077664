"""Start the mapper: `ros2 launch rdflux_ros mapper.launch.py map_yaml:=/path/to/map.yaml rviz:=true`."""

import os
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = get_package_share_directory("rdflux_ros")
OUTPUTS = ("radio_map", "radio_map/color")
"""Topics of the mapper that rviz/mapper.rviz shows."""
INPUTS = {
    "map": "the occupancy grid",
    "pose": "PoseStamped",
    "odom": "Odometry",
    "vehicle_odometry": "PX4's VehicleOdometry",
    "dynamic_obstacles": "the grid of vehicles",
    "query": "poses that a planner considers",
    "planned_path": "the planned path",
    "users": "ground users",
    "rssi": "measured power",
}
"""Topics that can be renamed, each by the argument NAME_topic, and what comes on them."""
FROM_FILE = {
    "model": "model file",
    "device": "auto, cuda or cpu",
    "pose_source": "pose, odom or px4",
    "map_yaml": "map_server map that the mapper loads instead of listening to map",
    "height_map": "yaml of the buildings' heights",
    "cache_file": "file that keeps known regions",
    "stations": "fixed base stations 'x y z; x y z'",
    "drones": "topics of further transmitters' poses",
}
"""Parameters that can be given as arguments, and what they are; an empty one leaves what params_file says."""

ARGUMENTS = (
    DeclareLaunchArgument(
        "params_file",
        default_value=os.path.join(SHARE, "config", "mapper.yaml"),
        description="parameters; those of config/mapper.yaml are the defaults, described and with their bounds",
    ),
    *(
        DeclareLaunchArgument(name, default_value="", description=f"{what}; empty: as in params_file")
        for name, what in FROM_FILE.items()
    ),
    DeclareLaunchArgument(
        "autostart", default_value="true", description="configure and activate at once, whatever params_file says"
    ),
    DeclareLaunchArgument(
        "use_sim_time", default_value="false", description="take the time from /clock, whatever params_file says"
    ),
    DeclareLaunchArgument("rviz", default_value="false", description="open RViz on the radio map"),
    DeclareLaunchArgument("view", default_value="false", description="show the radio map in a browser, see view_port"),
    DeclareLaunchArgument("view_port", default_value="8080", description="where: http://127.0.0.1:<view_port>/"),
    DeclareLaunchArgument("namespace", default_value="", description="namespace of node and topics; empty: root"),
    *(
        DeclareLaunchArgument(f"{name}_topic", default_value=name, description=f"topic of {what}")
        for name, what in INPUTS.items()
    ),
)


def nodes(context: LaunchContext) -> list[Action]:
    """The mapper with the arguments that were given over its parameter file and, if asked for, the view beside it."""
    given = {name: LaunchConfiguration(name).perform(context) for name in FROM_FILE}
    overrides: dict[str, str | bool] = {name: value for name, value in given.items() if value}
    for name in ("autostart", "use_sim_time"):
        overrides[name] = IfCondition(LaunchConfiguration(name)).evaluate(context)
    found: list[Action] = [node("mapper", "radio_mapper", overrides)]
    if IfCondition(LaunchConfiguration("view")).evaluate(context):
        found.append(node("view", "radio_map_view", {**overrides, "port": LaunchConfiguration("view_port")}))
    return found


def node(executable: str, name: str, overrides: dict[str, Any]) -> Node:
    """One of ours: same file, same namespace, same topics."""
    return Node(
        package="rdflux_ros",
        executable=executable,
        name=name,
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("params_file"), overrides],
        remappings=[(topic, LaunchConfiguration(f"{topic}_topic")) for topic in INPUTS],
        output="screen",
        emulate_tty=True,
    )


def generate_launch_description() -> LaunchDescription:
    """The mapper and, if asked for, RViz and the browser view."""
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        namespace=LaunchConfiguration("namespace"),
        arguments=["-d", os.path.join(SHARE, "rviz", "mapper.rviz")],
        # The file names root topics; in a namespace they are the namespace's.
        remappings=[
            *((f"/{name}", name) for name in OUTPUTS),
            *((f"/{name}", LaunchConfiguration(f"{name}_topic")) for name in ("map", "pose")),
        ],
        parameters=[{"use_sim_time": LaunchConfiguration("use_sim_time")}],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    # RViz first: where it is not installed, launch stops before it has started anything.
    return LaunchDescription([*ARGUMENTS, rviz, OpaqueFunction(function=nodes)])
