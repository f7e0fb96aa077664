"""`evaluate reuse`: what each scenario keeps, what equals what, and that a run goes on where it was."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from tiny_scenes import make_scenes

from rdflux_ros.data.radiomapseer import DataError, RadioMapSeer, Sample
from rdflux_ros.evaluation import reuse_bench
from rdflux_ros.evaluation.evaluate import main
from rdflux_ros.evaluation.inference import finished
from rdflux_ros.evaluation.methods import METHODS, Split, Workbench
from rdflux_ros.evaluation.metrics import scores
from rdflux_ros.evaluation.reuse import SCENARIOS, clairvoyant, evaluate_reuse
from rdflux_ros.evaluation.reuse_bench import Answer, ReuseBench
from rdflux_ros.flux.loading import load_model
from rdflux_ros.flux.pipeline import FluxPipeline
from rdflux_ros.model import checkpoint
from rdflux_ros.model.tiny import model_file

METHOD = {"steps": 10, "reuse_ratio": 0.8}
RATIOS = (0.5, 0.8)
TOLERANCE = 0.002
"""Of a grey where float16 is kept in place of float32."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes in ``city``, a whole model and one with the conditional stage only."""
    folder = tmp_path_factory.mktemp("reuse")
    make_scenes(folder / "city")
    model_file(folder / "whole.safetensors", **METHOD)
    model_file(folder / "conditional.safetensors", ["conditional"], **METHOD)
    return folder


def workbench(folder: Path, *, cars: bool = False) -> Workbench:
    loaded = load_model(str(folder / "whole.safetensors"), torch.device("cpu"))
    assert loaded is not None
    split = Split(RadioMapSeer(folder / "city", cars=cars), 1.0)
    return Workbench("cpu", loaded=loaded, flux=FluxPipeline(loaded.model), split=split)


@pytest.fixture(scope="module")
def bench(folder: Path) -> Workbench:
    return workbench(folder)


@pytest.fixture(scope="module")
def reuse(bench: Workbench) -> ReuseBench:
    return ReuseBench(bench, RATIOS)


def sample(bench: Workbench, name: str) -> Sample:
    assert bench.split is not None
    return bench.split[bench.split.names.index(name)]


def by_row(answers: list[Answer]) -> dict[tuple[str, float | None], np.ndarray]:
    return {(answer.method, answer.reuse_ratio): answer.grey for answer in answers}


def run(folder: Path, out: Path, *options: str, model: str = "whole", scenario: str = "transmitter") -> int:
    return main(
        ["reuse", "--scenario", scenario, "--ratios", "0,0.5,0.8", "--data", str(folder / "city"), "--device", "cpu",
         "--map-resolution", "1", "--model", str(folder / f"{model}.safetensors"), "--json", str(out), *options]
    )  # fmt: skip


def test_from_its_own_midpoint_vanilla_is_the_full_chain_at_every_ratio(bench: Workbench, reuse: ReuseBench) -> None:
    here = sample(bench, "a_0")
    own, other = (by_row(reuse.answers(here, origin)) for origin in (here, sample(bench, "a_1")))
    for ratio in RATIOS:
        assert np.array_equal(own["vanilla", ratio], own["full", None])
        assert not np.array_equal(other["vanilla", ratio], other["full", None])


def test_rows_are_what_the_methods_of_the_accuracy_tables_say(bench: Workbench, reuse: ReuseBench) -> None:
    here = sample(bench, "a_0")
    found = by_row(reuse.answers(here, bench.donor(here)))
    for method, row in (("physics", None), ("full", None), ("vanilla", 0.8), ("aligned", 0.8)):
        assert np.allclose(found[method, row], bench.answer(method, here)[0], atol=1e-6)
    assert np.allclose(found["flux_short", 0.8], bench.answer("flux", here)[0], atol=1e-6)
    paper = FluxPipeline(bench.flux.model, static_steps=0)
    with torch.inference_mode():
        *_, midpoint = paper.first_stage(bench.image(here), (2, 2))
        part = replace(bench.region(here, aligned=False), midpoint=midpoint)
        grey = paper.answer(part, bench.pose(here), (2, 2), aligned=False)[0, 0].numpy()
    assert np.abs(found["flux", 0.8] - grey).max() < TOLERANCE
    assert np.abs(found["flux", 0.8] - found["flux_short", 0.8]).max() > 1e-4


