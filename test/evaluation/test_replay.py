"""`replay`: a flight over empty ground against free space, and what it says of a bag that does not fit."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_files import occupancy, odometry, pose_stamped, write_bag

from rdflux_ros.evaluation.replay import main
from rdflux_ros.radio.units import free_space_gain, grey_from_gain

ORIGIN = (-64.0, 32.0)
WIDTH, HEIGHT = 330, 300
POSES = [(0.0, 20.0, 150.0, 12.0), (1.0, 60.0, 170.0, 15.0), (2.0, 130.0, 200.0, 30.0), (3.0, 200.0, 100.0, 60.0)]
"""t, x, y, z; over three regions, some of whose windows are partly off the map."""


def plain() -> np.ndarray:
    return np.zeros((HEIGHT, WIDTH), np.int8)


def flight(topic: str = "/pose", frame: str = "map") -> list:
    return [(0.0, "/map", occupancy(plain(), ORIGIN))] + [
        (t, topic, pose_stamped(t, x, y, z, frame)) for t, x, y, z in POSES
    ]


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Free space for every second pose, north up, with poses.csv beside the folder."""
    folder = tmp_path / "flight" / "truth"
    folder.mkdir(parents=True)
    rows = [POSES[0], POSES[2]]
    with (folder.parent / "poses.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("t", "x", "y", "z"), *rows])
    y, x = np.indices((HEIGHT, WIDTH)) + 0.5
    for i, (_, px, py, pz) in enumerate(rows):
        distance = np.sqrt((x + ORIGIN[0] - px) ** 2 + (y + ORIGIN[1] - py) ** 2 + (1.5 - pz) ** 2)
        grey = np.rint(255 * grey_from_gain(free_space_gain(distance))).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i:03d}.png"), grey[::-1])
    return folder


def run(bag: Path, out: Path, *arguments: object) -> tuple[int, dict]:
    figures = out / "figures.json"
    code = main([str(bag), "--out", str(out), "--json", str(figures), "--set", "model=physics", *map(str, arguments)])
    return code, json.loads(figures.read_text()) if figures.exists() else {}


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_flight_is_answered_and_scored(tmp_path: Path, truth: Path, storage: str) -> None:
    out = tmp_path / "out"
    code, found = run(write_bag(tmp_path / "bag", flight(), storage), out, "--truth", truth)
    assert code == 0
    assert (found["poses"], found["maps"], found["dropped"]) == (4, 4, {})
    assert found["midpoints_computed"] + found["midpoint_hits"] == 4
    assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p99"]
    physics = found["methods"]["physics"]
    assert physics["maps"] == 2
    # A truth that is flipped, shifted or matched with another pose is far beyond this.
    assert physics["nmse"] < 0.005 and physics["rmse_db"] < 3.0
    assert {"rmse", "ssim", "psnr"} <= set(physics)
    with (out / "answers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["x"]) for row in rows] == [pose[1] for pose in POSES]
    assert [bool(row["nmse"]) for row in rows] == [True, False, True, False]
    from PIL import Image

    with Image.open(out / "flight.gif") as animation, Image.open(out / "picture.png") as picture:
        assert animation.n_frames == 4
        assert picture.width > picture.height * 0.8


def test_fast_bags_are_thinned_in_their_own_time(tmp_path: Path) -> None:
    messages = [(0.0, "/map", occupancy(plain(), ORIGIN))]
    messages += [(0.1 * i, "/odom", odometry(0.1 * i, 20.0 + i, 150.0, 40.0)) for i in range(20)]
    code, found = run(write_bag(tmp_path / "bag", messages), tmp_path / "out", "--max-rate", 2)
    assert code == 0
    assert found["poses"] == 4, "at 0, 0.5, 1.0 and 1.5 s"


def test_what_is_no_pose_on_the_map_is_counted(tmp_path: Path) -> None:
    cells = plain()
    cells[100:140, 100:140] = 100
    messages = [
        (0.0, "/map", occupancy(cells, ORIGIN)),
        (1.0, "/pose", pose_stamped(1.0, math.nan, 150.0, 40.0)),
        (2.0, "/pose", pose_stamped(2.0, 5000.0, 150.0, 40.0)),
        (3.0, "/pose", pose_stamped(3.0, ORIGIN[0] + 120, ORIGIN[1] + 120, 10.0)),
        (4.0, "/pose", pose_stamped(4.0, ORIGIN[0] + 120, ORIGIN[1] + 120, 30.0)),
    ]
    code, found = run(write_bag(tmp_path / "bag", messages), tmp_path / "out")
    assert code == 0
    assert (found["poses"], found["maps"]) == (4, 1)
    assert found["dropped"] == {"pose_not_finite": 1, "pose_outside_map": 1, "pose_inside_building": 1}


def test_a_map_file_replaces_the_bags_map(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "map.pgm"), np.full((HEIGHT, WIDTH), 254, np.uint8))
    (tmp_path / "map.yaml").write_text(
        f"image: map.pgm\nresolution: 1.0\norigin: [{ORIGIN[0]}, {ORIGIN[1]}, 0]\n"
        "negate: 0\noccupied_thresh: 0.65\nfree_thresh: 0.25\n"
    )
    bag = write_bag(tmp_path / "bag", flight()[1:3])
    code, found = run(bag, tmp_path / "out", "--map", tmp_path / "map.yaml")
    assert (code, found["maps"]) == (0, 2)
    assert run(bag, tmp_path / "other")[0] == 2, "and without one there is none"


