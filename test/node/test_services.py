"""The node's services and its warm restart on a real graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lifecycle_msgs.msg import Transition
from nav_msgs.srv import GetMap
from ros_graph import Planner, path, pose, stamp_ns, streets, values

from rdflux_ros.mapping.inputs import load_occupancy
from rdflux_ros.mapping.saved_maps import load_radio_map
from rdflux_ros.model.tiny import model_file
from rdflux_ros.node import conversions

SECOND = 1_000_000_000


def test_the_last_map_can_be_asked_for_and_saved(planner: Planner, tmp_path: Path) -> None:
    planner.start_mapper(save_directory=str(tmp_path / "maps"))
    planner.ready(streets())
    assert not planner.call(GetMap, "get_radio_map", GetMap.Request()).map.data
    assert not planner.trigger("save_map").success
    sent = planner.fly(pose(130.0, 120.0, stamp_ns=7 * SECOND + 5))[0]
    asked = planner.call(GetMap, "get_radio_map", GetMap.Request()).map
    assert (asked.header, asked.info, asked.data) == (sent.header, sent.info, sent.data)

    saved = planner.trigger("save_map")
    assert saved.success, saved.message
    cells, window = conversions.grid_from_message(sent)
    read = load_occupancy(Path(saved.message))
    np.testing.assert_array_equal(read.data, cells)
    assert read.grid == window
    exact = load_radio_map(Path(saved.message))
    pathloss = conversions.pathloss_from_message(planner.layers(7 * SECOND + 5)[1])
    np.testing.assert_array_equal(exact.pathloss_db, pathloss)
    assert (exact.grid, exact.frame_id, exact.stamp_ns) == (window, "map", 7 * SECOND + 5)

    (tmp_path / "file").write_text("")
    assert planner.set_parameters(save_directory=str(tmp_path / "file" / "maps")).successful
    refused = planner.trigger("save_map")
    assert not refused.success and "save_directory" in refused.message
    assert planner.set_parameters(save_directory="~no_such_user/maps").successful
    refused = planner.trigger("save_map")
    assert not refused.success and "~no_such_user" in refused.message
    assert planner.change_state(Transition.TRANSITION_DEACTIVATE)
    assert not planner.call(GetMap, "get_radio_map", GetMap.Request()).map.data, "what was, is not now"


def test_a_cleared_cache_is_filled_again_and_a_file_makes_the_restart_warm(planner: Planner, tmp_path: Path) -> None:
    parameters = {
        "model": str(model_file(tmp_path / "tiny.safetensors")),
        "static_steps": 1,
        "cache_file": str(tmp_path / "regions.db"),
    }
    planner.start_mapper(**parameters)
    planner.ready(streets())
    midpoints = []
    for second in (1, 2):
        planner.fly(pose(130.0, 120.0, stamp_ns=second * SECOND))
        midpoints.append(values(planner.layers(second * SECOND)[2])["midpoint"])
    for transition in ("DEACTIVATE", "CLEANUP", "CONFIGURE", "ACTIVATE"):
        assert planner.change_state(getattr(Transition, f"TRANSITION_{transition}"))
    planner.heard["/diagnostics"].clear()
    planner.ready(streets())
    planner.fly(pose(130.0, 120.0, stamp_ns=3 * SECOND))
    midpoints.append(values(planner.layers(3 * SECOND)[2])["midpoint"])
    assert planner.count("regions_loaded") == 1 and planner.count("regions_prepared") == 0
    assert planner.trigger("clear_cache").success
    planner.fly(pose(130.0, 120.0, stamp_ns=4 * SECOND), pose(130.0, 120.0, stamp_ns=5 * SECOND))
    assert midpoints == ["miss", "hit", "hit"]
    assert planner.count("regions_prepared") == 1, "by a pose, or before it came"


def test_the_regions_of_a_planned_path_are_ready_before_it_is_flown(planner: Planner, tmp_path: Path) -> None:
    """A transmitter that still hovers has its next region prepared."""
    planner.start_mapper(model=str(model_file(tmp_path / "tiny.safetensors")), static_steps=1, path_max_poses=1)
    planner.ready(streets())
    planner.wait(planner.paths.get_subscription_count, "the input")
    planner.paths.publish(path((130.0, 200.0, 40.0), (260.0, 200.0, 40.0), stamp_ns=SECOND))
    planner.wait(lambda: planner.heard["radio_map/along_path"], "the answer along the path")
    planner.fly(*(pose(130.0, 200.0, stamp_ns=second * SECOND) for second in (1, 2, 3)))
    planner.wait(lambda: planner.count("regions_prepared") >= 2, "the next region")
    planner.health()
    planner.fly(pose(180.0, 200.0, stamp_ns=4 * SECOND))
    told = values(planner.layers(4 * SECOND)[2])
    assert (told["region"], told["midpoint"], told["method"]) == ("3,3", "hit", "flux")


def test_users_that_move_have_the_path_answered_again(planner: Planner) -> None:
    from ros_graph import points, users

    planner.start_mapper()
    planner.ready(streets())
    planner.wait(planner.paths.get_subscription_count, "the input")
    planner.paths.publish(path((130.0, 120.0, 40.0), stamp_ns=3 * SECOND))
    planner.wait(lambda: planner.heard["radio_map/along_path"], "the path")
    planner.users.publish(users((150.0, 130.0)))
    planner.wait(lambda: len(planner.heard["radio_map/along_path"]) > 1, "the path for the users")
    before, after = (points(message)["worst_user_db"][0] for message in planner.heard["radio_map/along_path"][:2])
    assert np.isnan(before) and 60 < after < 147
    assert stamp_ns(planner.heard["radio_map/along_path"][1]) == 3 * SECOND
