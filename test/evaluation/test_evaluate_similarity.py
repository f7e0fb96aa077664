"""`evaluate similarity`: updates of maps, what keeping a midpoint costs, and the knee."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_scenes import make_scenes

from rdflux_ros.data.radiomapseer import DataError, RadioMapSeer, Sample
from rdflux_ros.evaluation import similarity
from rdflux_ros.evaluation.evaluate import main
from rdflux_ros.evaluation.map_updates import CELLS, KINDS, updated
from rdflux_ros.evaluation.methods import Split, Workbench
from rdflux_ros.evaluation.similarity import (
    HARMLESS_DB,
    OTHER_STREETS,
    compare,
    harmless,
    knee,
    knee_interval,
    summarise_pairs,
)
from rdflux_ros.flux.loading import load_model
from rdflux_ros.flux.pipeline import FluxPipeline
from rdflux_ros.model.tiny import model_file

METHOD = {"steps": 10, "reuse_ratio": 0.8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("similarity")
    make_scenes(folder / "city")
    model_file(folder / "whole.safetensors", **METHOD)
    model_file(folder / "static.safetensors", ["static"], **METHOD)
    return folder


@pytest.fixture(scope="module")
def samples(folder: Path) -> tuple[Sample, Sample]:
    """A map of each scene, walls as a map of 0.5 m shows them."""
    split = Split(RadioMapSeer(folder / "city"), 0.5)
    return split[0], split[3]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_an_update_changes_both_maps_alike_and_spares_the_transmitter(
    samples: tuple[Sample, Sample], kind: str, seed: int
) -> None:
    here, other = samples
    here = replace(here, position=np.array([96.5, 90.5, 30.0]))  # over the scene's building
    new = updated(here, kind, other, seed)
    changed = new.heights_m != here.heights_m
    assert changed.any() and not changed[88:93, 94:99].any()
    fine = new.surroundings_m[48:-48, 48:-48]
    assert np.array_equal(fine.reshape(256, 2, 256, 2).max(axis=(1, 3)), new.heights_m)
    outside = np.ones(new.surroundings_m.shape, bool)
    outside[48:-48, 48:-48] = False
    assert np.array_equal(new.surroundings_m[outside], here.surroundings_m[outside])
    assert new.scene != here.scene, "no other streets' walls may be taken for theirs"
    assert np.array_equal(updated(here, kind, other, seed).heights_m, new.heights_m), "drawn by the seed alone"


def test_walls_of_an_update_are_not_taken_for_those_of_another(folder: Path) -> None:
    split = Split(RadioMapSeer(folder / "city"), 1.0)
    first, second, other = split[0], split[1], split[3]
    assert first.scene == second.scene
    bench = Workbench("cpu")
    for here, seed in ((first, 0), (second, 1), (first, 2)):
        new = updated(here, "wall", other, seed)
        assert torch.equal(bench.facades(new).heights_cm, Workbench("cpu").facades(new).heights_cm)


def test_updates_come_in_the_sizes_that_their_names_say(samples: tuple[Sample, Sample]) -> None:
    here, other = samples
    here = replace(here, position=np.array([230.0, 20.0, 30.0]))
    cells = {
        kind: [int((updated(here, kind, other, seed).heights_m != here.heights_m).sum()) for seed in range(12)]
        for kind in KINDS
    }
    assert max(cells["cells"]) <= CELLS
    assert set(cells["wall"]) <= {30, 40}, "the sides of a building of 40 x 30 m"
    assert set(cells["small_building"]) == {1200}, "the one building goes, or comes again"
    assert min(cells["block"]) > 300


def test_a_slit_of_a_finer_wall_goes_with_the_building(samples: tuple[Sample, Sample]) -> None:
    here, other = samples
    fine = here.surroundings_m.copy()
    rows, cols = np.nonzero(here.heights_m)
    fine[48 + 2 * rows.min() : 48 + 2 * rows.max(), 48 + 2 * cols.min() - 1] = 18.0  # half a metre beyond
    gone = next(
        new
        for seed in range(20)
        if not (new := updated(replace(here, surroundings_m=fine), "small_building", other, seed)).heights_m.any()
    )
    assert not gone.surroundings_m[48:-48, 48:-48].any()


def test_a_speck_of_the_raster_is_no_building(samples: tuple[Sample, Sample]) -> None:
    here, other = samples
    heights = here.heights_m.copy()
    heights[200, 200] = heights[30, 60] = 9.0
    here = replace(here, heights_m=heights, position=np.array([230.0, 20.0, 30.0]))
    for seed in range(6):
        changed = updated(here, "small_building", other, seed).heights_m != heights
        assert changed.sum() >= 1000 and not changed[200, 200] and not changed[30, 60]


def test_streets_without_buildings_have_no_updates(samples: tuple[Sample, Sample]) -> None:
    here, other = samples
    empty = replace(here, heights_m=np.zeros_like(here.heights_m))
    with pytest.raises(DataError, match="a: no update of kind wall"):
        updated(empty, "wall", other, 0)


def test_the_same_streets_are_at_no_distance_and_lose_nothing(folder: Path, samples: tuple[Sample, Sample]) -> None:
    loaded = load_model(str(folder / "whole.safetensors"), torch.device("cpu"))
    assert loaded is not None
    bench = Workbench("cpu", loaded=loaded, flux=FluxPipeline(loaded.model))
    here, other = samples
    same = compare(bench, here, replace(here, scene="same"), aligned=True)
    assert same.distance == 0.0 and np.array_equal(same.fresh, same.kept)
    cells, far = (
        compare(bench, here, new, aligned=True) for new in (updated(here, "cells", other, 0), replace(other, scene="x"))
    )
    assert 0.0 < cells.distance < far.distance
    assert np.abs(cells.fresh - cells.kept).max() > 0.0


def test_the_knee_is_where_cost_starts_to_outrun_reuse() -> None:
    distances = [0.4, 0.1, 0.2, 0.3, 0.9, 0.8]
    costs = [0.0, 0.0, 0.0, 0.0, 5.0, 3.0]
    assert knee(distances, costs) == 0.4
    assert knee([0.1, 0.2, 0.3], [0.0, 0.0, 0.0]) == 0.3, "nothing costs anything: all may be kept"
    # Of equal distances all are kept or none: two thirds of them would cost nothing.
    assert knee([0.1, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 1.0]) == 0.1


def test_the_knee_of_many_pairs_is_sure_and_that_of_one_dear_pair_is_not() -> None:
    distances = [float(d) for d in np.linspace(0.01, 1.0, 100)]
    alone = [f"{k}" for k in range(100)]
    costs = [0.0 if d < 0.5 else 1.0 for d in distances]
    low, high = knee_interval(distances, costs, alone, draws=200)
    assert 0.4 < low <= 0.5 <= high + 0.02 < 0.6
    low, high = knee_interval(distances, [float(k == 50) for k in range(100)], alone, draws=200)
    assert low <= 0.5 and high > 0.9, "without the dear one all may be kept"
    # Pairs of one scene come or stay away together.
    low, high = knee_interval(distances, costs, [f"{k // 20}" for k in range(100)], draws=200)
    assert low < 0.3 and high < 0.6
    assert np.isnan(knee_interval(distances, costs, [f"{k // 25}" for k in range(100)])).all(), "four scenes"


def test_harmless_is_what_stays_below_the_first_update_that_is_not() -> None:
    assert harmless([0.1, 0.3, 0.2, 0.4], [0.0, 0.5, 0.05, 0.01]) == 0.2
    assert harmless([0.2, 0.1, 0.1], [0.0, 0.5, 0.0]) == 0.0
    assert harmless([0.2, 0.1], [0.01, 0.02]) == 0.2


def pair(kind: str, distance: float, rmse_db: float) -> dict[str, object]:
    nmse = {"nmse": rmse_db**2, "fresh_truth_nmse": 0.1, "kept_truth_nmse": 0.2}
    return {"kind": kind, "scene": "a", "cells": 1, "distance": distance, "rmse_db": rmse_db, **nmse}


def test_a_threshold_at_the_knee_keeps_what_lies_at_it() -> None:
    updates = [pair("cells", 0.1, 0.2), *(pair(kind, 0.2512, 0.2) for kind in KINDS), pair("wall", 0.4, 3.0)]
    found = summarise_pairs([*updates, pair(OTHER_STREETS, 0.9, 0.5)], 0)
    assert found["harmless"] == 0.0 and found["knee"] == 0.2512 and found["threshold"] == 0.26


def test_a_threshold_that_harmless_updates_decide_keeps_no_harmful_one() -> None:
    costs = {0.01: 0.0, 0.1: 0.05, 0.2: 0.06, 0.2512: 0.07, 0.2514: 0.2}
    updates = [pair(kind, *of) for kind, of in zip((*KINDS, "wall"), costs.items(), strict=True)]
    found = summarise_pairs([*updates, pair(OTHER_STREETS, 0.9, 0.5)], 0)
    assert found["harmless"] == 0.2512 and found["knee"] <= found["harmless"]
    assert found["threshold"] == 0.25 and found["updates"]["kept_rmse_db_worst"] <= HARMLESS_DB
    assert found["against_truth"]["lost"] == pytest.approx(0.1)


def test_the_table_and_that_a_finished_run_computes_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, report = tmp_path / "similarity.json", tmp_path / "report"
    command = ["similarity", "--data", str(folder / "city"), "--split", "test", "--map-resolution", "1"]
    command += ["--model", str(folder / "whole.safetensors"), "--device", "cpu", "--pairs", "2"]
    command += ["--json", str(out), "--report", str(report)]
    assert main(command) == 0
    found = json.loads(out.read_text())
    assert list(found["kinds"]) == [*KINDS, "other_streets"] and len(found["pairs"]) == 10
    updates = [pair for pair in found["pairs"] if pair["kind"] != "other_streets"]
    kept = [pair for pair in updates if pair["distance"] <= found["threshold"]]
    assert found["updates"]["kept_share"] == len(kept) / len(updates)
    truth = found["against_truth"]
    assert truth["lost"] == pytest.approx(truth["kept"] - truth["fresh"], abs=1e-9)
    assert truth["low"] is truth["high"] is None and found["knee_interval"] == [None, None], "two scenes"
    printed = capsys.readouterr().out
    assert f"`similarity_threshold` {found['threshold']:g} keeps" in printed
    least = max(found["knee"], found["harmless"])
    assert 0.9 * least <= found["threshold"] <= 1.1 * least
    assert "all are harmless" in printed and "| small_building" in printed
    text = (report / "report.md").read_text()
    for name in ("pairs", "reuse", "updates"):
        assert f"({name}.png)" in text and cv2.imread(str(report / f"{name}.png")) is not None

    def nothing(*_: object, **__: object) -> None:
        raise AssertionError("computes")

    monkeypatch.setattr(similarity, "compare", nothing)
    assert main(command) == 0
    assert json.loads(out.read_text()) == found


def test_a_model_without_two_stages_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["similarity", "--data", str(folder / "city"), "--split", "test", "--device", "cpu"]
    assert main([*command, "--model", str(folder / "static.safetensors")]) == 2
    assert "static.safetensors: holds no stage conditional" in capsys.readouterr().err
    assert main([*command, "--model", "physics"]) == 2
    assert "no model" in capsys.readouterr().err
