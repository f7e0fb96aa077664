"""The journal of a long command: what was done is there again, unless it depends on something else."""

from __future__ import annotations

from pathlib import Path

from rdflux_ros.evaluation.journal import Journal

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
