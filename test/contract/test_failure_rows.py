"""The failure contract's rows on models, devices, parameters, signals and bags, with real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import OccupancyGrid
from ros_graph import Planner, pose, streets, values

from rdflux_ros.model import checkpoint
from rdflux_ros.model.tiny import model_file, random_model
from rdflux_ros.node import qos

SECOND = 1_000_000_000
Run = Callable[..., Any]


@pytest.mark.parametrize("what", ["missing", "damaged", "other version"])
def test_model_file(planner: Planner, run_mapper: Run, tmp_path: Path, what: str) -> None:
    """Configure fails with one clear line that names the file."""
    path = model_file(tmp_path / "tiny.safetensors")
    if what == "missing":
        path.unlink()
    elif what == "damaged":
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    else:
        content = path.read_bytes()
        assert content.count(VERSION) == 1
        path.write_bytes(content.replace(VERSION, VERSION.replace(b"1", b"9")))
    process = run_mapper(model=str(path))
    found = planner.wait_for_level(DiagnosticStatus.ERROR, str(path))
    assert "configure failed" in found.message
    log = planner.stopped(process)
    lines = [line for line in log.splitlines() if str(path) in line]
    assert len(lines) == 1, log


VERSION = b'"version":"1"'


def test_no_cuda_though_asked(planner: Planner, run_mapper: Run) -> None:
    """ERROR, and the physics layer on the same topic, labelled."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    run_mapper(device="cuda", model="shipped", pose_timeout_s=60.0)
    planner.ready(streets())
    planner.fly(pose(130.0, 120.0, stamp_ns=SECOND))
    status = planner.layers(SECOND)[2]
    told = values(status)
    assert told["method"] == "physics_fallback" and "CUDA" in told["fallback"]
    assert status.level == DiagnosticStatus.ERROR
    planner.wait_for_level(DiagnosticStatus.ERROR, "no CUDA device")


def test_nan_out_of_the_network(planner: Planner, run_mapper: Run, tmp_path: Path) -> None:
    """ERROR, the physics layer on the same topic, and recovery as soon as the network answers again."""
    model = random_model()
    model.stage("aligned").denoiser.stem.weight.data.fill_(torch.nan)  # the frozen second stage is sound
    path = tmp_path / "nan.safetensors"
    checkpoint.save(model, path)
    run_mapper(model=str(path), static_steps=1, pose_timeout_s=60.0)
    planner.ready(streets())
    planner.fly(pose(130.0, 120.0, stamp_ns=SECOND))
    status = planner.layers(SECOND)[2]
    assert (values(status)["method"], status.level) == ("physics_fallback", DiagnosticStatus.ERROR)
    planner.wait_for_level(DiagnosticStatus.ERROR, "not finite")
    assert planner.set_parameters(aligned=False).successful
    stamps = iter(range(2, 40))
    while values(planner.layers(_flown(planner, next(stamps)))[2])["method"] != "flux":
        time.sleep(0.1)
    planner.wait_for_level(DiagnosticStatus.OK, "mapping")


def _flown(planner: Planner, second: int) -> int:
    planner.fly(pose(130.0, 120.0, stamp_ns=second * SECOND))
    return second * SECOND


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["-p", "colour:=red"], ["unknown parameter colour", "max_rate_hz"]),
        (["-p", "max_rate_hz:=0.0"], ["max_rate_hz", "0.01 to 1000"]),
        (["-p", "pose_source:=gps"], ["pose_source", "'pose', 'odom', 'px4'"]),
        (["--params-file", "bad.yaml"], ["bad.yaml"]),
    ],
)
def test_unknown_parameter_out_of_bounds_value_bad_yaml(
    run_mapper: Run, tmp_path: Path, given: list[str], says: list[str]
) -> None:
    (tmp_path / "bad.yaml").write_text("/**:\n  ros__parameters: [unclosed\n")
    given = [str(tmp_path / entry) if entry == "bad.yaml" else entry for entry in given]
    process = run_mapper("--ros-args", *given)
    written, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and "Traceback" not in written
    assert all(word in written for word in says), written


