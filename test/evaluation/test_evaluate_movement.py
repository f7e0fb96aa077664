"""`evaluate movement`: answers that are kept while the transmitter moves."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_scenes import make_scenes

from rdflux_ros.data.radiomapseer import RadioMapSeer
from rdflux_ros.evaluation.evaluate import main
from rdflux_ros.evaluation.methods import Split
from rdflux_ros.evaluation.movement import DISTANCES_M, displaced, summarise_movement
from rdflux_ros.mapping.config import STILL_M
from rdflux_ros.model.tiny import model_file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("movement")
    make_scenes(folder / "city")
    model_file(folder / "whole.safetensors", steps=10, reuse_ratio=0.8)
    model_file(folder / "static.safetensors", ["static"], steps=10, reuse_ratio=0.8)
    return folder


def test_a_transmitter_is_displaced_level_and_neither_into_a_building_nor_off_the_window(folder: Path) -> None:
    sample = replace(Split(RadioMapSeer(folder / "city"))[0], position=np.array([20.0, 30.0, 10.0]))
    there = displaced(sample, 2.0, np.pi / 2)
    assert there is not None and there.position == pytest.approx([20.0, 32.0, 10.0])
    places = [displaced(replace(sample, transmitter=k), distance, 0.0) for k in range(3) for distance in DISTANCES_M]
    names = {sample.name, *(place.name for place in places if place is not None)}
    assert len(names) == 1 + 3 * len(DISTANCES_M), "kept things of the one are not taken for the other's"
    assert displaced(replace(sample, position=np.array([1.0, 30.0, 10.0])), 2.0, np.pi) is None
    row, col = np.argwhere(sample.heights_m > 5.0)[0]
    beside = replace(sample, position=np.array([col + 0.5, row - 1.5, 3.0]))
    assert displaced(beside, 3.0, np.pi / 2) is None


def test_means_by_distance_ratio_and_spacing() -> None:
    def result(nmse: float, lost: float, scene: str = "a") -> dict:
        moved = {f"{d:g}": {"nmse": nmse + lost * d, "rmse_db": d} for d in DISTANCES_M}
        fixed = {"0.98": {"nmse": 2 * nmse, "ms": 30.0}, "0.99": {"nmse": nmse, "ms": 20.0}}
        return {"scene": scene, "z_m": 30.0, "fixed": fixed, "moved": moved}

    away = result(0.02, 0.01)
    away["moved"]["4"] = {"nmse": math.nan, "rmse_db": math.nan}
    found = summarise_movement([result(0.01, 0.01), away], 0)
    assert [row["distance_m"] for row in found["moved"]] == list(DISTANCES_M)
    assert [row["lost"] for row in found["moved"]] == pytest.approx([0.01 * d for d in DISTANCES_M])
    assert [row["maps"] for row in found["moved"]] == [2] * 7 + [1]
    assert found["fixed"][1] == {"reuse_ratio": 0.99, "nmse": pytest.approx(0.015), "ms": 20.0}
    spacing = {row["spacing_m"]: row for row in found["auto"]}
    assert spacing[STILL_M]["computed"] == 0.5 and spacing[STILL_M]["ms"] == pytest.approx(10.0)
    assert spacing[STILL_M]["nmse"] == pytest.approx(0.015 + 0.01 * STILL_M / 2)
    assert all(math.isnan(row["low"]) for row in found["moved"]), "one scene makes no interval"
    many = summarise_movement([result(0.01 * k, 0.01 * k, f"{k}") for k in range(1, 7)], 0)["moved"][5]
    assert 0.01 < many["low"] < many["lost"] == pytest.approx(0.035) and many["lost"] < many["high"] < 0.06
    dark = result(math.nan, 0.01, "b")
    assert (
        summarise_movement([result(0.01, 0.01), dark], 0)["auto"] == summarise_movement([result(0.01, 0.01)], 0)["auto"]
    )
    assert spacing[1.0] == {"spacing_m": 1.0, "computed": 1.0, "nmse": pytest.approx(0.015), "ms": 20.0}


def test_it_is_measured_reported_and_gone_on_with(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = folder / "movement.json"
    arguments = [
        "movement", "--data", str(folder / "city"), "--split", "test", "--pairs", "2", "--device", "cpu",
        "--model", str(folder / "whole.safetensors"), "--json", str(made), "--report", str(folder / "report"),
    ]  # fmt: skip
    assert main(arguments) == 0
    summary = json.loads(made.read_text())
    assert [row["reuse_ratio"] for row in summary["fixed"]] == [0.5, 0.8, 0.9]
    still, far = summary["moved"][0], summary["moved"][-1]
    assert 0 < still["rmse_db"] < far["rmse_db"] and summary["maps"] == 2
    assert all(row["ms"] > 0 for row in summary["fixed"])
    printed = capsys.readouterr().out
    assert "auto, a pose every 0.5 m" in printed and "50% of the poses" in printed
    assert "Made by `evaluate movement" in (folder / "report" / "report.md").read_text()
    assert (folder / "report" / "movement.png").stat().st_size > 1000
    lines = made.with_suffix(".jsonl").read_text()
    assert main(arguments) == 0 and made.with_suffix(".jsonl").read_text() == lines
    assert "goes on after 2 results" in capsys.readouterr().err


def test_a_model_without_a_second_stage_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(folder / "static.safetensors")
    assert main(["movement", "--data", str(folder / "city"), "--split", "test", "--model", model]) == 2
    assert "aligned" in capsys.readouterr().err
