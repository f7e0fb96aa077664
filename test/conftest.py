"""What tests share: a ROS graph of their own, and where the data is."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    }
    if not os.environ.get("AMENT_PREFIX_PATH"):
        settings["AMENT_PREFIX_PATH"] = sys.prefix
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    yield dict(os.environ)


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
