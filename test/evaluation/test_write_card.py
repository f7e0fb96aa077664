"""The card of a trained model: its training, its curves, and only tables that were measured with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rdflux_ros.evaluation.evaluate import main
from rdflux_ros.model import checkpoint
from rdflux_ros.model.tiny import random_model

NOTES = {
    "conditional": {
        "steps": 40, "seconds": 90, "batch": 8, "data": "12 maps. © OpenStreetMap contributors.", "device": "a CPU",
        "curve": {"step": [20.0, 40.0], "loss": [2.0, 1.0], "nmse_above": [0.02, 0.0123], "physics_above": [0.03] * 2},
    },
    "static": {"steps": 10, "seconds": 30, "batch": 8, "data": "12 maps.", "curve": {"step": [10.0], "loss": [0.75]}},
}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "small.safetensors"
    return path, checkpoint.save(random_model(["conditional", "static"]), path, NOTES)


def table(path: Path, digest: str) -> Path:
    scores = {"nmse": 0.0071, "nmse_median": 0.004, "nmse_pooled": 0.005, "ssim": 0.9, "psnr": 30.0, "rmse_db": 3.5}
    content = {
        "split": "test", "data": "city", "map_resolution": 1.0, "maps": 7, "cars": False, "model": {"digest": digest},
        "methods": {"flux": {"above_25m": scores, "below_25m": {**scores, "nmse": None}}},
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return path


def test_a_card_tells_training_curves_and_tables(model: tuple[Path, str], tmp_path: Path) -> None:
    path, digest = model
    assert main(["card", "--model", str(path), "--accuracy", str(table(tmp_path / "a.json", digest))]) == 0
    card = path.with_suffix(".md").read_text()
    for text in (
        digest,
        "© OpenStreetMap",
        "best at step 40",
        "2 minutes on a CPU",
        "| 40 | 0.0123 | 0.03 |",
        "| 10 | 0.75 |",
    ):
        assert text in card, text
    assert "| flux | z ≥ 25 m | 0.0071 |" in card and "| flux | z < 25 m" not in card
    assert "`evaluate accuracy --split test --map-resolution 1`" in card


def test_a_card_adds_up_what_its_training_started_from(tmp_path: Path) -> None:
    before = NOTES["conditional"]
    curve = {"step": [7.0, 9.0], "seconds": [200.0, 330.0], "loss": [1.0, 1.1], "nmse_above": [0.011, 0.012]}
    start = {"file": "first.safetensors", "digest": "ab12" * 16, "notes": before}
    after = {**before, "steps": 7, "seconds": 200, "curve": curve, "config": "own.yaml", "start": start}
    path = tmp_path / "tuned.safetensors"
    checkpoint.save(random_model(["conditional", "static"]), path, {**NOTES, "conditional": after})
    assert main(["card", "--model", str(path)]) == 0
    card = path.with_suffix(".md").read_text()
    for text in (
        "- conditional: best at step 40 of 8 maps each, 2 minutes on a CPU, `train conditional --config train.yaml`; "
        "then from ab12ab12ab12, best at step 7 of 8 maps each, 6 minutes on a CPU, "
        "`train conditional --start first.safetensors --config own.yaml`\n",
        "- in all: 8 minutes\n",  # 90 s, 330 s to the last validation, 30 s
        "| 40 | 0.0123 | 0.03 |",
        "conditional stage, from ab12ab12ab12, validation maps",
        "| 9 | 0.012 |",
    ):
        assert text in card, text


def test_a_card_states_the_threshold_on_changed_streets(
    model: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, digest = model
    updates = {"pairs": 600, "kept_share": 0.734, "kept_rmse_db": 0.008, "kept_rmse_db_worst": 0.07}
    found = {"split": "val", "data": "city", "threshold": 0.053, "knee": 0.02, "updates": updates}
    file = tmp_path / "similarity.json"
    for measured, expected in ((digest, 0), ("00ff", 2)):
        file.write_text(json.dumps({**found, "model": {"digest": measured}}))
        assert main(["card", "--model", str(path), "--similarity", str(file)]) == expected
    assert "another model" in capsys.readouterr().err
    card = path.with_suffix(".md").read_text()
    assert "| 0.053 | 0.02 | 600 | 73% | 0.008 | 0.07 |" in card and "`evaluate similarity --split val`" in card


def test_tables_of_another_model_and_files_that_are_none_are_refused(
    model: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    none = tmp_path / "none.json"
    none.write_text("[]")
    for file, says in ((table(tmp_path / "b.json", "00ff"), "another model"), (none, "no table")):
        assert main(["card", "--model", str(model[0]), "--accuracy", str(file)]) == 2
        line = capsys.readouterr().err.strip()
        assert str(file) in line and says in line and "\n" not in line
