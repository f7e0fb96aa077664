"""What tests share: a ROS graph of their own with a mapper and a planner on it, and where the data is."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ros_graph import Planner

_domains = itertools.count()
DOMAINS, WORKERS = 96, 8
"""Domains up to 101 keep clear of Linux's ephemeral ports; up to eight workers share them."""


@pytest.fixture
def ros_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A domain of the test's own, on this machine only, logs in its temporary folder; for this process and children.

    Gives the whole environment, as a child process must inherit it.
    """
    pytest.importorskip("rclpy")
    settings = {
        "ROS_DOMAIN_ID": str(_next_domain()),
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
def planner(domain: int) -> Iterator[Planner]:
    """A planner on the test's graph."""
    from ros_graph import Planner

    planner = Planner(domain)
    yield planner
    planner.close()


@pytest.fixture
def run_mapper(domain: int) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the mapper's process with parameters; stopped at the end."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **parameters: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "rdflux_ros.node.mapper_node", *arguments, "--ros-args"]
        for name, value in {"device": "cpu", "model": "physics", **parameters}.items():
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


def _next_domain() -> int:
    """A domain that no other worker of this run uses, nor, most likely, another run on this machine."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    run = os.getppid() if worker else os.getpid()
    own = int(worker[2:]) % WORKERS if worker else 0
    per_worker = DOMAINS // WORKERS
    return 1 + (run * 7 + own * per_worker + next(_domains) % per_worker) % DOMAINS


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
