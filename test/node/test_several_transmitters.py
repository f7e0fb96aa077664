"""Fixed stations and further drones on a real graph: one map, the strongest server at each cell."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import OccupancyGrid
from ros_graph import Planner, grid, pose, streets, values

from rdflux_ros.model.tiny import model_file
from rdflux_ros.node import conversions, qos

SECOND = 1_000_000_000


def test_stations_alone_are_mapped_without_a_pose_and_again_at_every_change(planner: Planner, tmp_path: Path) -> None:
    planner.listen("radio_map/server", OccupancyGrid, qos.LATCHED)
    planner.start_mapper(
        model=str(model_file(tmp_path / "tiny.safetensors")),
        static_steps=1,
        stations="130 120 30; 400 300 20; -90 0 30",
        dynamic_timeout_s=60.0,
        pose_timeout_s=0.5,
    )
    first = streets()
    first.header.stamp = conversions.stamp_from_ns(3 * SECOND)
    planner.ready(first)
    cells, window = planner.cells(3 * SECOND)
    assert window.width > 256 and window.height > 256
    message = planner.wait(lambda: planner.answer(3 * SECOND, "radio_map/server"), "the servers")
    server, other = conversions.grid_from_message(message)
    assert window == other
    np.testing.assert_array_equal(server == -1, cells == -1)
    assert set(np.unique(server)) == {-1, 1, 2}
    status = planner.layers(3 * SECOND)[2]
    assert values(status)["servers"] == "pose,station 0,station 1,station 2"
    assert values(status)["method"] == "flux"
    planner.wait_for_level(DiagnosticStatus.WARN, "station 2 is left out")

    planner.obstacles.publish(grid(np.full((4, 6), 100), 140.0, 130.0, stamp_ns=9 * SECOND))
    cells, window = planner.cells(9 * SECOND)
    assert cells[window.cells(142.0, 132.0)] == -1
    for transition in ("DEACTIVATE", "ACTIVATE"):
        planner.heard["radio_map"].clear()
        assert planner.change_state(getattr(Transition, f"TRANSITION_{transition}"))
    planner.wait(lambda: planner.heard["radio_map"], "the stations' map after a new start")
    later = streets()
    later.header.stamp = conversions.stamp_from_ns(12 * SECOND)
    planner.send_map(later)
    planner.cells(12 * SECOND)

    planner.fly(pose(300.0, 200.0, stamp_ns=20 * SECOND))
    server, window = conversions.grid_from_message(
        planner.wait(lambda: planner.answer(20 * SECOND, "radio_map/server"), "the servers")
    )
    assert set(np.unique(server)) == {-1, 0, 1, 2}


def test_a_further_drone_serves_as_long_as_it_is_heard(planner: Planner) -> None:
    planner.listen("radio_map/server", OccupancyGrid, qos.LATCHED)
    second = planner.node.create_publisher(PoseStamped, "/second/pose", qos.POSE)
    planner.start_mapper(drones="/second/pose", pose_timeout_s=5.0)
    planner.ready(streets())
    planner.wait(second.get_subscription_count, "the second drone's input")

    def server_of(stamp: int) -> set[int]:
        message = planner.wait(lambda: planner.answer(stamp, "radio_map/server"), "the servers")
        return {int(value) for value in np.unique(conversions.grid_from_message(message)[0])} - {-1}

    second.publish(pose(200.0, 200.0, stamp_ns=SECOND))
    planner.wait(lambda: planner.answer(SECOND), "the second drone's answer")
    assert server_of(SECOND) == {1}
    planner.fly(pose(130.0, 120.0, stamp_ns=2 * SECOND))
    assert server_of(2 * SECOND) == {0, 1}
    planner.wait_for_level(DiagnosticStatus.STALE, "no pose for")
    planner.fly(pose(131.0, 120.0, stamp_ns=5 * SECOND))
    assert server_of(5 * SECOND) == {0}, "the second one has fallen silent"


def test_a_drones_trouble_is_its_own(planner: Planner) -> None:
    """What is wrong with its poses is said until they are well again, however well the first transmitter's are."""
    second = planner.node.create_publisher(PoseStamped, "/second/pose", qos.POSE)
    planner.start_mapper(drones="/second/pose")
    planner.ready(streets())
    planner.wait(second.get_subscription_count, "the second drone's input")
    planner.wait(lambda: second.publish(pose(200.0, 200.0, frame="nowhere")) or _warned(planner), "the warning")
    planner.fly(pose(130.0, 120.0, stamp_ns=2 * SECOND))
    assert _warned(planner)
    stamps = itertools.count(3 * SECOND)
    planner.wait(lambda: second.publish(pose(200.0, 200.0, stamp_ns=next(stamps))) or not _warned(planner), "its end")


def _warned(planner: Planner) -> bool:
    status = planner.health()
    return status.level == DiagnosticStatus.WARN and "/second/pose dropped" in status.message


def test_names_of_drones_that_cannot_be_topics_fail_configure(planner: Planner) -> None:
    planner.start_mapper(drones="/second//pose!")
    planner.wait_for_level(DiagnosticStatus.ERROR, "drones")
