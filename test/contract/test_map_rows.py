"""The failure contract's rows on maps, each on a real graph with the mapper in its own process."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import OccupancyGrid
from ros_graph import Planner, grid, pose, streets, values

from rdflux_ros.model.tiny import model_file

SECOND = 1_000_000_000
Run = Callable[..., object]


def malformed(name: str) -> OccupancyGrid:
    message = streets()
    if name == "size":
        message.data = message.data[:-1]
    elif name == "resolution 0":
        message.info.resolution = 0.0
    elif name == "resolution tiny":
        message.info.resolution = 1e-7
    elif name == "origin":
        message.info.origin.position.x = math.nan
    elif name == "quaternion":
        message.info.origin.orientation.w = 0.0
    elif name == "frame":
        message.header.frame_id = ""
    return message


def test_map_malformed(planner: Planner, run_mapper: Run) -> None:
    """Refused and counted, the last good map stays in use."""
    process = run_mapper(map_max_cells=300_000, pose_timeout_s=60.0)
    planner.ready(streets())
    names = ("size", "resolution 0", "resolution tiny", "origin", "quaternion", "frame")
    for number, name in enumerate(names, 1):
        planner.send_map(malformed(name))
        planner.wait_for_count("maps_refused.map_malformed", number)
    planner.send_map(streets(1000, 400))
    planner.wait_for_count("maps_refused.map_too_large")
    cells, answered = planner.cells_of(pose(130.0, 120.0, stamp_ns=SECOND))
    planner.wait_for_level(DiagnosticStatus.WARN, "the last good one stays in use")
    assert cells[answered.cells(110.0, 75.0)] == -1, "the building of the good map"
    log = planner.stopped(process)
    assert log.count("malformed map") == 1, "the log says it once"


def test_map_missing(planner: Planner, run_mapper: Run) -> None:
    run_mapper()
    planner.wait(planner.poses.get_subscription_count, "activation", 90.0)
    planner.wait_for_level(DiagnosticStatus.WARN, "no map")
    planner.poses.publish(pose(130.0, 120.0))
    planner.wait_for_count("poses_dropped.no_map")
    assert not planner.heard["radio_map"]


def test_map_rotated_by_yaw_cell_size_not_1_m_unknown_cells(planner: Planner, run_mapper: Run) -> None:
    """A house at x 60..80, y 100..120 of the map frame, drawn on a 0.5 m grid turned by 30 degrees, partly unknown."""
    run_mapper(unknown_is="free")
    yaw, corner = math.radians(30.0), np.array([120.0, -60.0])
    row, col = np.indices((600, 600))
    u, v = (col + 0.5) * 0.5, (row + 0.5) * 0.5
    x = corner[0] + math.cos(yaw) * u - math.sin(yaw) * v
    y = corner[1] + math.sin(yaw) * u + math.cos(yaw) * v
    house = (x > 60) & (x < 80) & (y > 100) & (y < 120)
    message = grid(np.where(house, 100, np.where(u < 20, -1, 0)), *corner, resolution=0.5)
    message.info.origin.orientation.z, message.info.origin.orientation.w = math.sin(yaw / 2), math.cos(yaw / 2)
    planner.ready(message)
    cells, answered = planner.cells_of(pose(100.0, 100.0, stamp_ns=SECOND))
    gx, gy = answered.centre_mesh()
    inside = (gx > 61) & (gx < 79) & (gy > 101) & (gy < 119)
    outside = (gx < 58.5) | (gx > 81.5) | (gy < 98.5) | (gy > 121.5)
    assert (cells[inside] == -1).all() and (cells[outside] >= 0).all()


def test_map_changes(planner: Planner, run_mapper: Run, tmp_path: Path) -> None:
    """Only changed windows lose their midpoints, or keep them marked approximate within the threshold."""
    run_mapper(
        model=str(model_file(tmp_path / "tiny.safetensors")), static_steps=1, prefetch_s=0.0, similarity_threshold=0.0
    )
    before = np.zeros((512, 512), np.int8)
    before[60:90, 100:120] = 100
    after = before.copy()
    after[400:403, 420:423] = 100
    west, east = (100.0, 130.0), (390.0, 390.0)
    planner.ready(grid(before))

    def midpoints(stamp: int) -> list[str]:
        found = []
        for k, (x, y) in enumerate((west, east)):
            planner.fly(pose(x, y, stamp_ns=(stamp + k) * SECOND))
            status = planner.wait(
                lambda k=k: planner.answer((stamp + k) * SECOND, "radio_map/status"), "the status"
            ).status[0]
            found.append(values(status)["midpoint"])
        return found

    def settled(stamp: int) -> list[str]:
        """As soon as both regions are ready."""
        tries = iter(range(20))
        while "miss" in (found := midpoints(stamp + 2 * next(tries))):
            planner.health()
        return found

    assert settled(10) == ["hit", "hit"]
    prepared = planner.count("regions_prepared")
    planner.send_map(grid(after))
    planner.wait_for_count("maps_received", 2)
    planner.health()
    assert settled(100) == ["hit", "hit"]
    assert planner.count("regions_prepared") == prepared + 1, "the eastern one"
    assert planner.set_parameters(similarity_threshold=100.0).successful
    assert settled(200) == ["hit", "hit"], "what is exact stays so"
    planner.send_map(grid(np.maximum(before, after.T)))
    planner.wait_for_count("maps_received", 3)
    planner.health()
    found = settled(300)
    assert found[1] == "approximate" or found[0] == "approximate"


@pytest.mark.parametrize("unknown_is", ["free", "occupied"])
def test_pose_near_a_map_edge(planner: Planner, run_mapper: Run, unknown_is: str) -> None:
    """The window is filled with unknown, which is what `unknown_is` says."""
    run_mapper(unknown_is=unknown_is)
    planner.ready(grid(np.zeros((200, 200))))
    cells, answered = planner.cells_of(pose(5.0, 100.0, stamp_ns=SECOND))
    x, y = answered.centre_mesh()
    on_map = (x > 0) & (x < 200) & (y > 0) & (y < 200)
    assert (~on_map).any() and (cells[on_map] >= 0).all()
    assert (cells[~on_map] == -1).all() if unknown_is == "occupied" else (cells[~on_map] >= 0).all()
