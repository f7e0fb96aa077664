"""The failure contract's rows on obstacles, queries, paths and users, on a real graph with the mapper in a process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from ros_graph import Planner, grid, path, points, pose, stamp_ns, streets, users, values

SECOND = 1_000_000_000
Run = Callable[..., object]


def cars(stamp: int = 0) -> np.ndarray:
    return grid(np.full((4, 6), 100), 140.0, 130.0, stamp_ns=stamp)


def test_dynamic_obstacles_outside_larger_other_resolution(planner: Planner, run_mapper: Run) -> None:
    """Overlapped and resampled; those outside change nothing."""
    run_mapper(dynamic_timeout_s=600.0)
    planner.ready(streets())
    free, window = planner.cells_of(pose(130.0, 120.0, stamp_ns=SECOND))
    x, y = window.centre_mesh()
    everywhere = np.zeros((1200, 1200))
    everywhere[900:904, 1000:1010] = 100  # at 0.5 m from (-300, -300): x 200..205, y 150..152
    cases = (
        (grid(np.full((5, 5), 100), -900.0, 0.0), np.zeros_like(x, bool)),
        (grid(everywhere, -300.0, -300.0, 0.5), (x > 200) & (x < 205) & (y > 150) & (y < 152)),
        (grid(np.full((1, 2), 100), 140.0, 130.0, 5.0), (x > 140) & (x < 150) & (y > 130) & (y < 135)),
    )
    for number, (message, expected) in enumerate(cases, 1):
        planner.obstacles.publish(message)
        planner.wait_for_count("obstacles_received", number)
        cells, _ = planner.cells_of(pose(130.0, 120.0, stamp_ns=(10 + number) * SECOND))
        np.testing.assert_array_equal(cells == -1, (free == -1) | expected)
        assert values(planner.layers((10 + number) * SECOND)[2])["obstacles"] == "used"
    broken = cars()
    broken.info.resolution = 0.0
    planner.obstacles.publish(broken)
    planner.wait_for_count("obstacles_dropped.map_malformed")
    elsewhere = cars()
    elsewhere.header.frame_id = "base_link"
    planner.obstacles.publish(elsewhere)
    planner.wait_for_count("obstacles_dropped.frame_not_connected")


def test_dynamic_obstacles_older_than_dynamic_timeout_s(planner: Planner, run_mapper: Run) -> None:
    """Dropped, the map answered without them, and the status says so."""
    run_mapper(dynamic_timeout_s=1.0)
    planner.ready(streets())
    planner.obstacles.publish(cars())
    planner.wait_for_count("obstacles_received")
    deadline = time.monotonic() + 20.0
    found, stamp = [], 0
    while "outdated" not in found and time.monotonic() < deadline:
        stamp += 1
        cells, window = planner.cells_of(pose(130.0, 120.0, stamp_ns=stamp * SECOND))
        found.append(values(planner.layers(stamp * SECOND)[2])["obstacles"])
        assert (cells[window.cells(142.0, 132.0)] == -1) == (found[-1] == "used")
        time.sleep(0.1)
    assert found[-1] == "outdated" and found == sorted(found, reverse=True), "used, then outdated"


def test_newer_obstacles_answer_a_hovering_transmitter_again(planner: Planner, run_mapper: Run) -> None:
    run_mapper(pose_timeout_s=60.0, dynamic_timeout_s=60.0)
    planner.ready(streets())
    planner.fly(pose(130.0, 120.0, stamp_ns=5 * SECOND))
    planner.obstacles.publish(cars(stamp=9 * SECOND))
    cells, window = planner.cells(9 * SECOND)
    assert cells[window.cells(142.0, 132.0)] == -1
    assert values(planner.layers(9 * SECOND)[2])["transmitter"].startswith("130.000,120.000")


def test_path_poses_off_the_map_users_outside_the_window(planner: Planner, run_mapper: Run) -> None:
    """NaN in the answer, counted; the others are answered."""
    run_mapper()
    planner.users.publish(users((140.0, 125.0), (110.0, 75.0), (5000.0, 0.0), (math.nan, 1.0)))
    planner.ready(streets())
    planner.wait(lambda: planner.paths.get_subscription_count(), "the input")
    planner.paths.publish(
        path((130.0, 120.0, 40.0), (-50.0, 120.0, 40.0), (math.nan, 0.0, 1.0), (110.0, 75.0, 5.0), (480.0, 330.0, 30.0))
    )
    found = planner.wait(lambda: planner.heard["radio_map/along_path"], "the answer along the path")[-1]
    table = points(found)
    assert list(table) == ["x", "y", "z", "coverage", "mean_pathloss_db", "worst_user_db"]
    answered = [True, False, False, False, True]
    for name in ("coverage", "mean_pathloss_db"):
        assert np.isfinite(table[name]).tolist() == answered, name
    assert np.isfinite(table["worst_user_db"]).tolist() == [True, False, False, False, False]
    counts = values(planner.health())
    dropped = {name: counts.get(f"path_poses_dropped.{name}") for name in ("pose_outside_map", "pose_not_finite")}
    assert dropped == {"pose_outside_map": "1", "pose_not_finite": "1"}
    assert counts["path_poses_dropped.pose_inside_building"] == "1" and counts["users_outside"] == "3"
    assert found.header.frame_id == "map" and not planner.heard["radio_map"]


def test_a_path_longer_than_path_max_poses_is_thinned_and_says_so(planner: Planner, run_mapper: Run) -> None:
    process = run_mapper(path_max_poses=4)
    planner.ready(streets())
    planner.wait(lambda: planner.paths.get_subscription_count(), "the input")
    planner.paths.publish(path(*((100.0 + k, 150.0, 40.0) for k in range(31))))
    found = planner.wait(lambda: planner.heard["radio_map/along_path"], "the answer along the path")[-1]
    assert points(found)["x"].tolist() == [100.0, 110.0, 120.0, 130.0]
    planner.wait_for_count("paths_thinned")
    assert "31 poses thinned to 4" in planner.stopped(process)


def test_query_or_path_while_poses_arrive(planner: Planner, run_mapper: Run) -> None:
    """Poses first; queries in order, ten may wait, older ones are dropped and counted; `radio_map` stays the poses'."""
    run_mapper()
    planner.ready(streets())
    planner.wait(lambda: planner.queries.get_subscription_count(), "the inputs")
    planner.fly(pose(130.0, 120.0, stamp_ns=SECOND))
    planner.paths.publish(path(*((60.0 + 20 * k, 300.0 - 10 * k, 40.0) for k in range(20))))
    asked = range(1, 31)
    for k in asked:
        planner.queries.publish(pose(100.0 + 9 * k, 200.0, stamp_ns=1000 * SECOND + k))
    live = [(k + 2) * SECOND for k in range(12)]
    for stamp in live:
        planner.poses.publish(pose(130.0, 120.0, stamp_ns=stamp))
        time.sleep(0.05)
    planner.wait(lambda: planner.answer(live[-1]), "the last live pose")
    planner.wait(lambda: planner.answer(1000 * SECOND + 30, "radio_map/query"), "the last query")
    planner.wait(lambda: planner.heard["radio_map/along_path"], "the path, last of all")
    answered = [stamp_ns(message) - 1000 * SECOND for message in planner.heard["radio_map/query"]]
    assert answered == sorted(answered) and answered[-1] == 30
    planner.wait_for_count("queries_answered", len(answered))
    counts = values(planner.health())
    received, dropped = int(counts["queries_received"]), int(counts.get("queries_dropped.replaced", 0))
    assert dropped == received - len(answered)
    maps = [stamp_ns(message) for message in planner.heard["radio_map"]]
    assert set(maps) <= {SECOND, *live}, "a query does not touch radio_map"


def test_a_query_that_cannot_be_answered_is_counted(planner: Planner, run_mapper: Run) -> None:
    run_mapper(pose_timeout_s=60.0)
    planner.ready(streets())
    planner.wait(lambda: planner.queries.get_subscription_count(), "the input")
    planner.queries.publish(pose(-5.0, 0.0))
    planner.wait_for_count("queries_dropped.pose_outside_map")
    planner.wait_for_level(DiagnosticStatus.WARN, "query dropped")
    planner.queries.publish(pose(140.0, 130.0, stamp_ns=2 * SECOND))
    planner.wait(lambda: planner.answer(2 * SECOND, "radio_map/query"), "the query's answer")
