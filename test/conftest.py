"""What tests share: a ROS graph of their own with a mapper and a planner on it, and where the data is."""

from __future__ import annotations

import fcntl
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ros_graph import Planner

_domains = itertools.count()
DOMAINS = 101
"""Domains up to 101 keep clear of Linux's ephemeral ports."""


@pytest.fixture
def ros_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A domain of the test's own, on this machine only, logs in its temporary folder; for this process and children.

    Gives the whole environment, as a child process must inherit it.
    """
    pytest.importorskip("rclpy")
    with _own_domain() as number:
        settings = {
            "ROS_DOMAIN_ID": str(number),
            "RDFLUX_DOMAIN_ID": str(number),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "ROS_LOG_DIR": str(tmp_path / "ros_log"),
            "AMENT_PREFIX_PATH": os.pathsep.join(filter(None, (sys.prefix, os.environ.get("AMENT_PREFIX_PATH")))),
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        yield dict(os.environ)


@pytest.fixture
def domain(ros_environment: dict[str, str]) -> int:
    """An own ROS domain, also for child processes."""
    return int(ros_environment["ROS_DOMAIN_ID"])


@pytest.fixture
def planner(domain: int, run_node: Callable[..., object]) -> Iterator[Planner]:
    """A planner on the test's graph; it leaves before processes are killed, whose memory it shares."""
    from ros_graph import Planner

    planner = Planner(domain)
    yield planner
    planner.close()


@pytest.fixture
def run_node(domain: int) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the process of a module of ours with parameters; stopped at the end."""
    started: list[subprocess.Popen[str]] = []

    def run(module: str, *arguments: str, **parameters: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", f"rdflux_ros.node.{module}", *arguments, "--ros-args"]
        for name, value in parameters.items():
            command += ["-p", f"{name}:={value}"]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def run_mapper(run_node: Callable[..., subprocess.Popen[str]]) -> Callable[..., subprocess.Popen[str]]:
    """Starts the mapper's process with parameters."""

    def run(*arguments: str, **parameters: object) -> subprocess.Popen[str]:
        return run_node("mapper_node", *arguments, **{"device": "cpu", "model": "physics", **parameters})

    return run


@contextmanager
def _own_domain() -> Iterator[int]:
    """A domain that no other test on this machine uses meanwhile; a killed one leaves its free."""
    start = next(_domains) + os.getpid() * 7
    for number in range(start, start + DOMAINS):
        domain = 1 + number % DOMAINS
        with (Path(tempfile.gettempdir()) / f"rdflux_ros_domain_{domain}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield domain
            return
    raise RuntimeError(f"all {DOMAINS} ROS domains are in use by tests on this machine")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of the ray-traced data (environment variable RDFLUX_DATA)."""
    root = os.environ.get("RDFLUX_DATA")
    if not root:
        pytest.skip("RDFLUX_DATA does not name the folder of the ray-traced data")
    path = Path(root)
    if not (path / "city" / "split.json").is_file():
        pytest.fail(f"RDFLUX_DATA = {root} holds no city/split.json")
    return path


@pytest.fixture(scope="session")
def krems() -> Path:
    """The folder of the flight that ships with the repository: map, heights, bag, truth."""
    return Path(__file__).parents[1] / "examples" / "krems"
