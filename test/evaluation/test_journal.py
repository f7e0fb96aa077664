"""The journal of a long command: what was done is there again, unless it depends on something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from rdflux_ros.evaluation import journal
from rdflux_ros.evaluation.journal import Journal, opened

SETTINGS = {"ratios": (0.5, 0.98), "model": {"digest": "abc"}}


def test_results_are_there_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.jsonl"
    first = Journal(path, SETTINGS)
    first.add("a", {"nmse": 0.1})
    first.add("b", {"psnr": float("inf")})
    again = Journal(path, SETTINGS)
    assert again.results == {"a": {"name": "a", "nmse": 0.1}, "b": {"name": "b", "psnr": float("inf")}}
    assert again.changed == []


def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    journal = Journal(path, SETTINGS)
    journal.add("a", {"nmse": 0.1})
    journal.add("b", {"nmse": 0.2})
    path.write_text(path.read_text()[:-6])
    again = Journal(path, SETTINGS)
    assert list(again.results) == ["a"]
    again.add("b", {"nmse": 0.2})
    assert list(Journal(path, SETTINGS).results) == ["a", "b"]


def test_other_settings_start_anew_and_are_named(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    Journal(path, SETTINGS).add("a", {"nmse": 0.1})
    other = Journal(path, {**SETTINGS, "model": {"digest": "xyz"}})
    assert other.results == {} and other.changed == ["model"]
    assert Journal(path, SETTINGS).changed == ["model"]


def test_a_file_of_something_else_is_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text("no json\n")
    assert Journal(path, SETTINGS).results == {}


@pytest.mark.parametrize(("what", "name"), [("code_digest", "code"), ("hardware_line", "hardware")])
def test_another_code_or_machine_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str, name: str
) -> None:
    path, settings = tmp_path / "results.jsonl", {**SETTINGS, "device": "cpu"}
    opened(path, settings).add("a", {"nmse": 0.1})
    assert list(opened(path, settings).results) == ["a"]
    assert "goes on after 1 results" in capsys.readouterr().err
    monkeypatch.setattr(journal, what, lambda *_: "other")
    assert opened(path, settings).results == {}
    assert f"other {name}, so all starts anew" in capsys.readouterr().err
