"""The mapper as a process: start, refusal, end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ros_graph import Planner, pose, streets

ROOT = Path(__file__).parents[2]
Run = Callable[..., "subprocess.Popen[str]"]


def ended(process: subprocess.Popen[str], timeout_s: float = 20.0) -> tuple[int, str]:
    output, _ = process.communicate(timeout=timeout_s)
    return process.returncode, output


def test_help_is_quick_and_imports_neither_torch_nor_rclpy() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "rdflux_ros.node.mapper_node", "--help"]
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=20)
    assert done.returncode == 0 and "radio_map/pathloss" in done.stdout and "max_rate_hz" in done.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "rclpy", "cv2", "matplotlib"}
    assert time.monotonic() - start < 3.0  # a second on a machine that does nothing else


def test_the_parameter_file_is_what_the_settings_say(planner: Planner, run_mapper: Run) -> None:
    from rdflux_ros.node.parameters import as_yaml

    path = ROOT / "config" / "mapper.yaml"
    assert path.read_text() == as_yaml(), "write it anew from rdflux_ros.node.parameters.as_yaml()"
    process = run_mapper("--ros-args", "--params-file", str(path))
    planner.wait(planner.poses.get_subscription_count, "activation")
    ends_well(process, signal.SIGINT)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"max_rate_hz": -1.0}, ("max_rate_hz", "0.01 to 1000")),
        ({"occupied_threshold": "high"}, ("occupied_threshold", "1 to 100")),
        ({"unknown_is": "water"}, ("unknown_is", "'free', 'occupied'")),
        ({"max_rat_hz": 1.0}, ("unknown parameter max_rat_hz", "max_rate_hz")),
    ],
)
def test_bad_parameters_are_refused_by_name_and_bounds(
    run_mapper: Run, parameters: dict[str, object], says: tuple[str, ...]
) -> None:
    code, output = ended(run_mapper(**parameters))
    assert code == 2 and all(word in output for word in says), output
    assert len(output.strip().splitlines()) == 1, output


def test_a_broken_parameter_file_is_refused_in_one_line(run_mapper: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("/**:\n  ros__parameters:\n    max_rate_hz: [1.0\n")
    code, output = ended(run_mapper("--ros-args", "--params-file", str(broken)))
    assert code == 2 and "broken.yaml" in output and "Traceback" not in output, output


def test_an_argument_that_would_be_ignored_is_refused(run_mapper: Run) -> None:
    code, output = ended(run_mapper("--params-file", "mapper.yaml"))
    assert code == 2 and "--params-file mapper.yaml" in output and "--ros-args" in output, output
    assert len(output.strip().splitlines()) == 1, output


@pytest.mark.parametrize(
    ("delay_s", "number"),
    [(0.5, signal.SIGTERM), (0.9, signal.SIGTERM), (1.5, signal.SIGTERM), (1.5, signal.SIGHUP)],
)
def test_a_signal_while_starting_ends_it_well(run_mapper: Run, delay_s: float, number: signal.Signals) -> None:
    process = run_mapper()
    time.sleep(delay_s)
    ends_well(process, number)


def test_a_signal_in_flight_ends_it_well(planner: Planner, run_mapper: Run) -> None:
    process = run_mapper(max_rate_hz=1000.0)
    planner.ready(streets())
    planner.fly(pose(130.0, 120.0, stamp_ns=1))
    for n in range(2, 30):
        planner.poses.publish(pose(130.0, 120.0, stamp_ns=n))
        time.sleep(0.01)
    ends_well(process, signal.SIGINT)


def ends_well(process: subprocess.Popen[str], number: signal.Signals) -> None:
    start = time.monotonic()
    process.send_signal(number)
    code, output = ended(process)
    assert code == 0, output
    assert time.monotonic() - start < 2.0 and "Traceback" not in output, output
