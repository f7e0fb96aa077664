"""The node's main path on a real graph over DDS."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import OccupancyGrid, Odometry
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from ros_graph import Planner, pose, stamp_ns, streets, values
from sensor_msgs.msg import Image

from rdflux_ros.node import conversions, qos
from rdflux_ros.radio.units import occupancy_from_pathloss

SECOND = 1_000_000_000


def test_each_pose_is_answered_by_layers_with_its_stamp(planner: Planner) -> None:
    planner.start_mapper()
    planner.listen("radio_map/color", Image, qos.LATEST)
    planner.ready(streets())
    planner.fly(pose(130.2, 121.7, stamp_ns=7 * SECOND + 1), pose(134.0, 120.0, stamp_ns=8 * SECOND + 999_999_999))

    for wanted, x, y in ((7 * SECOND + 1, 130.2, 121.7), (8 * SECOND + 999_999_999, 134.0, 120.0)):
        grid_message, image, status = planner.layers(wanted)
        color = planner.wait(lambda wanted=wanted: planner.answer(wanted, "radio_map/color"), "the colour image")
        cells, grid = conversions.grid_from_message(grid_message)
        pathloss = conversions.pathloss_from_message(image)
        assert grid_message.header.frame_id == image.header.frame_id == color.header.frame_id == "map"
        assert grid.shape == (256, 256) and (image.encoding, color.encoding) == ("32FC1", "rgb8")
        np.testing.assert_array_equal(cells, occupancy_from_pathloss(pathloss))
        row, col = grid.cells(x, y)
        assert cells[row, col] == np.nanmin(np.where(cells < 0, 101, cells))  # nowhere better than below the antenna
        row, col = grid.cells(110.0, 75.0)
        assert cells[row, col] == -1 and np.isnan(pathloss[row, col])  # inside the building
        assert values(status)["method"] == "physics" == status.message
        assert values(status)["extrapolated"] == "false"
        latency = values(status)
        assert float(latency["latency_ms.total"]) <= float(latency["latency_ms.receipt_to_message"])


def test_a_late_joiner_finds_the_last_map(planner: Planner) -> None:
    planner.start_mapper()
    planner.ready(streets())
    planner.fly(pose(130.0, 120.0, stamp_ns=5 * SECOND))
    planner.listen("radio_map", OccupancyGrid, qos.LATCHED, key="late")
    late = planner.wait(lambda: planner.heard["late"], "the latched map")
    assert [stamp_ns(message) for message in late] == [5 * SECOND]


def test_the_latest_pose_wins_and_the_others_are_counted(planner: Planner) -> None:
    planner.start_mapper(max_rate_hz=2.0)
    planner.ready(streets())
    stamps, begun = range(1 * SECOND, 41 * SECOND, SECOND), time.monotonic()
    for stamp in stamps:
        planner.poses.publish(pose(130.0, 120.0, stamp_ns=stamp))
        time.sleep(0.02)
    planner.wait(lambda: planner.answer(stamps[-1]), "the last pose's answer")
    answered = [stamp_ns(message) for message in planner.heard["radio_map"]]
    assert answered == sorted(set(answered)) and len(answered) <= 2 + 2.0 * (time.monotonic() - begun)
    counts = values(planner.health())
    assert int(counts["poses_answered"]) == len(answered)
    assert int(counts["poses_dropped.replaced"]) == int(counts["poses_received"]) - len(answered) > 0


def test_deactivate_silences_and_leaves_no_latched_map(planner: Planner) -> None:
    planner.start_mapper()
    planner.ready(streets())
    planner.fly(pose(130.0, 120.0, stamp_ns=SECOND))
    for tenth in range(11, 15):  # some of these are on their way when the node falls silent
        planner.poses.publish(pose(130.0, 120.0, stamp_ns=tenth * SECOND // 10))
    assert planner.change_state(Transition.TRANSITION_DEACTIVATE)
    time.sleep(0.1)  # what was sent before may still be on the wire
    before = planner.counts()
    planner.poses.publish(pose(130.0, 120.0, stamp_ns=3 * SECOND))
    planner.listen("radio_map", OccupancyGrid, qos.LATCHED, key="late")
    time.sleep(1.0)
    assert {k: v for k, v in planner.counts().items() if k.startswith("radio")} == {
        k: v for k, v in before.items() if k.startswith("radio")
    }
    assert not planner.heard["late"] and planner.node.count_publishers("radio_map") == 0

    assert planner.change_state(Transition.TRANSITION_ACTIVATE)
    planner.wait(planner.poses.get_subscription_count, "activation")
    planner.fly(pose(130.0, 120.0, stamp_ns=4 * SECOND))  # the map is still known, and its region still prepared
    assert values(planner.layers(4 * SECOND)[2])["midpoint"] == "hit"


def test_a_lifecycle_manager_starts_it_and_starts_it_again(planner: Planner) -> None:
    planner.start_mapper(autostart=False)
    planner.wait_for_level(DiagnosticStatus.OK, "unconfigured")
    assert planner.change_state(Transition.TRANSITION_CONFIGURE)
    assert planner.change_state(Transition.TRANSITION_ACTIVATE)
    planner.ready(streets())
    planner.fly(pose(130.0, 120.0, stamp_ns=SECOND))
    assert planner.change_state(Transition.TRANSITION_DEACTIVATE)
    assert planner.change_state(Transition.TRANSITION_CLEANUP)
    planner.wait_for_level(DiagnosticStatus.OK, "unconfigured")
    assert planner.change_state(Transition.TRANSITION_CONFIGURE)
    assert planner.change_state(Transition.TRANSITION_ACTIVATE)
    planner.health()
    planner.ready()  # the latched map arrives again
    planner.fly(pose(130.0, 120.0, stamp_ns=2 * SECOND))


def test_a_malformed_map_is_refused_and_the_last_good_one_kept(planner: Planner) -> None:
    planner.start_mapper()
    bad = streets()
    bad.info.width += 1
    planner.send_map(bad)
    status = planner.wait_for_level(DiagnosticStatus.WARN, "map refused")
    assert values(status)["maps_refused.map_malformed"] == "1"
    planner.ready(streets())
    planner.send_map(bad)
    planner.wait(lambda: values(planner.health())["maps_refused.map_malformed"] == "2", "the second refusal")
    planner.fly(pose(130.0, 120.0))
    status = planner.wait_for_level(DiagnosticStatus.WARN, "the last good one stays in use")
    planner.send_map(streets())
    planner.fly(pose(130.0, 120.0, stamp_ns=2 * SECOND))
    planner.wait_for_level(DiagnosticStatus.OK, "mapping")


def test_poses_that_cannot_be_answered_are_dropped_counted_and_named(planner: Planner) -> None:
    planner.start_mapper()
    planner.ready(streets())
    nan = pose(130.0, 120.0)
    nan.pose.position.x = float("nan")
    unturned = pose(130.0, 120.0)
    unturned.pose.orientation.w = 0.0
    for message, reason, words in (
        (pose(900.0, 120.0), "pose_outside_map", "outside the map"),
        (pose(110.0, 75.0, z=10.0), "pose_inside_building", "inside a building"),
        (nan, "pose_not_finite", "not finite"),
        (unturned, "pose_zero_quaternion", "zero quaternion"),
        (pose(130.0, 120.0, frame="odom"), "frame_not_connected", "'map'"),
    ):
        planner.poses.publish(message)
        status = planner.wait_for_level(DiagnosticStatus.WARN, words)
        assert values(status)[f"poses_dropped.{reason}"] == "1"
        assert reason != "frame_not_connected" or "'odom'" in status.message
    assert not planner.heard["radio_map"]
    planner.fly(pose(110.0, 75.0, z=40.0))  # above the roof of 25 m
    planner.wait_for_level(DiagnosticStatus.OK, "mapping")


def test_without_map_or_pose_the_node_stays_quiet_and_says_so(planner: Planner) -> None:
    planner.start_mapper(pose_timeout_s=1.5)
    planner.wait(planner.poses.get_subscription_count, "activation")
    planner.poses.publish(pose(130.0, 120.0))
    status = planner.wait_for_level(DiagnosticStatus.WARN, "no map")
    assert not planner.heard["radio_map"]
    planner.send_map(streets())
    status = planner.wait_for_level(DiagnosticStatus.STALE, "no pose for")
    assert values(status)["poses_dropped.no_map"] == "1"
    planner.fly(pose(130.0, 120.0))
    planner.wait_for_level(DiagnosticStatus.OK, "mapping")


def test_a_crossing_prepares_one_region_once(planner: Planner) -> None:
    planner.start_mapper(prefetch_s=0.0)
    planner.ready(streets())
    track = [pose(x, 130.0, stamp_ns=int(x) * SECOND) for x in (128.0, 150.0, 170.0, 180.0, 200.0, 150.0, 130.0, 180.0)]
    for i, message in enumerate(track):
        message.header.stamp = conversions.stamp_from_ns((i + 1) * SECOND)
    planner.fly(*track)
    status = [values(planner.layers((i + 1) * SECOND)[2]) for i in range(len(track))]
    # centre 128, kept to 176; then 192, kept down to 144; back and forth finds both prepared
    assert [s["region"] for s in status] == ["2,2", "2,2", "2,2", "3,2", "3,2", "3,2", "2,2", "3,2"]
    assert [s["midpoint"] for s in status] == ["miss", "hit", "hit", "miss", "hit", "hit", "hit", "hit"]
    assert values(planner.health())["regions_prepared"] == "2"


def test_a_jump_back_in_time_starts_over(planner: Planner) -> None:
    planner.start_mapper()
    planner.ready(streets())
    planner.fly(pose(130.0, 120.0, stamp_ns=100 * SECOND), pose(131.0, 120.0, stamp_ns=3 * SECOND))
    assert values(planner.health())["time_jumps"] == "1"


def test_a_map_that_a_setting_refuses_is_well_again_with_another(planner: Planner) -> None:
    planner.start_mapper()
    planner.ready(streets())
    assert planner.set_parameters(map_max_cells=1000).successful
    planner.wait_for_level(DiagnosticStatus.WARN, "map refused")
    assert planner.set_parameters(map_max_cells=50_000_000).successful
    planner.fly(pose(130.0, 120.0))
    planner.wait_for_level(DiagnosticStatus.OK, "mapping")


def test_a_pose_that_time_overtook_is_counted(planner: Planner) -> None:
    planner.start_mapper(max_rate_hz=0.2)
    planner.ready(streets())
    planner.fly(pose(130.0, 120.0, stamp_ns=100 * SECOND))
    planner.poses.publish(pose(130.0, 120.0, stamp_ns=101 * SECOND))  # waits for its turn
    time.sleep(0.2)
    planner.fly(pose(130.0, 120.0, stamp_ns=3 * SECOND))
    assert values(planner.health())["poses_dropped.outdated"] == "1" and planner.answer(101 * SECOND) is None


def test_odometry_and_a_map_from_file(planner: Planner, tmp_path: Path) -> None:
    cells, _ = conversions.grid_from_message(streets())
    cv2.imwrite(str(tmp_path / "map.pgm"), np.flipud(np.where(cells > 50, 0, 254)).astype(np.uint8))
    (tmp_path / "map.yaml").write_text(
        "image: map.pgm\nresolution: 1.0\norigin: [0.0, 0.0, 0.0]\nnegate: 0\n"
        "occupied_thresh: 0.65\nfree_thresh: 0.25\n"
    )
    planner.listen("map", OccupancyGrid, qos.LATCHED)
    planner.start_mapper(pose_source="odom", map_yaml=str(tmp_path / "map.yaml"))
    planner.ready()
    message = Odometry()
    sent = pose(130.0, 120.0, stamp_ns=2 * SECOND)
    message.header, message.pose.pose = sent.header, sent.pose
    planner.odometry.publish(message)
    grid_message, _, _ = planner.layers(2 * SECOND)
    answer, window = conversions.grid_from_message(grid_message)
    assert (window.origin_x, window.origin_y) == (0.0, 0.0)
    np.testing.assert_array_equal(answer == -1, cells[:256, :256] > 50)
    assert not planner.heard["map"] and planner.poses.get_subscription_count() == 0


def test_a_missing_file_fails_configure_with_its_name(planner: Planner) -> None:
    planner.start_mapper(map_yaml="/nowhere/town.yaml")
    planner.wait_for_level(DiagnosticStatus.ERROR, "/nowhere/town.yaml")
    assert planner.poses.get_subscription_count() == 0


def test_maps_that_come_fast_leave_time_for_poses(planner: Planner) -> None:
    planner.start_mapper()
    slow = streets(1200, 1200, resolution=0.25)
    slow.info.origin.orientation.z, slow.info.origin.orientation.w = 0.1, 0.995  # turned, so that it takes its time
    planner.ready(slow)
    stop = threading.Event()

    def send() -> None:
        while not stop.wait(0.02):
            planner.send_map(slow)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        planner.fly(*(pose(130.0, 120.0, stamp_ns=n * SECOND) for n in range(1, 4)))
    finally:
        stop.set()
        sender.join()


def test_outputs_and_rate_at_run_time(planner: Planner) -> None:
    mapper = planner.start_mapper(publish_pathloss=False, max_rate_hz=0.02)
    planner.ready(streets())
    planner.fly(pose(130.0, 120.0, stamp_ns=SECOND))
    assert planner.node.count_publishers("radio_map/pathloss") == 0
    planner.poses.publish(pose(130.0, 120.0, stamp_ns=2 * SECOND))  # its turn is in 50 s
    planner.wait(lambda: values(planner.health())["poses_received"] == "2", "the second pose")
    mapper.set_parameters([Parameter("publish_pathloss", value=True), Parameter("max_rate_hz", value=20.0)])
    planner.layers(2 * SECOND)
    mapper.set_parameters([Parameter("publish_pathloss", value=False)])
    planner.wait(lambda: planner.node.count_publishers("radio_map/pathloss") == 0, "the latched image to go")


def test_parameters_at_run_time(planner: Planner) -> None:
    mapper = planner.start_mapper()
    planner.wait(planner.poses.get_subscription_count, "activation")
    client = planner.node.create_client(SetParameters, "radio_mapper/set_parameters")
    assert client.wait_for_service(10.0)
    cases: tuple[tuple[str, object, tuple[str, ...]], ...] = (
        ("max_rate_hz", 0.0, ("max_rate_hz", "0.01", "1000")),
        ("max_rate_hz", float("nan"), ("max_rate_hz", "0.01", "1000")),
        ("building_height_m", 1000.0, ("building_height_m", "2", "500")),
        ("device", "tpu", ("device", "'auto', 'cuda', 'cpu'")),
        ("cache_size", 5, ("cache_size", "configure")),  # not while it runs
        ("colour", 1, ("unknown", "colour")),
        ("max_rate_hz", 5.0, ()),
    )
    for name, value, says in cases:
        future = client.call_async(SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()]))
        planner.wait(future.done, "the parameter service")
        result = future.result().results[0]
        assert result.successful == (not says), name
        assert all(word in result.reason for word in says), result.reason
    assert mapper.get_parameter("max_rate_hz").value == 5.0
    assert not mapper.has_parameter("colour")
