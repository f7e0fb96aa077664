"""Bags of both storages give maps and poses; what is wrong with one is said in one line."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from bag_files import START_NS, TYPES, occupancy, odometry, pose_stamped, write_bag

from rdflux_ros.evaluation.bags import Bag, BagError, RecordedMap, RecordedPose
from rdflux_ros.mapping.inputs import InputError

CELLS = np.zeros((4, 6), np.int8)
CELLS[1, 5] = 100


def flight(count: int = 5) -> list:
    return [(-1.0, "/map", occupancy(CELLS, origin=(-2.0, 3.0)))] + [
        (0.5 * i, "/pose", pose_stamped(0.5 * i, float(i), 2.0, 30.0)) for i in range(count)
    ]


def read(path: Path) -> tuple[list[RecordedMap], list[RecordedPose], str]:
    with Bag(path) as bag:
        found = list(bag.messages(bag.pose_topic(None), maps=True, max_cells=10**6))
        maps = [message for message in found if isinstance(message, RecordedMap)]
        return maps, [message for message in found if isinstance(message, RecordedPose)], bag.damage


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("bare", [False, True])
def test_maps_and_poses_come_as_recorded(tmp_path: Path, storage: str, bare: bool) -> None:
    path = write_bag(tmp_path / "bag", flight(), storage)
    maps, poses, damage = read(next(path.glob("bag.*")) if bare else path)
    assert damage == ""
    (found,) = maps
    assert found.occupancy.data[1, 5] == 100 and found.occupancy.data.sum() == 100
    assert (found.occupancy.grid.origin_x, found.occupancy.grid.origin_y) == (-2.0, 3.0)
    assert [recorded.pose.x for recorded in poses] == [0, 1, 2, 3, 4]
    assert poses[1].pose.stamp_ns == poses[1].received_ns == START_NS + 500_000_000
    assert poses[1].frame_id == "map"


def test_odometry_is_read_and_a_broken_pose_stays_apart(tmp_path: Path) -> None:
    messages = [
        (0.0, "/map", occupancy(CELLS)),
        (1.0, "/odom", odometry(1.0, 3.0, 2.0, 10.0)),
        (2.0, "/odom", odometry(2.0, math.nan, 2.0, 10.0)),
    ]
    _, poses, _ = read(write_bag(tmp_path / "bag", messages))
    assert (poses[0].pose.x, poses[0].pose.z) == (3.0, 10.0)
    assert isinstance(poses[1].pose, InputError) and poses[1].pose.reason == "pose_not_finite"


def test_topics_that_do_not_fit_are_named(tmp_path: Path) -> None:
    text = TYPES["std_msgs/msg/String"](data="no map")
    messages = [
        (0.0, "/map", text),
        (1.0, "/pose", pose_stamped(1.0, 0.0, 0.0, 10.0)),
        (1.0, "/odom", odometry(1.0, 0.0, 0.0, 10.0)),
    ]
    with Bag(write_bag(tmp_path / "bag", messages)) as bag:
        with pytest.raises(BagError, match="--pose-topic: /odom, /pose"):
            bag.pose_topic(None)
        assert bag.pose_topic("/odom") == "/odom"
        with pytest.raises(BagError, match="no topic /fix; poses are on /odom, /pose"):
            bag.pose_topic("/fix")
        with pytest.raises(BagError, match=r"/map is std_msgs/msg/String, expected geometry_msgs/msg/PoseStamped"):
            bag.pose_topic("/map")
        with pytest.raises(BagError, match=r"/map is std_msgs/msg/String, expected nav_msgs/msg/OccupancyGrid"):
            bag.require_map()
    with Bag(write_bag(tmp_path / "poses", messages[1:2])) as bag, pytest.raises(BagError, match="no topic /map"):
        bag.require_map()


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path, storage: str) -> None:
    path = write_bag(tmp_path / "bag", flight(2000), storage)
    file = next(path.glob("bag.*"))
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    poses: list[RecordedPose] = []
    told = ""
    try:
        with Bag(path) as bag:
            told = bag.damage
            for message in bag.messages("/pose", maps=False):
                assert isinstance(message, RecordedPose)
                poses.append(message)
    except BagError as error:
        told = str(error)
    assert str(path) in told and "\n" not in told
    assert len(poses) > 300
    assert [recorded.pose.x for recorded in poses] == list(range(len(poses)))


def test_files_of_a_recorder_that_was_killed_need_no_metadata(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "bag", flight(), "sqlite3")
    (path / "metadata.yaml").unlink()
    _, poses, damage = read(path)
    assert len(poses) == 5 and damage == ""


def test_what_is_no_bag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="no such bag"), Bag(tmp_path / "nothing"):
        pass
    with pytest.raises(BagError, match="no bag in this folder"), Bag(tmp_path):
        pass
    (tmp_path / "a.mcap").write_bytes(b"something else altogether")
    with pytest.raises(BagError, match=r"a\.mcap"), Bag(tmp_path / "a.mcap"):
        pass
