"""The methods that answer by a model: what each reuses, what it needs, what is drawn for it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_scenes import make_scenes

from rdflux_ros.baselines import radiounet
from rdflux_ros.baselines.radiounet import INPUTS, RadioUNet
from rdflux_ros.data.radiomapseer import RadioMapSeer, Sample
from rdflux_ros.evaluation.evaluate import main
from rdflux_ros.evaluation.methods import METHODS, WINDOW, Method, Split, Workbench, choose_methods
from rdflux_ros.flux.loading import load_model
from rdflux_ros.flux.pipeline import FluxPipeline
from rdflux_ros.model import checkpoint
from rdflux_ros.model.config import model_config
from rdflux_ros.model.radio_model import STAGES, RadioModel
from rdflux_ros.model.tiny import TINY, model_file, random_model

ROWS = ["physics", "full", "vanilla", "flux", "aligned", "other_midpoint", "no_midpoint"]
METHOD = {"steps": 10, "reuse_ratio": 0.8}
LOW = 2
"""Transmitter of the tiny scenes that stands lower than any in training."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes in ``city``, a whole model and one with the conditional stage only."""
    folder = tmp_path_factory.mktemp("methods")
    make_scenes(folder / "city")
    model_file(folder / "whole.safetensors", **METHOD)
    model_file(folder / "conditional.safetensors", ["conditional"], **METHOD)
    return folder


@pytest.fixture(scope="module")
def bench(folder: Path) -> Workbench:
    loaded = load_model(str(folder / "whole.safetensors"), torch.device("cpu"))
    assert loaded is not None
    split = Split(RadioMapSeer(folder / "city"), 1.0)
    return Workbench("cpu", loaded=loaded, flux=FluxPipeline(loaded.model), split=split)


def sample(bench: Workbench, name: str) -> Sample:
    assert bench.split is not None
    return bench.split[bench.split.names.index(name)]


