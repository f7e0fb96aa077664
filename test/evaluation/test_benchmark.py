"""`benchmark` runs from the repository alone and says what it timed on what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from rdflux_ros.evaluation.inference import Stopwatch
from rdflux_ros.model import checkpoint
from rdflux_ros.model.tiny import model_file
from rdflux_ros.node.benchmark import main


def test_all_figures_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "benchmark.json"
    counts = ["--poses", "3", "--regions", "2", "--batches", "1", "--full", "1"]
    model = model_file(tmp_path / "tiny.safetensors")
    assert main(["--device", "cpu", "--model", str(model), *counts, "--json", str(out)]) == 0
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
    printed = capsys.readouterr().out
    assert "p99" in printed and "full chain (100 steps): whole" in printed and "flux, R = 0.99 (1 step)" in printed
    check_inference(found["inference"], checkpoint.read(model).digest)


def test_walls_are_timed_with_the_gpus_work(monkeypatch: pytest.MonkeyPatch) -> None:
    laps: list[str] = []
    lap = Stopwatch.lap

    def counted(self: Stopwatch, name: str) -> None:
        laps.append(name)
        lap(self, name)

    monkeypatch.setattr(Stopwatch, "lap", counted)
    assert main(["--device", "cpu", "--model", "physics", "--poses", "1", "--regions", "1", "--batches", "1"]) == 0
    assert laps == ["walls", "walls"]


def check_inference(found: dict[str, Any], digest: str) -> None:
    assert found["model"]["digest"] == digest
    full, flux, new = found["full"], found["flux"], found["new_region"]
    assert (full["steps"], flux["0.98"]["steps"], flux["0.99"]["steps"]) == (100, 2, 1)
    assert full["whole"]["n"] == 1 and flux["0.98"]["whole"]["n"] == 3 and new["whole"]["n"] == 2
    of_a_pose = {"physics", "condition", "steps", "decode"}
    for times in (full, *flux.values()):
        assert set(times["parts"]) == of_a_pose
        assert sum(part["mean"] for part in times["parts"].values()) == pytest.approx(times["whole"]["mean"])
    assert set(new["parts"]) == {"crop", "walls", "image", "static_encoders", "first_stage"} | of_a_pose
    assert all(part["p50"] > 0 for part in new["parts"].values())
    for ratio, times in flux.items():
        steps = full["parts"]["steps"]["p50"] / times["parts"]["steps"]["p50"]
        assert found["ratio"][ratio]["steps"] == pytest.approx(steps) and steps > 5
        assert 1 < found["ratio"][ratio]["whole"] < steps
    kept = found["kept_bytes"]
    assert kept["midpoint"] == 16 * 64 * 64 * 2, "float16"
    assert kept["total"] == pytest.approx(sum(kept[name] for name in kept if name != "total"), abs=2)
    assert kept["walls"] > 1216**2 * 2 and kept["footprint"] == 256**2 and kept["condition"] > kept["midpoint"]


def test_what_the_model_lacks_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cv2.imwrite(str(tmp_path / "map.pgm"), np.full((300, 300), 254, np.uint8))
    limits = "negate: 0\noccupied_thresh: 0.65\nfree_thresh: 0.196\n"
    (tmp_path / "map.yaml").write_text(f"image: map.pgm\nresolution: 1.0\norigin: [0, 0, 0]\n{limits}")
    out = tmp_path / "benchmark.json"
    counts = ["--poses", "1", "--regions", "1", "--batches", "1"]
    command = ["--device", "cpu", "--map", str(tmp_path / "map.yaml"), *counts, "--json", str(out)]
    assert main([*command, "--model", "physics"]) == 0
    found = json.loads(out.read_text())
    assert found["known_region"]["n"] == 1 and "inference" not in found
    model = model_file(tmp_path / "two.safetensors", ["static", "aligned"])
    assert main([*command, "--model", str(model)]) == 0
    found = json.loads(out.read_text())["inference"]
    assert set(found["flux"]) == {"0.98", "0.99"} and "full" not in found and "ratio" not in found
    assert f"full chain left out: {model}: holds no stage conditional" in capsys.readouterr().err
    assert main([*command, "--model", "none.safetensors"]) == 2
    assert "none.safetensors" in capsys.readouterr().err


def test_a_missing_map_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--map", "none.yaml"]) == 2
    assert "none.yaml" in capsys.readouterr().err
