"""Two mappers beside each other, each in a namespace: neither hears, answers or stops the other."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import OccupancyGrid
from ros_graph import TIMEOUT_S, Planner, pose, stamp_ns, streets, values

SHARED = {"/diagnostics", "/rosout", "/parameter_events"}
"""Topics that all nodes of a graph share, as everywhere in ROS."""
OUTPUTS = ("radio_map", "radio_map/pathloss", "radio_map/status")


@pytest.fixture
def planners(domain: int) -> Iterator[tuple[Planner, Planner]]:
    left, right = Planner(domain, "/left"), Planner(domain, "/right")
    yield left, right
    left.close()
    right.close()


def test_two_mappers_do_not_touch_each_other(
    planners: tuple[Planner, Planner], run_mapper: Callable[..., subprocess.Popen[str]]
) -> None:
    left, right = planners
    names = ("left", "right")
    for name in names:
        run_mapper("--ros-args", "-r", f"__ns:=/{name}")
    for name, planner in zip(names, planners, strict=True):
        planner.send_map(town(f"{name}_map"))
    for name, planner in zip(names, planners, strict=True):
        planner.wait(lambda name=name: frame(left, name) == f"{name}_map", f"the map of {name}", 3 * TIMEOUT_S)
        planner.wait(planner.poses.get_subscription_count, f"the activation of {name}")

    left.fly(*(pose(130.0 + n, 120.0, stamp_ns=n, frame="left_map") for n in range(1, 4)))
    right.fly(*(pose(200.0 + n, 150.0, stamp_ns=n, frame="right_map") for n in range(11, 14)))
    assert left.change_state(Transition.TRANSITION_DEACTIVATE)
    right.fly(*(pose(200.0 + n, 150.0, stamp_ns=n, frame="right_map") for n in range(14, 17)))

    for name, planner, sent in (("left", left, range(1, 4)), ("right", right, range(11, 17))):
        for topic in OUTPUTS:
            planner.wait(lambda p=planner, t=topic, s=sent[-1]: p.answer(s, t), f"{topic} of {name}")
            heard = planner.heard[topic]
            assert [stamp_ns(message) for message in heard] == list(sent), (name, topic)
            assert {message.header.frame_id for message in heard} == {f"{name}_map"}
    own = [names_of(left, name) for name in names]
    assert all(own) and own[0] & own[1] == SHARED
    for name, found in zip(names, own, strict=True):
        assert all(entry.startswith(f"/{name}/") for entry in found - SHARED), found


def town(frame_id: str) -> OccupancyGrid:
    message = streets()
    message.header.frame_id = frame_id
    return message


def frame(planner: Planner, name: str) -> str | None:
    """The frame of the map that the mapper in this namespace uses, as it says in /diagnostics."""
    statuses = [status for message in planner.heard["/diagnostics"] for status in message.status]
    return next((values(s).get("map_frame") for s in reversed(statuses) if s.name.startswith(f"/{name}/")), None)


def names_of(planner: Planner, name: str) -> set[str]:
    """Topics and services of the mapper in this namespace."""
    by_node = (
        planner.node.get_publisher_names_and_types_by_node,
        planner.node.get_subscriber_names_and_types_by_node,
        planner.node.get_service_names_and_types_by_node,
    )
    return {entry for ask in by_node for entry, _ in ask("radio_mapper", f"/{name}")}
