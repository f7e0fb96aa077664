"""Reports on one page."""

from __future__ import annotations

from pathlib import Path

import pytest

from rdflux_ros.evaluation import evaluate
from rdflux_ros.evaluation.console import model_name
from rdflux_ros.evaluation.results import sign

HARDWARE = {"cpu": "a processor", "cores": 2, "torch": "2.13.0"}


def test_a_report_tells_what_made_it_without_places(tmp_path: Path) -> None:
    (tmp_path / "report.md").write_text("# Accuracy\n")
    argv = ["accuracy", "--data", "/far/away/city", "--json", "/x/a.json", "--limit", "2", f"--report={tmp_path}"]
    sign(tmp_path, argv, HARDWARE)
    title, _, made = (tmp_path / "report.md").read_text().splitlines()
    assert title == "# Accuracy"
    assert made.startswith("Made by `evaluate accuracy --data city --limit 2`, 20")
    assert made.endswith("a processor, 2 cores, torch 2.13.0.")


def test_reports_stand_on_one_page_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("zebra", "transmitter", "accuracy"):
        folder = tmp_path / "results" / name
        folder.mkdir(parents=True)
        (folder / "report.md").write_text(f"# About {name}\n\n## Picture\n\n![error](error.png) [F](https://x.org/f)\n")
    out = tmp_path / "results.md"
    assert evaluate.main(["results", str(tmp_path / "results"), "--out", str(out)]) == 0
    lines = out.read_text().splitlines()
    titles = [line for line in lines if line.startswith("#")]
    about = [f"## About {name}" for name in ("accuracy", "transmitter", "zebra")]
    assert titles == ["# Results", *(title for each in about for title in (each, "### Picture"))]
    assert "![error](results/zebra/error.png) [F](https://x.org/f)" in lines
    assert "accuracy, transmitter, zebra" in capsys.readouterr().out


def test_sections_of_different_models_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digests = {"accuracy": "a" * 64, "movement": "b" * 64, "static": "a" * 64}
    for name, digest in digests.items():
        (tmp_path / name).mkdir()
        said = model_name({"file": "flux.safetensors", "digest": digest})
        (tmp_path / name / "report.md").write_text(f"# About {name}\n\nModel {said}, R = 0.99.\n")
    command = ["results", str(tmp_path), "--out", str(tmp_path / "results.md")]
    assert evaluate.main(command) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"different models: {'a' * 12}: accuracy, static; {'b' * 12}: movement")
    (tmp_path / "movement" / "report.md").unlink()
    assert evaluate.main(command) == 0 and capsys.readouterr().err == ""


def test_no_report_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["results", str(tmp_path), "--out", str(tmp_path / "x.md")]) == 2
    assert str(tmp_path) in capsys.readouterr().err and not (tmp_path / "x.md").exists()