def test_aligned_has_rows_at_its_own_ratio_and_where_few_steps_are_left(bench: Workbench) -> None:
    reuse = ReuseBench(bench, [0.5, 0.8, 0.9])
    here, origin = sample(bench, "a_0"), sample(bench, "b_0")
    answers = reuse.answers(here, origin)
    assert [(answer.method, answer.reuse_ratio) for answer in answers] == reuse.rows()
    found = by_row(answers)
    assert [ratio for method, ratio in found if method == "aligned"] == [0.8, 0.9]
    most = FluxPipeline(bench.flux.model, reuse_ratio=0.9)
    there, own = (finished(most.streets(bench.image(one), (2, 2))) for one in (origin, here))
    grey = most.answer(replace(own, midpoint=there.midpoint), bench.pose(here), (2, 2))[0, 0].numpy()
    assert np.array_equal(found["aligned", 0.9], grey)
    assert "trained for R = 0.8" in reuse.left_out()["aligned"]
    assert ReuseBench(bench, [0.8, 0.9]).left_out() == {}


def test_a_journal_of_other_rows_starts_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "reuse.json"
    assert run(folder, out, "--pairs", "1") == 0
    monkeypatch.setattr(reuse_bench, "LEAST_ALIGNED", 0.5)
    assert run(folder, out, "--pairs", "2") == 0
    assert "other rows" in capsys.readouterr().err
    assert [row["method"] for row in json.loads(out.read_text())["rows"]].count("aligned") == 2


def test_streets_of_another_scene_leave_their_midpoint_to_every_method(bench: Workbench, reuse: ReuseBench) -> None:
    here = sample(bench, "a_0")
    assert bench.split is not None
    origin = SCENARIOS["static"](bench.split, here, 0)
    assert origin.scene == "b"
    kept, own = (by_row(reuse.answers(here, one)) for one in (origin, here))
    assert np.array_equal(kept["full", None], own["full", None])
    for row in own:
        if row[1] is not None:
            assert not np.array_equal(kept[row], own[row]), f"{row} knows the midpoint"
    part = replace(bench.region(here, aligned=True), midpoint=bench.region(origin, aligned=True).midpoint)
    assert np.array_equal(kept["aligned", 0.8], METHODS["aligned"].answer(bench, here, part))


def test_the_first_steps_of_the_dynamic_scenario_see_no_cars(folder: Path) -> None:
    bench = workbench(folder, cars=True)
    assert bench.split is not None and bench.split.names == ["a_0", "b_0"]
    here = bench.split[0]
    assert here.cars.any()
    origin = SCENARIOS["dynamic"](bench.split, here, 0)
    assert origin.name == here.name and not origin.cars.any()
    found = by_row(ReuseBench(bench, [0.8]).answers(here, origin))
    without = replace(here, cars=np.zeros_like(here.cars))
    image = bench.image(here)
    blind, seeing = (
        METHODS["vanilla"].answer(bench, here, (bench.own_midpoint(one), image)) for one in (without, here)
    )
    assert np.abs(blind - seeing).max() > 1e-3, "to this model cars matter"
    assert np.allclose(found["vanilla", 0.8], blind, atol=1e-6)
    assert np.allclose(found["full", None], seeing, atol=1e-6)
    # The first stage knows streets alone: other cars, same midpoint; the last steps do see them.
    moved = replace(here, cars=np.roll(here.cars, 20, axis=0), transmitter=7)
    again = by_row(ReuseBench(bench, [0.8]).answers(moved, replace(moved, cars=np.zeros_like(here.cars))))
    assert not np.array_equal(again["flux", 0.8], found["flux", 0.8])
    assert (again["flux", 0.8][moved.cars] == 0).all() and (found["flux", 0.8][here.cars] == 0).all()


