"""Play a bag beside the mapper: `ros2 launch rdflux_ros replay.launch.py bag:=FLIGHT map_yaml:=/path/to/map.yaml`.

Takes all arguments of mapper.launch.py too.
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription, OpaqueFunction
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

MAPPER = os.path.join(get_package_share_directory("rdflux_ros"), "launch", "mapper.launch.py")

ARGUMENTS = (
    DeclareLaunchArgument("bag", description="the bag: a folder or a file that `ros2 bag play` reads"),
    DeclareLaunchArgument("rate", default_value="1.0", description="speed of the playback"),
    DeclareLaunchArgument("loop", default_value="false", description="start again at the end"),
    DeclareLaunchArgument("delay", default_value="8.0", description="time for the mapper to get ready [s]"),
)


def player(context: LaunchContext) -> list[Action]:
    """`ros2 bag play`, with a clock where simulated time is used."""
    command = ["ros2", "bag", "play", LaunchConfiguration("bag").perform(context)]
    command += ["--rate", LaunchConfiguration("rate").perform(context)]
    command += ["--delay", LaunchConfiguration("delay").perform(context)]
    if IfCondition(LaunchConfiguration("loop")).evaluate(context):
        command.append("--loop")
    if IfCondition(LaunchConfiguration("use_sim_time", default="false")).evaluate(context):
        command += ["--clock", "100"]
    return [ExecuteProcess(cmd=command, output="screen")]


def generate_launch_description() -> LaunchDescription:
    """The mapper, and the bag beside it."""
    # An included file sees the arguments of this one.
    return LaunchDescription(
        [*ARGUMENTS, IncludeLaunchDescription(PythonLaunchDescriptionSource(MAPPER)), OpaqueFunction(function=player)]
    )
