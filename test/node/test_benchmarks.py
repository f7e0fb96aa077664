"""What `benchmark` measures on a real graph, in short: real processes, figures that add up, a soak that goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from rdflux_ros.node import benchmark
from rdflux_ros.node.benchmarks import soak
from rdflux_ros.node.benchmarks.fuzz import fuzz
from rdflux_ros.node.fuzzing.property import Property

ROOT = Path(__file__).parents[2]
OFTEN = """
import sys
from rdflux_ros.node.benchmarks import flight, soak
flight.WARM_UP, flight.MAP_EVERY, flight.BAD_EVERY, flight.JUMP_EVERY, flight.DEACTIVATE_EVERY = 0, 3, 4, 5, 6
sys.exit(soak.main(sys.argv[1:]))
"""

AT_ONCE = """
import sys
from rdflux_ros.node.benchmarks import overhead
overhead.WARM_UP = 3
sys.exit(overhead.main(sys.argv[1:]))
"""


def run(environment: dict[str, str], *arguments: str, timeout: float = 200) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout)


def test_overhead_is_the_whole_less_the_computation(ros_environment: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "node.json"
    done = run(ros_environment, "-c", AT_ONCE, "--poses", "5", "--device", "cpu", "--json", str(out))
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["hardware"]["cpu"] and found["hardware"]["cpu"] in done.stdout and "node overhead" in done.stdout
    mean = {part: found[part]["mean"] for part in ("whole", "computation", "overhead", "inside", "outside")}
    assert all(found[part]["n"] == 5 for part in mean)
    assert mean["overhead"] == pytest.approx(mean["whole"] - mean["computation"])
    assert mean["overhead"] == pytest.approx(mean["inside"] + mean["outside"])
    assert 0 < mean["overhead"] < mean["computation"] < mean["whole"]


def test_a_mapper_that_does_not_start_is_one_line(ros_environment: dict[str, str]) -> None:
    done = run(ros_environment, "-m", "rdflux_ros.node.benchmark", "--node", "--model", "none.safetensors")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "none.safetensors" in done.stderr.strip().splitlines()[-1]


def test_a_soak_counts_what_happens(ros_environment: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "soak.json"
    options = ["--poses", "12", "--minutes", "0.05", "--device", "cpu", "--json", str(out)]
    done = run(ros_environment, "-c", OFTEN, *options)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    parts = [found[part]["runs"] for part in ("full rate, tiny model", "20 Hz, shipped model")]
    assert [len(runs) for runs in parts] == [1, 1]
    for (one,) in parts:
        assert set(one["events"]) == {"deactivations", "map updates", "time jumps", "poses inside a building"}
        assert one["counts"]["maps_received"] > 1 and one["counts"]["time_jumps"] >= 1
        assert one["unaccounted"] == 0 and one["sent"] >= one["received"] > one["answered"]
        assert one["growth"] == pytest.approx(one["end"]["memory_kib"] / one["warm"]["memory_kib"] - 1)
        assert one["end"]["memory_kib"] > 50_000 and one["end"]["threads"] > 1 and one["end"]["handles"] > 3
    assert parts[0][0]["heard"] >= 12 and parts[0][0]["answered"] >= 12
    assert "growth of memory" in done.stdout


def test_the_trend_of_memory_is_that_of_most_samples() -> None:
    def run(memory: list[int]) -> dict[str, Any]:
        return {"samples": [[10 * k, 1000 + 20 * k, one] for k, one in enumerate(memory)]}

    flat = [1000] * 40
    assert soak.trend(run(flat)) == 0.0
    assert soak.trend(run([1400 if k % 7 == 0 else 1000 for k in range(40)])) == pytest.approx(0.0, abs=0.01)
    assert soak.trend(run([1000 + 5 * k for k in range(41)])) == pytest.approx(0.2)
    assert soak.trend(run(flat[:5])) is None
    early = {"samples": [[0, 10, 100], *run(flat)["samples"]]}
    assert soak.trend(early) == 0.0, "the warm-up is left out"


def test_a_soak_that_was_stopped_goes_on(ros_environment: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "soak.json"
    options = ["-m", "rdflux_ros.node.benchmark", "--soak", "--device", "cpu", "--minutes", "0", "--json", str(out)]
    process = subprocess.Popen([sys.executable, *options], cwd=ROOT, env=ros_environment, stderr=subprocess.PIPE)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 100
    while not heard(out) and time.monotonic() < deadline:
        time.sleep(0.1)
    mappers = children.read_text().split()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM and b"Traceback" not in errors
    assert mappers and not any(Path("/proc", mapper).exists() for mapper in mappers)
    (first,) = json.loads(out.read_text())["full rate, tiny model"]["runs"]
    assert first["heard"] >= 1
    done = run(ros_environment, *options, "--poses", str(first["heard"] + 3))
    assert done.returncode == 0, done.stderr
    before, after = json.loads(out.read_text())["full rate, tiny model"]["runs"]
    assert before == first and 3 <= after["heard"] <= 4


def heard(progress: Path) -> int:
    """Answers of the first part so far."""
    if not progress.is_file():
        return 0
    return int(json.loads(progress.read_text())["full rate, tiny model"]["runs"][-1]["heard"])


def test_another_file_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.json"
    other.write_text("{}")
    assert benchmark.main(["--soak", "--json", str(other)]) == 1
    assert str(other) in capsys.readouterr().err and other.read_text() == "{}"


def test_a_broken_property_is_told_with_its_input_and_seed() -> None:
    def check(number: int) -> None:
        assert number < 1000

    holds = Property("holds", st.integers(), lambda _: None)
    one, two = fuzz([Property("breaks", st.integers(), check), holds], examples=1200, seed=5)
    assert "seed 5" in one["broken"] and "1000" in one["broken"] and one["examples"] < 600
    assert (two["property"], two["broken"], two["examples"]) == ("holds", "", 600)


def test_fuzz_prints_its_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "fuzz.json"
    command = ["--fuzz", "--examples", "30", "--only", "stamps", "--json", str(out)]
    assert benchmark.main(command) == 0
    found = json.loads(out.read_text())
    assert f"seed {found['seed']}" in capsys.readouterr().out
    assert [one["examples"] for one in found["properties"]] == [30]
    assert benchmark.main(["--fuzz", "--only", "nothing like it"]) == 2


def test_without_hypothesis_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    assert benchmark.main(["--fuzz"]) == 2
    assert capsys.readouterr().err == "benchmark --fuzz: needs hypothesis: pip install hypothesis\n"


def test_one_measurement_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--node", "--soak"]) == 2
    assert "--node and --soak" in capsys.readouterr().err