def test_the_table_and_that_a_finished_run_computes_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, report = tmp_path / "reuse.json", tmp_path / "report"
    assert run(folder, out, "--pairs", "2", "--report", str(report)) == 0
    found = json.loads(out.read_text())
    assert found["pairs"] == 2 and found["ratios"] == [0.0, 0.5, 0.8]
    assert found["model"]["digest"] == checkpoint.read(folder / "whole.safetensors").digest
    assert [(row["method"], row["reuse_ratio"]) for row in found["rows"]] == [
        ("physics", None), ("full", None), ("vanilla", 0.5), ("vanilla", 0.8), ("flux", 0.5), ("flux", 0.8),
        ("flux_short", 0.8), ("aligned", 0.8),
    ]  # fmt: skip
    assert "R = 0.8" in found["left_out"]["aligned"]
    full = next(row for row in found["rows"] if row["method"] == "full")
    for row in found["rows"]:
        lost = row["against_full"]
        assert lost["nmse"] == pytest.approx(row["nmse"] - full["nmse"], abs=1e-9)
        assert lost["low"] is lost["high"] is None, "two scenes make no interval"
        assert row["ms"] >= row["steps_ms"]
    assert len(found["latents"]["vanilla"]["nmse"]) == 10 and len(found["latents"]["flux"]["nmse"]) == 8
    printed = capsys.readouterr().out
    assert "| vanilla" in printed and "drawn by seed 0" in printed and " [-] " in printed
    text = (report / "report.md").read_text()
    pictures = sorted(path.name for path in report.glob("*.png"))
    assert len(pictures) == 5 and all(name in text for name in pictures)

    def nothing(*_: object) -> None:
        raise AssertionError("computes")

    monkeypatch.setattr(ReuseBench, "answers", nothing)
    assert run(folder, out, "--pairs", "2", "--report", str(report)) == 0
    again = json.loads(out.read_text())
    assert again == found
    assert "goes on after 2 results" in capsys.readouterr().err


def test_more_pairs_go_on_and_another_model_starts_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "reuse.json"
    computed: list[str] = []
    answers = ReuseBench.answers

    def counted(self: ReuseBench, here: Sample, origin: Sample) -> list[Answer]:
        computed.append(here.name)
        return answers(self, here, origin)

    monkeypatch.setattr(ReuseBench, "answers", counted)
    assert run(folder, out, "--pairs", "1") == 0
    assert run(folder, out, "--pairs", "2") == 0
    assert len(computed) == 2 and len({name[0] for name in computed}) == 2, "one of each scene"
    capsys.readouterr()
    assert run(folder, out, "--pairs", "2", model="conditional") == 0
    found = json.loads(out.read_text())
    assert len(computed) == 4
    assert "other model" in capsys.readouterr().err
    assert {row["method"] for row in found["rows"]} == {"physics", "full", "vanilla"}
    assert "holds no stage static" in found["left_out"]["flux"]


def test_fewer_pairs_than_asked_for_are_said(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, tmp_path / "reuse.json", "--pairs", "9", model="conditional", scenario="dynamic") == 0
    assert "2 pairs are all that there are, not 9" in capsys.readouterr().err
    assert json.loads((tmp_path / "reuse.json").read_text())["pairs"] == 2


@pytest.mark.parametrize(
    ("ratios", "message"),
    [
        ("0.5,0.85", "reuse_ratio: reuse ratio 0.85 of 10 steps: must be whole steps"),
        ("0.5,1", "reuse_ratio = 1.0: must be 0 to 0.999"),
        ("0", "no reuse ratio above 0"),
    ],
)
def test_ratios_that_leave_no_steps_are_refused_by_name(
    folder: Path, capsys: pytest.CaptureFixture[str], ratios: str, message: str
) -> None:
    command = ["reuse", "--scenario", "transmitter", "--ratios", ratios, "--data", str(folder / "city")]
    assert main([*command, "--model", str(folder / "whole.safetensors"), "--device", "cpu"]) == 2
    assert message in capsys.readouterr().err


def test_what_a_scenario_needs_is_asked_for(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="unknown scenario night; known are transmitter, dynamic, static"):
        evaluate_reuse(folder / "city", "night", [0.5])
    with pytest.raises(SystemExit):
        main(["reuse", "--scenario", "night", "--ratios", "0.5", "--data", str(folder / "city")])
    assert "invalid choice: 'night'" in capsys.readouterr().err
    one = make_scenes(tmp_path / "one", ["a"], [[60.0, 240.0, 80.0]])
    for scenario, message in (("static", "one scene"), ("transmitter", "one transmitter")):
        with pytest.raises(DataError, match=message):
            evaluate_reuse(one, scenario, [0.5], model=str(folder / "whole.safetensors"))
    with pytest.raises(DataError, match="no model"):
        evaluate_reuse(folder / "city", "static", [0.5], model="physics")


