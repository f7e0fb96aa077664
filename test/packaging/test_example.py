"""The flight that ships with the repository is whole, small, and its script writes it again."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from rdflux_ros.mapping.inputs import load_occupancy
from rdflux_ros.mapping.regions import RegionTracker
from rdflux_ros.radio.grid import Grid


def read(bag: Path) -> tuple[list, list]:
    """(maps, poses) as [(bag time [ns], message)]."""
    highlevel = pytest.importorskip("rosbags.highlevel")
    content: dict[str, list] = {"/map": [], "/pose": []}
    with highlevel.AnyReader([bag]) as reader:
        for connection, time_ns, raw in reader.messages():
            content[connection.topic].append((time_ns, reader.deserialize(raw, connection.msgtype)))
        durability = {c.topic: [p.durability.name for p in c.ext.offered_qos_profiles] for c in reader.connections}
    assert durability["/map"] == ["TRANSIENT_LOCAL"]
    return content["/map"], content["/pose"]


def test_the_bag_is_the_flight(krems: Path) -> None:
    ((map_time, grid),), poses = read(krems / "flight")
    occupancy = load_occupancy(krems / "map.yaml")
    assert np.array_equal(np.asarray(grid.data).reshape(occupancy.data.shape), occupancy.data)
    times = np.array([time_ns for time_ns, _ in poses])
    assert map_time < times[0]
    assert set(np.diff(times)) == {500_000_000}
    assert [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for _, m in poses] == list(times)
    with (krems / "poses.csv").open(newline="") as file:
        known = [[float(row[key]) for key in "xyz"] for row in csv.DictReader(file)]
    flown = [[m.pose.position.x, m.pose.position.y, m.pose.position.z] for _, m in poses[::4]]
    assert flown == pytest.approx(np.array(known), abs=1e-9)


def test_the_truth_is_whole_in_every_window_of_the_flight(krems: Path, data_root: Path) -> None:
    _, poses = read(krems / "flight")
    tracker = RegionTracker()
    for number, (_, message) in enumerate(poses):
        grid = tracker.update(message.pose.position.x, message.pose.position.y).grid
        if number % 4 == 0:
            name = f"{number // 4:03d}.png"
            kept, whole = window(krems / "truth" / name, grid), window(data_root / "flights/krems/truth" / name, grid)
            assert whole.any() and np.array_equal(kept, whole), name


def window(image: Path, grid: Grid) -> NDArray[np.uint8]:
    pixels = np.flipud(cv2.imread(str(image), cv2.IMREAD_UNCHANGED))
    south, west = int(grid.origin_y), int(grid.origin_x)
    return pixels[max(south, 0) : south + grid.height, max(west, 0) : west + grid.width]


def test_it_stays_small(krems: Path) -> None:
    assert sum(path.stat().st_size for path in krems.rglob("*") if path.is_file()) < 4e6


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_the_script_writes_the_same_flight(storage: str, krems: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(krems / "make_bag.py"), "--storage", storage, "--out", str(tmp_path / "bag")]
    subprocess.run(command, check=True, timeout=60)
    (map_of_ours,), poses = read(krems / "flight")
    (map_written,), written = read(tmp_path / "bag")
    assert map_written[0] == map_of_ours[0]
    assert np.array_equal(map_written[1].data, map_of_ours[1].data)
    assert [stamp for stamp, _ in written] == [stamp for stamp, _ in poses]
    for (_, one), (_, other) in zip(written, poses, strict=True):
        assert str(one.header) == str(other.header)
        assert numbers(one.pose) == pytest.approx(numbers(other.pose), abs=1e-12)  # numpy's sine differs by processor


def numbers(pose: Any) -> list[float]:
    position, turn = pose.position, pose.orientation
    return [position.x, position.y, position.z, turn.x, turn.y, turn.z, turn.w]
