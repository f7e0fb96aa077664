"""`evaluate uncertainty`: laws fitted on one split hold on another, and are written for the mapper."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rdflux_ros.evaluation.evaluate import main
from rdflux_ros.evaluation.uncertainty import _Ratios
from rdflux_ros.mapping.uncertainty import SUFFIX, load_laws
from rdflux_ros.model import checkpoint
from rdflux_ros.model.tiny import model_file

STREETS = Path(__file__).parents[2] / "examples" / "streets"


def test_laws_are_fitted_checked_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out, report = (
        model_file(tmp_path / "tiny.safetensors", steps=10, reuse_ratio=0.8),
        tmp_path / "u.json",
        tmp_path / "r",
    )
    command = ["uncertainty", "--data", str(STREETS), "--split", "train", "--check", "val", "--limit", "2"]
    assert main([*command, "--model", str(model), "--fit", "--json", str(out), "--report", str(report)]) == 0
    found = json.loads(out.read_text())
    assert [row[:3] for row in found["rows"]][:2] == [["flux", 0.25, "z >= 25 m"], ["flux", 0.25, "z < 25 m"]]
    shares = np.array([row[6:] for row in found["rows"] if row[3] > 0])
    assert (np.diff(shares, axis=1) >= 0).all() and (shares >= 0).all() and (shares <= 1).all()
    assert (
        "Rank correlation" in capsys.readouterr().out
        and "checked on val of streets" in (report / "report.md").read_text()
    )
    assert (report / "reliability.png").stat().st_size > 5_000
    laws = load_laws(str(model), checkpoint.read(model).digest)
    flux, physics = laws.law("flux", 0.25), laws.law("physics", 0.25)
    assert flux is not None and physics is not None and flux.stddev_db.mean() > physics.stddev_db.mean() > 0, (
        "untrained"
    )
    assert json.loads(model.with_suffix(SUFFIX).read_text())["fitted_on"] == "train split of streets"


def test_shares_and_multiples_of_errors_that_are_normal() -> None:
    random = np.random.default_rng(0)
    ratios = _Ratios()
    stddev = random.uniform(1.0, 9.0, 400_000).astype(np.float32)
    ratios.add(stddev, np.abs(random.normal(0.0, stddev)).astype(np.float32))
    assert ratios.multiple(0.6827) == pytest.approx(1.0, abs=0.02) and ratios.share(1.96) == pytest.approx(
        0.95, abs=0.005
    )
    assert ratios.mean() == pytest.approx((np.sqrt(np.mean(stddev**2)),) * 2, rel=0.01)


def test_a_model_without_the_stage_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = model_file(tmp_path / "part.safetensors", ["conditional"])
    assert main(["uncertainty", "--data", str(STREETS), "--model", str(model)]) == 2
    assert "holds no stage static, aligned" in capsys.readouterr().err
