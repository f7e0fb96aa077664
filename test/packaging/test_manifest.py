"""package.xml as catkin_pkg and rosdep read it, and its agreement with setup.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_manifest_is_valid_and_names_what_runs() -> None:
    catkin_pkg = pytest.importorskip("catkin_pkg.package")
    warnings: list[str] = []
    package = catkin_pkg.parse_package(str(ROOT), warnings=warnings)
    assert warnings == []
    assert (package.package_format, package.licenses[0], package.get_build_type()) == (3, "Apache-2.0", "ament_python")
    assert {d.name for d in package.exec_depends} >= {
        "rclpy", "nav_msgs", "sensor_msgs", "geometry_msgs", "diagnostic_msgs", "std_srvs", "lifecycle_msgs",
        "ros2bag", "launch", "launch_ros", "python3-numpy", "python3-opencv", "python3-yaml",
        "python3-aiohttp", "ament_index_python", "builtin_interfaces", "rcl_interfaces", "std_msgs", "tf2_ros_py",
    }  # fmt: skip
    assert not {d.name for d in package.exec_depends} & {"python3-torch", "python3-safetensors"}, (
        "rosdep cannot bring them"
    )
    assert {d.name for d in package.test_depends} == {"python3-hypothesis", "python3-pytest"}


def test_manifest_and_setup_agree() -> None:
    catkin_pkg = pytest.importorskip("catkin_pkg.package")
    package = catkin_pkg.parse_package(str(ROOT))
    asked = [sys.executable, "setup.py", "--name", "--version", "--description", "--license", "--maintainer-email"]
    said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    maintainer = package.maintainers[0].email
    assert said[-5:] == [package.name, package.version, package.description, package.licenses[0], maintainer]
