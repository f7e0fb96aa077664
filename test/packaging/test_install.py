"""pip and colcon give what `ros2 launch` and `ros2 run` find."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXECUTABLES = ("benchmark", "evaluate", "mapper", "precompute", "replay", "train", "view")
SHARED = {folder: [p.name for p in (ROOT / folder).iterdir() if p.is_file()] for folder in ("config", "launch", "rviz")}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packaged, so that builds leave nothing in the tree."""
    folder = tmp_path_factory.mktemp("source") / "rdflux_ros"
    skipped = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "install", "log", "test", "examples")
    shutil.copytree(ROOT, folder, symlinks=True, ignore=skipped)
    return folder


@pytest.fixture(scope="module")
def pip_prefix(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    prefix = tmp_path_factory.mktemp("pip")
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    # pip would take the package out of the environment that runs the tests
    kept = ["--ignore-installed", "--prefix", str(prefix)]
    run([sys.executable, "-m", "pip", "install", *offline, *kept, str(source)])
    return prefix


@pytest.fixture(scope="module", params=["install", "symlink-install"])
def colcon_prefix(request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("colcon_ros")
    workspace = tmp_path_factory.mktemp(request.param)
    (workspace / "src").mkdir()
    shutil.copytree(source, workspace / "src" / "rdflux_ros", symlinks=True)
    options = ["--symlink-install"] if request.param == "symlink-install" else []
    run([sys.executable, "-m", "colcon", "build", "--base-paths", "src", *options], cwd=workspace)
    return workspace / "install" / "rdflux_ros"


def test_pip_gives_what_ros2_finds(pip_prefix: Path) -> None:
    assert_ros2_finds(pip_prefix)


def test_the_browser_views_page_is_installed(pip_prefix: Path) -> None:
    (page,) = pip_prefix.rglob("rdflux_ros/node/view.html")
    assert page.read_bytes() == (ROOT / "rdflux_ros" / "node" / "view.html").read_bytes()


def test_after_pip_only_prefixed_names_are_on_path(pip_prefix: Path) -> None:
    assert sorted(p.name for p in (pip_prefix / "bin").iterdir()) == [f"rdflux-{name}" for name in EXECUTABLES]


def test_colcon_gives_what_ros2_finds(colcon_prefix: Path) -> None:
    assert_ros2_finds(colcon_prefix)


def test_an_executable_of_a_colcon_workspace_runs(colcon_prefix: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "AMENT_PREFIX_PATH")}
    command = f'. "{colcon_prefix}/share/rdflux_ros/package.sh" && "$0" --help && echo "$AMENT_PREFIX_PATH"'
    executable = colcon_prefix / "lib" / "rdflux_ros" / "evaluate"
    environment["COLCON_CURRENT_PREFIX"] = str(colcon_prefix)
    output = run(["/bin/sh", "-c", command, str(executable)], env=environment, cwd="/")
    assert "usage: " in output
    assert str(colcon_prefix) in output


def assert_ros2_finds(prefix: Path) -> None:
    """Executables where `ros2 run` looks, shared files where launch files look, the package in the ament index."""
    executables = sorted((prefix / "lib" / "rdflux_ros").iterdir())
    assert [p.name for p in executables] == list(EXECUTABLES)
    assert all(os.access(p, os.X_OK) for p in executables)
    share = prefix / "share"
    assert (share / "ament_index" / "resource_index" / "packages" / "rdflux_ros").is_file()
    assert (share / "rdflux_ros" / "package.xml").is_file()
    assert (share / "rdflux_ros" / "models").is_dir()
    for folder, names in SHARED.items():
        assert names, f"{folder}/ is empty"
        assert {p.name for p in (share / "rdflux_ros" / folder).iterdir()} >= set(names)


def run(command: list[str], **options: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return str(done.stdout)
