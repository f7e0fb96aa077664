"""The failure contract's rows on poses, each on a real graph with the mapper in its own process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from ros_graph import Planner, pose, stamp_ns, streets, values

from rdflux_ros.model.tiny import model_file

SECOND = 1_000_000_000
Run = Callable[..., object]


def test_pose_nan_inf_zero_quaternion(planner: Planner, run_mapper: Run) -> None:
    run_mapper()
    planner.ready(streets())
    for number, value in enumerate((math.nan, math.inf, -math.inf), 1):
        planner.poses.publish(pose(value, 120.0, stamp_ns=number * SECOND))
        planner.wait_for_count("poses_dropped.pose_not_finite", number)
    turned = pose(130.0, 120.0, stamp_ns=4 * SECOND)
    turned.pose.orientation.w = math.nan
    planner.poses.publish(turned)
    planner.wait_for_count("poses_dropped.pose_not_finite", 4)
    lying = pose(130.0, 120.0, stamp_ns=5 * SECOND)
    lying.pose.orientation.w = 0.0
    planner.poses.publish(lying)
    planner.wait_for_count("poses_dropped.pose_zero_quaternion")
    assert not planner.heard["radio_map"]
    planner.fly(pose(130.0, 120.0, stamp_ns=6 * SECOND))


def test_pose_outside_the_map(planner: Planner, run_mapper: Run) -> None:
    run_mapper(pose_timeout_s=60.0)
    planner.ready(streets())
    planner.poses.publish(pose(-20.0, 120.0))
    planner.wait_for_count("poses_dropped.pose_outside_map")
    planner.wait_for_level(DiagnosticStatus.WARN, "outside the map")
    assert not planner.heard["radio_map"], "no clamping"
    planner.fly(pose(20.0, 120.0, stamp_ns=2 * SECOND))
    planner.wait_for_level(DiagnosticStatus.OK, "mapping")


def test_pose_inside_a_building(planner: Planner, run_mapper: Run) -> None:
    """Answered above its roof, dropped below."""
    run_mapper(building_height_m=25.0)
    planner.ready(streets())
    planner.poses.publish(pose(110.0, 75.0, z=24.0))
    planner.wait_for_count("poses_dropped.pose_inside_building")
    cells, answered = planner.cells_of(pose(110.0, 75.0, z=26.0, stamp_ns=2 * SECOND))
    assert cells[answered.cells(140.0, 75.0)] >= 0


def test_no_pose_for_pose_timeout_s(planner: Planner, run_mapper: Run, tmp_path: Path) -> None:
    """Silence in return, and caches that stay valid."""
    run_mapper(pose_timeout_s=1.0, model=str(model_file(tmp_path / "tiny.safetensors")), static_steps=1)
    planner.ready(streets())
    planner.fly(pose(130.0, 120.0, stamp_ns=SECOND))
    planner.wait_for_level(DiagnosticStatus.STALE, "no pose for")
    heard = len(planner.heard["radio_map"])
    time.sleep(1.5)
    assert len(planner.heard["radio_map"]) == heard
    planner.fly(pose(131.0, 120.0, stamp_ns=2 * SECOND))
    assert values(planner.layers(2 * SECOND)[2])["midpoint"] == "hit"


def test_stamps_jump_back(planner: Planner, run_mapper: Run) -> None:
    """A bag that loops: the next pose is answered."""
    run_mapper()
    planner.ready(streets())
    for _ in range(2):
        for stamp in (100, 101, 102):
            planner.heard["radio_map"].clear()
            planner.fly(pose(130.0 + stamp, 120.0, stamp_ns=stamp * SECOND))
    assert planner.count("time_jumps") == 1


def test_poses_faster_than_the_model(planner: Planner, run_mapper: Run) -> None:
    """The latest wins, dropped ones are counted, memory stays flat."""
    run_mapper(max_rate_hz=1000.0)
    planner.ready(streets())
    planner.fly(*(pose(130.0, 120.0, stamp_ns=n * SECOND) for n in range(1, 30)))
    before = planner.count("memory_mib")
    last = 400
    for n in range(30, last + 1):
        planner.poses.publish(pose(130.0, 120.0, stamp_ns=n * SECOND))
        time.sleep(0.005)
    planner.wait(lambda: planner.answer(last * SECOND), "the last pose's answer")
    answered = [stamp_ns(message) for message in planner.heard["radio_map"]]
    assert answered == sorted(set(answered)), "in order, none twice"
    planner.wait_for_count("poses_answered", len(answered))
    counts = values(planner.health())
    dropped = int(counts["poses_dropped.replaced"])
    assert dropped > 0 and dropped == int(counts["poses_received"]) - len(answered)
    assert int(counts["memory_mib"]) <= before + 30


def test_frame_not_connected(planner: Planner, run_mapper: Run) -> None:
    run_mapper(pose_timeout_s=60.0)
    planner.ready(streets())
    planner.poses.publish(pose(130.0, 120.0, frame="odom"))
    planner.wait_for_count("poses_dropped.frame_not_connected")
    found = planner.wait_for_level(DiagnosticStatus.WARN, "'odom'")
    assert "'map'" in found.message
    assert not planner.heard["radio_map"]


def test_all_layers_carry_one_stamp(planner: Planner, run_mapper: Run) -> None:
    """Joined by exact stamps, they lie on one another."""
    from nav_msgs.msg import OccupancyGrid
    from sensor_msgs.msg import Image

    from rdflux_ros.node import conversions, qos

    planner.listen("radio_map/coverage", OccupancyGrid, qos.LATEST)
    planner.listen("radio_map/color", Image, qos.LATEST)
    run_mapper(tx_power_dbm=20.0, sensitivity_dbm=-70.0)
    planner.ready(streets())
    planner.wait(lambda: planner.node.count_publishers("radio_map/coverage"), "the outputs")
    for stamp in (3 * SECOND + 7, 4 * SECOND + 999_999_999):
        planner.fly(pose(130.0, 120.0, stamp_ns=stamp))
        radio_map, image, _ = planner.layers(stamp)
        more = [
            planner.wait(lambda t=topic, s=stamp: planner.answer(s, t), topic)
            for topic in ("radio_map/coverage", "radio_map/color")
        ]
        cells, window = conversions.grid_from_message(radio_map)
        covered, other = conversions.grid_from_message(more[0])
        pathloss = conversions.pathloss_from_message(image)
        assert window == other and image.header == radio_map.header == more[1].header
        wanted = np.where(np.isnan(pathloss), -1, np.where(20.0 - pathloss >= -70.0, 100, 0))
        np.testing.assert_array_equal(covered, wanted)
        np.testing.assert_array_equal(cells == -1, np.isnan(pathloss))
        assert set(np.unique(covered)) == {-1, 0, 100}
