"""`benchmark` runs from the repository alone and says what it timed on what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rdflux_ros.evaluation.benchmark import main


def test_all_figures_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "benchmark.json"
    assert main(["--device", "cpu", "--poses", "3", "--regions", "2", "--batches", "1", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["threads"] >= 1 and found["warm_up"] and found["hardware"]["cpu"] and found["device"] == "cpu"
    assert found["wall_resolution_m"] == 0.25
    for key, count in (("known_region", 3), ("new_region", 2), ("batch", 1)):
        assert found[key]["n"] == count
        assert 0 < found[key]["p50"] <= found[key]["p99"]
    assert found["new_region"]["p50"] > found["parts"]["one"]["walls"]["p50"]
    for parts in found["parts"].values():
        assert set(parts) == {"walls", "profiles", "diffraction", "reflections", "local_mean"}
        assert all(values["p50"] > 0 for values in parts.values())
    assert "p99" in capsys.readouterr().out


def test_a_missing_map_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--map", "none.yaml"]) == 2
    assert "none.yaml" in capsys.readouterr().err
