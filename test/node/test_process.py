"""The mapper as a process: start, refusal, end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from ros_graph import START_S as STARTED_S
from ros_graph import Planner, handles, pose, streets, values, wait_until_it_handles

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
    planner.wait(planner.poses.get_subscription_count, "activation", STARTED_S)
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


SIGNALS, IN_FLIGHT, AT_ONCE = 12, 4, 3
"""Mappers that are stopped, those of them that answer poses by then, and how many run beside each other."""
START_S, FLIGHT_S = 6.0, 2.0
"""How long after its beginning a start or a flight is stopped at most [s]."""
END_S, LATE, LATE_S = 2.0, 2, 8.0
"""How long an end may take; so many may take so long instead where the machine has other things to do [s]."""


@dataclass
class Stopped:
    """A mapper that is stopped some time after it began to start, or to answer."""

    name: str
    process: subprocess.Popen[str]
    number: signal.Signals
    in_flight: bool
    delay_s: float
    due: float | None = None
    sent: float | None = None

    def began(self, flying: set[str]) -> bool:
        """It answers, or its handlers are installed, before which it is Python that starts."""
        if self.in_flight:
            return self.name in flying
        return handles(self.process, self.number)

    def __str__(self) -> str:
        """What a failure says of it."""
        when = "flight" if self.in_flight else "start"
        return f"{self.name}: {self.number.name} {self.delay_s:.2f} s after the beginning of its {when}"


@pytest.mark.timeout(400)
def test_signals_at_random_times_end_it_well(planner: Planner, run_mapper: Run) -> None:
    seed = int(os.environ.get("RDFLUX_SEED", random.SystemRandom().randrange(10**6)))
    print(f"RDFLUX_SEED={seed}")
    draw = random.Random(seed)
    flights = set(draw.sample(range(SIGNALS), IN_FLIGHT))
    planner.send_map(streets())
    waiting, running, took, number = list(range(SIGNALS)), list[Stopped](), dict[str, float](), 0
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            index = waiting.pop(0)
            name = f"/m{index}/radio_mapper"
            shared = [f"-r {topic}:=/{topic}" for topic in ("map", "pose")]
            process = run_mapper("--ros-args", *" ".join([f"-r __ns:=/m{index}", *shared]).split(), model="shipped")
            delay_s = draw.uniform(0.0, FLIGHT_S if index in flights else START_S)
            which = draw.choice([signal.SIGINT, signal.SIGTERM])
            running.append(Stopped(name, process, which, index in flights, delay_s))
        number += 1
        planner.poses.publish(pose(130.0 + number % 40, 120.0, stamp_ns=number * 50_000_000))
        time.sleep(0.02)
        flying = {
            status.name.partition(":")[0]
            for message in planner.heard["/diagnostics"]
            for status in message.status
            if int(values(status).get("poses_answered", 0))
        }
        took |= {str(one): took_s for one in running if (took_s := stopped(one, flying)) is not None}
        running = [one for one in running if str(one) not in took]
    assert sum(took_s > END_S for took_s in took.values()) <= LATE, took


def stopped(one: Stopped, flying: set[str]) -> float | None:
    """Signal it when its time has come; how long its end took [s], with code 0 and without a word. None before."""
    now = time.monotonic()
    if one.sent is None:
        assert one.process.poll() is None, f"{one} died: {ended(one.process)}"
        if one.due is None and one.began(flying):
            one.due = now + one.delay_s
        if one.due is not None and now >= one.due:
            one.process.send_signal(one.number)
            one.sent = now
        return None
    if one.process.poll() is None:
        assert now - one.sent < LATE_S, f"{one} does not end"
        return None
    code, output = ended(one.process)
    assert code == 0 and "Traceback" not in output, f"{one}: code {code}: {output}"
    return now - one.sent


def test_a_hang_up_while_starting_ends_it_well(run_mapper: Run) -> None:
    process = run_mapper()
    wait_until_it_handles(process, signal.SIGHUP)
    time.sleep(1.0)
    ends_well(process, signal.SIGHUP)


def ends_well(process: subprocess.Popen[str], number: signal.Signals) -> None:
    start = time.monotonic()
    process.send_signal(number)
    code, output = ended(process)
    assert code == 0, output
    assert time.monotonic() - start < 2.0 and "Traceback" not in output, output
