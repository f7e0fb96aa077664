"""Every executable answers --help at once, without the heavy libraries."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {
    "mapper": "rdflux_ros.node.mapper_node",
    "replay": "rdflux_ros.evaluation.replay",
    "view": "rdflux_ros.node.view",
    "evaluate": "rdflux_ros.evaluation.evaluate",
    "benchmark": "rdflux_ros.node.benchmark",
    "benchmark --node": "rdflux_ros.node.benchmark",
    "benchmark --soak": "rdflux_ros.node.benchmark",
    "benchmark --fuzz": "rdflux_ros.node.benchmark",
    "train": "rdflux_ros.training.train",
    "precompute": "rdflux_ros.mapping.precompute",
    "demo": "rdflux_ros.node.demo",
}
ASK = """
import sys
from {module} import main
try:
    code = main([*{options}, "--help"])
except SystemExit as stop:
    code = stop.code or 0
HEAVY = {{"torch", "rclpy", "matplotlib", "cv2", "rosbags", "skimage", "hypothesis", "aiohttp"}}
heavy = sorted(set(sys.modules) & HEAVY)
print("heavy:", heavy, "code:", code)
"""


@pytest.mark.parametrize("name", MODULES)
def test_help_is_quick_and_light(name: str) -> None:
    ask = ASK.format(module=MODULES[name], options=name.split()[1:])
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, timeout=60)
    took = time.perf_counter() - start
    assert done.stdout.rstrip().endswith("heavy: [] code: 0"), done.stdout + done.stderr
    assert "usage: " in done.stdout
    assert took < 5.0  # a second on an idle machine; the list of modules above is what keeps it there
