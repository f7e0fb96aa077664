"""The launch files, run by stand-ins for `launch`: what they name is there."""

from __future__ import annotations

import dataclasses
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.node.parameters import NodeConfig, Settings, fields

ROOT = Path(__file__).parents[2]
asked: set[str] = set()
"""Arguments that a launch file has asked for."""


class Action:
    """Whatever is launched or declared, as it was given."""

    def __init__(self, *given: Any, **options: Any) -> None:
        self.given, self.options = given, options


class DeclareLaunchArgument(Action):
    pass


class OpaqueFunction(Action):
    pass


class LaunchConfiguration:
    def __init__(self, name: str, default: str = "") -> None:
        self.name = name
        asked.add(name)

    def perform(self, context: dict[str, str]) -> str:
        return context[self.name]


class IfCondition:
    def __init__(self, configuration: LaunchConfiguration) -> None:
        self.configuration = configuration

    def evaluate(self, context: dict[str, str]) -> bool:
        return self.configuration.perform(context) == "true"


STAND_INS: dict[str, dict[str, Any]] = {
    "ament_index_python": {},
    "ament_index_python.packages": {"get_package_share_directory": lambda _: str(ROOT)},
    "launch": {"LaunchContext": dict, "LaunchDescription": list},
    "launch.action": {"Action": Action},
    "launch.actions": {
        "DeclareLaunchArgument": DeclareLaunchArgument,
        "ExecuteProcess": Action,
        "IncludeLaunchDescription": Action,
        "OpaqueFunction": OpaqueFunction,
    },
    "launch.conditions": {"IfCondition": IfCondition},
    "launch.launch_description_sources": {"PythonLaunchDescriptionSource": Action},
    "launch.substitutions": {"LaunchConfiguration": LaunchConfiguration},
    "launch_ros": {},
    "launch_ros.actions": {"Node": Action},
}


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], dict[str, Any]]:
    """What mapper.launch.py and replay.launch.py define."""
    asked.clear()
    for name, content in STAND_INS.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    mapper, replay = (runpy.run_path(str(ROOT / "launch" / f"{name}.launch.py")) for name in ("mapper", "replay"))
    return mapper, replay


class Topics:
    """A node's part that subscribes and publishes: the topics."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def create_subscription(self, _: type, topic: str, *__: Any, **___: Any) -> SimpleNamespace:
        self.names.add(topic)
        return SimpleNamespace(topic_name=topic)

    create_publisher = create_subscription


def launched(files: tuple[dict[str, Any], ...], **given: str) -> list[Action]:
    """All that both files launch or declare."""
    actions = [action for file in files for action in file["generate_launch_description"]()]
    declared = {a.given[0]: a.options.get("default_value", "") for a in actions if isinstance(a, DeclareLaunchArgument)}
    assert given.keys() <= declared.keys()
    for function in [action for action in actions if isinstance(action, OpaqueFunction)]:
        actions += function.options["function"](declared | given)
    return actions


def test_all_that_is_asked_for_is_declared_and_described(files: tuple[dict[str, Any], ...]) -> None:
    arguments = [a for a in launched(files, view="true", loop="true") if isinstance(a, DeclareLaunchArgument)]
    names = [argument.given[0] for argument in arguments]
    assert asked == set(names) and len(set(names)) == len(names)
    assert all(argument.options["description"] for argument in arguments)


def test_arguments_are_parameters_and_an_empty_one_leaves_the_files(files: tuple[dict[str, Any], ...]) -> None:
    assert set(files[0]["FROM_FILE"]) <= {field.name for field in fields()}
    mapper, view = (
        action
        for action in launched(files, model="physics", autostart="false", view="true")
        if action.options.get("package") == "rdflux_ros"
    )
    assert mapper.options["parameters"][1] == {"model": "physics", "autostart": False, "use_sim_time": False}
    assert view.options["parameters"][1].keys() == {*mapper.options["parameters"][1], "port"}


def test_topics_that_can_be_renamed_are_what_the_mapper_listens_to(
    files: tuple[dict[str, Any], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rclpy")
    from nav_msgs.msg import Odometry

    from rdflux_ros.node.inputs import Inputs

    monkeypatch.setattr("rdflux_ros.node.inputs.Frames", lambda _: None)
    monkeypatch.setattr("rdflux_ros.node.inputs._px4_type", lambda: Odometry)
    node = Topics()
    for source in ("pose", "odom", "px4"):
        settings = Settings(dataclasses.replace(NodeConfig(), pose_source=source), MapperConfig())
        inputs = Inputs(node, settings, SimpleNamespace())  # type: ignore[arg-type]
        inputs.listen_to_map()
        inputs.listen()
    assert set(files[0]["INPUTS"]) == node.names


def test_rviz_shows_topics_that_follow_a_namespace(files: tuple[dict[str, Any], ...]) -> None:
    pytest.importorskip("rclpy")
    from rdflux_ros.node.outputs import Outputs

    node = Topics()
    Outputs(node, Settings(NodeConfig(), MapperConfig()))  # type: ignore[arg-type]
    assert set(files[0]["OUTPUTS"]) <= node.names
    (rviz,) = (action for action in launched(files) if action.options.get("package") == "rviz2")
    displays = yaml.safe_load((ROOT / "rviz" / "mapper.rviz").read_text())["Visualization Manager"]["Displays"]
    shown = {display["Topic"]["Value"] for display in displays if "Topic" in display}
    assert {topic for topic, _ in rviz.options["remappings"]} == shown