def test_poses_in_another_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = write_bag(tmp_path / "bag", flight(frame="odom"))
    code, found = run(bag, tmp_path / "out")
    assert (code, found["maps"]) == (2, 0)
    line = error_line(capsys)
    assert "'odom'" in line and "'map'" in line and "/pose" in line
    code, found = run(bag, tmp_path / "out", "--pose-frame-is-map")
    assert (code, found["maps"]) == (0, 4)


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr that is no progress bar."""
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("replay: ")]
    lines = [line for line in lines if "pose/s" not in line and "%|" not in line]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name one with --pose-topic: /other, /pose"),
        (["--pose-topic", "/fix"], "no topic /fix"),
        (["--pose-topic", "/map"], "/map is nav_msgs/msg/OccupancyGrid"),
        (["--pose-topic", "/pose", "--map", "none.yaml"], "none.yaml"),
        (["--pose-topic", "/pose", "--truth", "none"], "none: no such folder"),
        (["--pose-topic", "/pose", "--set", "speed=3"], "unknown setting speed"),
        (["--pose-topic", "/pose", "--set", "reflection_order=99"], "0 to 6"),
        (["--pose-topic", "/pose", "--set", "device=["], "--set device=[: no value that YAML can read"),
    ],
)
def test_what_does_not_fit_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    bag = write_bag(tmp_path / "bag", [*flight(), (9.0, "/other", pose_stamped(9.0, 20.0, 150.0, 30.0))])
    code, found = run(bag, tmp_path / "out", *arguments)
    assert (code, found) == (2, {})
    assert message in error_line(capsys)


def test_truth_of_another_flight_is_refused(tmp_path: Path, truth: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = write_bag(tmp_path / "bag", [*flight()[:2], (5.0, "/pose", pose_stamped(5.0, 21.0, 150.0, 12.0))])
    (truth.parent / "poses.csv").write_text("t,x,y,z\n0,90,90,90\n")
    assert run(bag, tmp_path / "out", "--truth", truth)[0] == 2
    assert "within 0.25 m" in error_line(capsys)


def test_of_a_bag_that_was_cut_off_what_was_computed_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_bag(tmp_path / "bag", flight())
    file = next(path.glob("*.mcap"))
    content = file.read_bytes()
    # Without the end and without the last poses: the one chunk is cut in its middle.
    file.write_bytes(content[: content.rindex(b"map\x00") - 100])
    code, found = run(path, tmp_path / "out")
    assert code == 2
    assert 0 < found["maps"] < 4
    assert (tmp_path / "out" / "answers.csv").read_text().count("\n") == 1 + found["maps"]
    assert str(path) in error_line(capsys)


def test_the_example_flight(krems: Path, tmp_path: Path) -> None:
    code, found = run(
        krems / "flight", tmp_path / "out", "--height-map", krems / "height.yaml", "--truth", krems / "truth",
        "--max-rate", 0.05, "--set", "model=shipped",
    )  # fmt: skip
    assert code == 0
    assert found["maps"] == found["poses"] == 6
    for method in ("flux", "physics"):
        assert found["methods"][method]["maps"] == 6
        assert found["methods"][method]["nmse"] < 0.04
