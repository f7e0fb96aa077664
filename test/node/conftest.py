"""A real graph for every test: its own ROS domain, the mapper in a thread or a process, and a planner that listens."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ros_graph import Planner


@pytest.fixture
def domain(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    """An own ROS domain, also for child processes."""
    here = [item.nodeid for item in request.session.items if item.path.parent == Path(__file__).parent]
    number = 10 + here.index(request.node.nodeid) % 50
    monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join([sys.prefix, os.environ.get("AMENT_PREFIX_PATH", "")]))
    return number


@pytest.fixture
def planner(domain: int) -> Iterator[Planner]:
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
            cwd=Path(__file__).parents[2],
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