def test_every_method_answers_in_the_table(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "accuracy.json"
    model = folder / "whole.safetensors"
    command = ["accuracy", "--data", str(folder / "city"), "--model", str(model), "--device", "cpu", "--limit", "1"]
    options = ["--map-resolution", "1", "--seed", "7", "--static-steps", "3", "--steps", "4"]
    assert main([*command, *options, "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert list(found["methods"]) == ROWS and found["left_out"] == {}, "space-to-depth loses nothing: no autoencoder"
    assert found["seed"] == 7
    assert found["model"] == {
        "file": "whole.safetensors",
        "digest": checkpoint.read(model).digest,
        "steps": 10,
        "reuse_ratio": 0.8,
        "static_steps": 3,
        "temperature": 0.0,
        "full_steps": 4,
    }
    physics_ms = found["methods"]["physics"]["ms_per_map"]
    for name in ROWS[1:]:
        assert 0 < found["methods"][name]["nmse"] < 1
        assert found["methods"][name]["ms_per_map"] > physics_ms, "the physics layer is a part of every answer"
    assert len({found["methods"][name]["nmse"] for name in ROWS}) == len(ROWS), "no two methods answer the same"
    printed = capsys.readouterr().out
    assert "drawn by seed 7" in printed and found["model"]["digest"][:12] in printed


def test_what_is_queued_for_what_is_kept_is_not_the_answers_time(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock starts and stops where the GPU has nothing left to do."""
    done: list[str] = []
    here = sample(bench, "a_0")

    def answer(*_: object) -> np.ndarray:
        done.append("answered")
        return here.grey

    queued = Method(answer, lambda *_: done.append("kept"), lambda *_: 0.0)
    monkeypatch.setitem(METHODS, "queued", queued)
    monkeypatch.setattr(bench, "device", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: done.append("idle"))
    assert bench.answer("queued", here)[1] > 0.0
    assert done == ["kept", "idle", "answered", "idle"]


def test_vanilla_with_itself_as_donor_is_the_full_chain(bench: Workbench) -> None:
    here = sample(bench, "a_0")
    full, _ = bench.answer("full", here)
    assert np.array_equal(METHODS["vanilla"].answer(bench, here, (bench.own_midpoint(here), bench.image(here))), full)
    vanilla, _ = bench.answer("vanilla", here)
    assert not np.array_equal(vanilla, full), "the donor is another transmitter"


def test_another_midpoint_changes_the_midpoint_alone(bench: Workbench) -> None:
    here = sample(bench, "a_0")
    own, other = METHODS["aligned"].kept(bench, here), METHODS["other_midpoint"].kept(bench, here)
    elsewhere = bench.region(sample(bench, "b_1"), aligned=True)
    assert torch.equal(other.midpoint, elsewhere.midpoint) and not torch.equal(other.midpoint, own.midpoint)
    assert other.condition is own.condition
    assert not np.array_equal(bench.answer("other_midpoint", here)[0], bench.answer("aligned", here)[0])


def test_without_a_midpoint_the_stage_starts_where_the_first_one_does(bench: Workbench) -> None:
    here = sample(bench, "a_0")
    part = METHODS["no_midpoint"].kept(bench, here)
    assert not part.midpoint.any(), "at temperature 0 there is no noise"
    assert part.condition is METHODS["aligned"].kept(bench, here).condition
    warm = FluxPipeline(bench.flux.model, temperature=1.0)
    assert torch.equal(warm.start(WINDOW), next(warm.first_stage(bench.image(here), WINDOW)))


def test_chains_of_any_length_are_rows_and_the_shortest_that_is_good_enough_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["accuracy", "--data", str(folder / "city"), "--model", str(folder / "whole.safetensors")]
    out = tmp_path / "chains.json"
    options = ["--map-resolution", "1", "--limit", "2", "--device", "cpu", "--json", str(out)]
    assert main([*command, *options, "--methods", "full,full_10,full_1,aligned"]) == 0
    found = json.loads(out.read_text())
    nmse = {name: scored["nmse"] for name, scored in found["methods"].items()}
    assert nmse["full_10"] == nmse["full"] != nmse["full_1"]
    good = [name for name in ("full_1", "full_10") if nmse[name] <= nmse["aligned"]]
    says = f"{good[0]} is the shortest" if good else "none of them is as good"
    printed = capsys.readouterr().out
    assert says in printed and f"10: {nmse['full_10']:.4g}" in printed


def test_methods_are_compared_pair_by_pair(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs.json"
    command = ["accuracy", "--data", str(folder / "city"), "--model", str(folder / "whole.safetensors")]
    assert main([*command, "--map-resolution", "1", "--methods", "physics,aligned", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["reference"] == "aligned" and list(found["paired"]) == ["physics"]
    assert found["nmse"]["maps"] == ["a_0", "a_1", "a_2", "b_0", "b_1", "b_2"]
    above = [0, 3]
    lost = [found["nmse"]["physics"][k] - found["nmse"]["aligned"][k] for k in above]
    paired = found["paired"]["physics"]["above_25m"]
    assert paired["difference"] == pytest.approx(sum(lost) / 2)
    assert paired["low"] is None, "two scenes make no interval"


def test_baselines_stand_in_the_table_where_their_files_are_given(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    files = [tmp_path / f"{inputs}.safetensors" for inputs in INPUTS]
    for file in files:
        radiounet.save(RadioUNet(file.stem), file, {})
    out = tmp_path / "baselines.json"
    command = ["accuracy", "--data", str(folder / "city"), "--model", str(folder / "whole.safetensors"), "--limit", "1"]
    named = [*command, "--map-resolution", "1", "--methods", "physics,radiounet,radiounet_physics", "--json", str(out)]
    assert main([*named, "--radiounet", *map(str, files)]) == 0
    found = json.loads(out.read_text())["methods"]
    assert found["radiounet_physics"]["nmse"] == pytest.approx(found["physics"]["nmse"], rel=1e-3), "untrained"
    assert found["radiounet"]["nmse"] > 0.2
    unnamed = [*command, "--map-resolution", "1", "--methods", "physics", "--json", str(out)]
    assert main([*unnamed, "--radiounet", str(files[1])]) == 0
    assert set(json.loads(out.read_text())["methods"]) == {"physics", f"radiounet_{files[1].stem}"}
    assert main(named) == 2
    assert "no file of a RadioUNet on inputs 'published'" in capsys.readouterr().err
    assert main([*named, "--radiounet", str(folder / "whole.safetensors")]) == 2
    assert "whole.safetensors: not a model of rdflux_ros radiounet" in capsys.readouterr().err


def test_the_published_baseline_needs_no_other_model(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    for inputs in INPUTS:
        radiounet.save(RadioUNet(inputs), tmp_path / f"{inputs}.safetensors", {})
    command = ["accuracy", "--data", str(folder / "city"), "--limit", "1", "--map-resolution", "1"]
    command += ["--radiounet", *(str(tmp_path / f"{inputs}.safetensors") for inputs in INPUTS)]
    found = []
    for options in (["--model", "physics"], ["--model", str(folder / "whole.safetensors")]):
        out = tmp_path / "accuracy.json"
        assert main([*command, *options, "--json", str(out)]) == 0
        found.append(json.loads(out.read_text())["methods"])
    assert list(found[0]) == ["physics", "radiounet"], "the other one sees what a model's pose adds"
    assert found[0]["radiounet"]["nmse"] == found[1]["radiounet"]["nmse"]
    assert main([*command, "--model", "physics", "--methods", "radiounet_physics"]) == 2
    assert "there is no model" in capsys.readouterr().err


def test_a_control_that_never_saw_a_midpoint_is_shown_none(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    control, out = tmp_path / "control.safetensors", tmp_path / "accuracy.json"
    checkpoint.save(random_model(**METHOD), control, {"aligned": {"midpoint": "noise"}})
    command = ["accuracy", "--data", str(folder / "city"), "--limit", "2", "--map-resolution", "1"]
    assert main([*command, "--model", str(control), "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert list(found["methods"]) == ["physics", "full", "vanilla", "flux", "no_midpoint"]
    assert found["reference"] == "flux" and list(found["left_out"]) == ["aligned", "other_midpoint"]
    assert "control.safetensors: trained on noise in the midpoint's place" in found["left_out"]["aligned"]
    assert main(["movement", "--data", str(folder / "city"), "--split", "test", "--model", str(control)]) == 2
    assert "trained on noise" in capsys.readouterr().err


def test_draws_follow_the_seed_and_the_sample(bench: Workbench) -> None:
    split, there = bench.split, [sample(bench, name) for name in ("a_0", "b_2")]
    assert split is not None
    donors = set()
    for seed in range(3):
        names = [split.donor(one, seed).name for one in there]
        assert names == [split.donor(one, seed).name for one in reversed(there)][::-1], "whatever was drawn before"
        for one, donor in zip(there, names, strict=True):
            assert donor != one.name and donor.startswith(f"{one.scene}_")
        assert split.elsewhere(there[0], seed).scene == "b"
        donors.add(tuple(names))
    assert len(donors) > 1
    assert bench.donor(there[0]).name == split.donor(there[0], bench.seed).name


def test_scenes_are_scattered_without_any_twice(tmp_path: Path) -> None:
    split = Split(RadioMapSeer(make_scenes(tmp_path / "many", "abcdef")))
    here = split[split.names.index("c_1")]
    for seed in range(3):
        names = [one.name for one in split.scattered(here, seed, 4)]
        scenes = {name[0] for name in names}
        assert len(scenes) == 4 and "c" not in scenes
        assert names == [one.name for one in split.scattered(here, seed, 5)][:4]
    assert len(split.scattered(here, 0, 9)) == 5
    assert len({tuple(one.name for one in split.scattered(here, seed, 4)) for seed in range(5)}) > 1


def test_more_maps_of_the_same_seed_are_these_and_others_of_every_scene(bench: Workbench) -> None:
    split = bench.split
    assert split is not None
    drawn = [split.evenly(count, 3) for count in range(1, 9)]
    for count, (few, more) in enumerate(pairwise(drawn), start=1):
        assert more[: len(few)] == few and len(few) == min(count, 6)
        scenes = [split.names[k][0] for k in few]
        assert abs(scenes.count("a") - scenes.count("b")) <= 1 and len(set(few)) == len(few)
    assert len({tuple(split.evenly(4, seed)) for seed in range(5)}) > 1


def test_heights_outside_the_training_are_clamped_as_the_mapper_does(bench: Workbench) -> None:
    low = sample(bench, f"a_{LOW}")
    assert low.position[2] < bench.flux.method.lowest_z_m
    height = bench.flux.pose_part(  # of a transmitter that stands as low as training goes
        bench.parts(low), torch.tensor([[30.0, 30.0, 5.0]]), torch.ones(1, 256, 256).bool(), torch.zeros(1, 256, 256)
    ).dynamics[0, 10, 0, 0]
    assert bench.pose(low).dynamics[0, 10, 0, 0] == height == pytest.approx(0.05)


def test_cars_are_told_and_have_no_value(bench: Workbench) -> None:
    cars = np.zeros((256, 256), bool)
    cars[20:24, 200:204] = True
    here = replace(sample(bench, "b_0"), cars=cars, transmitter=9)
    pose = bench.pose(here)
    assert torch.equal(pose.dynamics[0, -1], torch.from_numpy(cars).float())
    assert not pose.free[0, 0][torch.from_numpy(cars)].any()
    assert (bench.answer("aligned", here)[0][cars] == 0).all()


def test_what_a_file_lacks_is_left_out_unless_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = folder / "conditional.safetensors"
    command = ["accuracy", "--data", str(folder / "city"), "--model", str(model), "--limit", "1", "--device", "cpu"]
    assert main([*command, "--map-resolution", "1"]) == 0
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line.startswith("evaluate: ")]
    assert [line.split()[2] for line in lines] == ["flux", "aligned", "other_midpoint", "no_midpoint"]
    assert f"{model}: holds no stage static, aligned" in lines[1]
    assert "| vanilla" in printed.out and "| flux" not in printed.out
    assert main([*command, "--methods", "physics,aligned"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "method aligned" in line and "stage static, aligned" in line and str(model) in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "none.safetensors"], "none.safetensors: no such model file"),
        (["--model", "physics", "--methods", "full"], "method full: there is no model"),
        (["--methods", "autoencoder"], "lose nothing"),
        (["--reuse-ratio", "0.85"], "reuse_ratio"),
        (["--temperature", "2"], "temperature"),
    ],
)
def test_what_does_not_fit_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    command = ["accuracy", "--data", str(folder / "city"), "--model", str(folder / "whole.safetensors")]
    assert main([*command, *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("evaluate: ") and message in line


def test_there_is_nothing_to_draw_from_one_transmitter_on_one_scene(folder: Path, tmp_path: Path) -> None:
    loaded = load_model(str(folder / "whole.safetensors"), torch.device("cpu"))
    assert loaded is not None
    split = Split(RadioMapSeer(make_scenes(tmp_path / "alone", ["a"], [[60.0, 240.0, 80.0]])))
    bench = Workbench("cpu", loaded=loaded, flux=FluxPipeline(loaded.model), split=split)
    answering, left_out = choose_methods(None, bench)
    assert answering == ["physics", "full", "flux", "aligned", "no_midpoint"]
    assert "no donor" in left_out["vanilla"] and "one scene" in left_out["other_midpoint"]


def test_the_noise_is_that_of_the_window_at_the_origin() -> None:
    from rdflux_ros.mapping.regions import Region

    grid = Region(*WINDOW).grid
    assert (grid.origin_x, grid.origin_y) == (0.0, 0.0)


def test_an_autoencoder_that_loses_something_has_a_row(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("diffusers")
    torch.manual_seed(0)
    coder = {"kind": "kl", "width": 8, "multipliers": [1, 1, 1], "blocks": 1}
    sections = {**TINY, "denoiser": {**TINY["denoiser"], "fine_width": 0}, "autoencoder": coder}
    model = RadioModel(model_config({"method": METHOD, **sections}), STAGES)
    checkpoint.save(model, tmp_path / "kl.safetensors")
    out = tmp_path / "accuracy.json"
    command = ["accuracy", "--data", str(folder / "city"), "--model", str(tmp_path / "kl.safetensors"), "--limit", "1"]
    assert main([*command, "--map-resolution", "1", "--methods", "autoencoder,physics", "--json", str(out)]) == 0
    found = json.loads(out.read_text())["methods"]
    assert list(found) == ["autoencoder", "physics"] and 0 < found["autoencoder"]["nmse"] < 10
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "diffusers", None)
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "kl.safetensors" in line and "rdflux_ros[papers]" in line
