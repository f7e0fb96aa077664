"""The demo on a short stretch of its flight: a real mapper process, a real graph."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def demo(environment: dict[str, str], out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rdflux_ros.node.demo", "--out", str(out), *options]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=150)


def test_every_pose_is_answered_and_scored(ros_environment: dict[str, str], tmp_path: Path) -> None:
    done = demo(ros_environment, tmp_path, "--poses", "7", "--rate", "0.25")  # slow machines count too
    assert done.returncode == 0, done.stdout + done.stderr
    table = dict(line.strip("| ").split(" | ") for line in (tmp_path / "demo.md").read_text().splitlines()[2:])
    table = {key.strip(): value.strip() for key, value in table.items()}
    assert table["poses played"] == "7"
    # Those that come while the first region is made may be lost to the next.
    answered = int(table["by method"].removesuffix(" flux"))
    assert answered >= 6 and table["maps received, stamped as their pose"] == f"{answered} ({answered / 7:.1%})"
    for method in ("flux", "physics"):
        assert table[f"{method}: poses scored against truth"] in ("1", "2")
        assert float(table[f"{method}: error over free cells, rms [dB]"]) < 20.0
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "demo.gif").read_bytes().startswith(b"GIF89a")


def test_a_mapper_that_dies_is_one_line_and_code_1(
    ros_environment: dict[str, str], krems: Path, tmp_path: Path
) -> None:
    example = tmp_path / "example"
    shutil.copytree(krems, example)
    (example / "height.yaml").write_text(
        "image: nowhere.png\nresolution: 0.25\norigin: [0, 0, 0]\nheight_scale: 0.01\n"
    )
    done = demo(ros_environment, tmp_path / "out", "--example", str(example))
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("demo: the mapper ")
    assert "nowhere.png" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bag_that_is_not_there_is_one_line_and_code_1(ros_environment: dict[str, str], tmp_path: Path) -> None:
    done = demo(ros_environment, tmp_path / "out", "--bag", str(tmp_path / "none"))
    assert (done.returncode, done.stderr) == (1, f"demo: {tmp_path / 'none'}: no such bag\n")


def test_the_view_is_beside_it_and_ends_with_it(ros_environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rdflux_ros.node.demo", "--out", str(tmp_path), "--view", "0"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=ros_environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    said = process.stdout.readline().decode()
    address = re.fullmatch(r"The flight in a browser: (http://127\.0\.0\.1:\d+/)\n", said)
    assert address, said
    with urllib.request.urlopen(address[1], timeout=20) as page:
        assert b"<title>Radio map</title>" in page.read()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGINT
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address[1], timeout=20)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_leaves_no_mapper_behind(
    how: signal.Signals, ros_environment: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "rdflux_ros.node.demo", "--out", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, env=ros_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 60
    while not (mappers := children.read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(how)
    _, errors = process.communicate(timeout=20)
    assert mappers
    assert not any(Path("/proc", mapper).exists() for mapper in mappers)
    assert process.returncode == 128 + how
    assert b"Traceback" not in errors