def test_settings_change_together_or_not_at_all(planner: Planner, run_mapper: Run, tmp_path: Path) -> None:
    run_mapper(model=str(model_file(tmp_path / "tiny.safetensors")), static_steps=1, pose_timeout_s=60.0)
    planner.ready(streets())
    for changes, words in (
        ({"reuse_ratio": 0.95, "tx_power_dbm": 500.0}, ("tx_power_dbm", "-50", "80")),
        ({"tx_power_dbm": 30.0, "reuse_ratio": 0.955}, ("reuse_ratio",)),
        ({"tx_power_dbm": 30.0, "stations": "1 2"}, ("stations", "three numbers")),
        ({"tx_power_dbm": 30.0, "cache_size": 5}, ("cache_size", "configure")),
    ):
        result = planner.set_parameters(**changes)
        assert not result.successful and all(word in result.reason for word in words), result.reason
    planner.fly(pose(130.0, 120.0, stamp_ns=SECOND))
    assert values(planner.layers(SECOND)[2])["reuse_ratio"] == "0.98"
    assert planner.set_parameters(reuse_ratio=0.95, sensitivity_dbm=-80.0, occupied_threshold=90).successful
    stamps = iter(range(2, 80))
    for asked, told in ((0.95, "0.95"), ("auto", "1")):  # nothing moves, so all of the answer is reused
        assert planner.set_parameters(reuse_ratio=asked).successful
        while values(planner.layers(_flown(planner, next(stamps)))[2]).get("reuse_ratio") != told:
            time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_flight(planner: Planner, run_mapper: Run, number: signal.Signals) -> None:
    """Exit code 0 within 2 s, no traceback."""
    process = run_mapper(model="shipped")
    planner.ready(streets())
    for second in range(1, 4):
        planner.poses.publish(pose(130.0 + second, 120.0, stamp_ns=second * SECOND))
        time.sleep(0.2)
    process.send_signal(number)
    begun = time.monotonic()
    written, _ = process.communicate(timeout=30)
    assert time.monotonic() - begun < 2.0 and process.returncode == 0 and "Traceback" not in written, written


def test_deactivate_in_flight(planner: Planner, run_mapper: Run) -> None:
    """Nothing is published after it."""
    run_mapper(model="shipped")
    planner.ready(streets())
    for second in range(1, 4):
        planner.poses.publish(pose(130.0 + second, 120.0, stamp_ns=second * SECOND))
    planner.queries.publish(pose(300.0, 120.0, stamp_ns=9 * SECOND))
    assert planner.change_state(Transition.TRANSITION_DEACTIVATE)
    time.sleep(0.3)  # what was sent before may still be on the wire
    before = planner.counts()
    planner.poses.publish(pose(130.0, 120.0, stamp_ns=10 * SECOND))
    planner.listen("radio_map", OccupancyGrid, qos.LATCHED, key="late")
    time.sleep(2.0)
    after = planner.counts()
    for topic in ("radio_map", "radio_map/pathloss", "radio_map/status", "radio_map/query", "late"):
        assert after.get(topic, 0) == before.get(topic, 0), topic
    assert planner.node.count_publishers("radio_map") == 0


@pytest.mark.parametrize("what", ["truncated", "topic absent", "wrong type"])
def test_bag(tmp_path: Path, krems: Path, what: str) -> None:
    """Replay: one clear line, exit code 2, and what was computed so far is written."""
    bag = tmp_path / "flight.mcap"
    content = (krems / "flight" / "flight.mcap").read_bytes()
    bag.write_bytes(content[:-14_000] if what == "truncated" else content)
    options = {
        "truncated": ["--map", str(krems / "map.yaml")],
        "topic absent": ["--pose-topic", "/nowhere"],
        "wrong type": ["--pose-topic", "/map"],
    }
    command = [sys.executable, "-m", "rdflux_ros.evaluation.replay", str(bag), "--out", str(tmp_path / "out")]
    command += ["--set", "model=physics", "--set", "device=cpu", "--max-rate", "0.2", *options[what]]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=250)
    last = ran.stderr.strip().splitlines()[-1]
    assert ran.returncode == 2 and "Traceback" not in ran.stderr, ran.stderr[-2000:]
    assert str(bag) in last or "/nowhere" in last or "/map" in last
    if what == "truncated":
        rows = (tmp_path / "out" / "answers.csv").read_text().splitlines()
        assert len(rows) > 10