def test_latents_of_the_same_chain_do_not_differ(bench: Workbench, reuse: ReuseBench) -> None:
    here = sample(bench, "a_0")
    assert not any(reuse.latents(here, here)["vanilla"]["error"])
    assert all(reuse.latents(here, sample(bench, "a_1"))["vanilla"]["error"])


def test_scores_are_those_of_the_metrics(folder: Path, tmp_path: Path, bench: Workbench) -> None:
    out = tmp_path / "reuse.json"
    assert run(folder, out, "--pairs", "1") == 0
    header, line = (json.loads(text) for text in out.with_suffix(".jsonl").read_text().splitlines())
    assert header["scenario"] == "transmitter"
    here = sample(bench, line["name"])
    full = next(row for row in line["rows"] if row["method"] == "full")
    expected = scores(bench.answer("full", here)[0], here.grey, here.free)
    assert full["scores"]["nmse"] == pytest.approx(expected["nmse"], rel=1e-5)
    assert line["origin"] == bench.donor(here).name


def test_what_choosing_for_each_map_could_gain() -> None:
    def rows(full: float, half: float, most: float) -> dict[str, object]:
        found = (
            ("full", None, full, 10.0),
            ("physics", None, 9.0, 0.1),
            ("flux", 0.5, half, 5.0),
            ("flux", 0.9, most, 1.0),
        )
        return {"rows": [
            {"method": method, "reuse_ratio": ratio, "seconds": seconds, "scores": {"nmse": nmse}}
            for method, ratio, nmse, seconds in found
        ]}  # fmt: skip

    alike = clairvoyant([rows(0.1, 0.2, 0.4), rows(0.1, 0.2, 0.4)])
    assert [row["reuse_ratio"] for row in alike] == [0.0, 0.5, 0.9]
    assert all(row["clairvoyant_nmse"] == pytest.approx(row["nmse"]) for row in alike), "on the hull already"
    # One map in full and the other at R = 0.9 take 5.5 s and have 0.25: on the line to it lies the bound at 5 s.
    above = clairvoyant([rows(0.1, 0.35, 0.4), rows(0.1, 0.35, 0.4)])
    assert above[1]["nmse"] == pytest.approx(0.35)
    assert above[1]["clairvoyant_nmse"] == pytest.approx(0.4 - 0.3 * (5 - 1) / (10 - 1))
    # One map needs the whole chain, the other none of it: 0.1 in 5.5 s; with half of the chain for the one 0.3 in 3 s.
    found = clairvoyant([rows(0.1, 0.5, 0.9), rows(0.1, 0.1, 0.1)])
    assert found[0]["clairvoyant_nmse"] == pytest.approx(0.1) and found[0]["ms"] == 10_000
    assert found[1]["nmse"] == pytest.approx(0.3)
    assert found[1]["clairvoyant_nmse"] == pytest.approx(0.3 - 0.2 * (5 - 3) / (5.5 - 3))
    assert clairvoyant([]) == clairvoyant([rows(math.nan, 0.1, 0.2)]) == []


def test_the_bound_is_the_least_of_all_shares_of_the_ratios() -> None:
    random = np.random.default_rng(0)
    seconds, nmse = random.uniform(1.0, 10.0, (2, 5, 4))
    results = [
        {"rows": [
            {"method": "flux", "reuse_ratio": k / 10, "seconds": took, "scores": {"nmse": lost}}
            for k, (took, lost) in enumerate(zip(*of, strict=True))
        ]}
        for of in zip(seconds, nmse, strict=True)
    ]  # fmt: skip
    each = np.kron(np.eye(5), np.ones(4))  # the shares of each map's ratios make one
    for row in clairvoyant(results):
        least = linprog(nmse.ravel() / 5, seconds.reshape(1, -1) / 5, row["ms"] / 1e3, each, np.ones(5)).fun
        assert row["clairvoyant_nmse"] == pytest.approx(least) and least < row["nmse"]
