"""The learning curve of several trainings: what their model files say, as a table and a plot."""

from __future__ import annotations

from pathlib import Path

import pytest

from rdflux_ros.evaluation.evaluate import main
from rdflux_ros.model import checkpoint
from rdflux_ros.model.tiny import random_model


def model_file(path: Path, maps: int, last: float, without: str = "") -> Path:
    curve = {
        "step": [10.0, 30.0], "seconds": [60.0, 180.0], "nmse_above": [0.02, last], "nmse_below": [0.05, 3 * last],
        "physics_above": [0.03] * 2, "physics_below": [0.06] * 2,
    }  # fmt: skip
    notes = {"maps": maps, "batch": 8, "device": "a CPU", "curve": curve}
    notes.pop(without, None)
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(random_model(["aligned"]), path, {"aligned": notes})
    return path


def test_trainings_stand_in_order_of_their_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = model_file(tmp_path / "many" / "model.safetensors", 120, 0.011)
    few = model_file(tmp_path / "few" / "model.safetensors", 40, 0.017)
    report = tmp_path / "report"
    assert main(["learning", str(many), str(few), "--report", str(report)]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.endswith("a CPU |")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert cells == [
        ["40", "240", "6", "3", "0.017", "0.03", "0.051", "0.06", "a CPU"],
        ["120", "240", "2", "3", "0.011", "0.03", "0.033", "0.06", "a CPU"],
    ]
    text = (report / "report.md").read_text()
    assert all(row in text for row in rows) and "![learning](learning.png)" in text and "Made by `evaluate" in text
    assert (report / "learning.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("lacking", ["maps", "curve"])
def test_a_file_without_a_curve_is_named(tmp_path: Path, lacking: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = model_file(tmp_path / "old" / "model.safetensors", 40, 0.02, lacking)
    assert main(["learning", str(path)]) == 2
    said = capsys.readouterr().err
    assert str(path) in said and lacking in said and len(said.splitlines()) == 1
