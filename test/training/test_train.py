"""`train`: every stage learns, a killed training goes on as if nothing had been, and errors are one line."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from training_city import TINY, arguments, write_config

from rdflux_ros.evaluation.evaluate import main as evaluate
from rdflux_ros.model import checkpoint
from rdflux_ros.model.config import model_config
from rdflux_ros.model.radio_model import RadioModel
from rdflux_ros.model.tiny import model_file, random_model
from rdflux_ros.training import loop, stages
from rdflux_ros.training.config import TRAININGS as CONFIGURED
from rdflux_ros.training.loop import Trainer, Validation
from rdflux_ros.training.train import TRAININGS, main


def column(path: Path, name: str) -> list[float]:
    with path.open(newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file)]


def test_the_conditional_chain_learns(trained: Path) -> None:
    folder = trained / "conditional"
    assert column(folder / "log.csv", "step") == list(range(1, 13))
    validation = column(folder / "validation.csv", "loss")
    assert len(validation) == 2 and validation[1] < 0.98 * validation[0]
    assert (folder / "loss.png").stat().st_size > 5_000
    for where in ("above", "below"):
        assert 0 < column(folder / "validation.csv", f"physics_{where}")[0] < 0.1
        assert column(folder / "validation.csv", f"nmse_{where}")[-1] > 0
    model, found = checkpoint.load(folder / "best.safetensors")
    assert list(model.stages) == ["conditional"] and found.notes["steps"] in (6, 12)
    assert not torch.equal(model.autoencoder.latent_std, torch.ones(16, 1, 1)), "latents were calibrated"
    assert found.digest in (folder / "best.md").read_text()


def test_both_stages_follow_and_one_file_holds_them(trained: Path, city: Path) -> None:
    config = city.parent / "tiny.yaml"
    for what in ("static", "aligned"):
        assert main(arguments(what, config, city, trained)) == 0
        losses = column(trained / what / "log.csv", "loss")
        assert sum(losses[-4:]) < 0.95 * sum(losses[:4]), what  # a few maps, many times
    nmse = column(trained / "aligned" / "validation.csv", "nmse_above")
    assert nmse[-1] == nmse[-1], "the aligned stage answers maps"
    joined, _ = checkpoint.load(trained / "model.safetensors")
    assert list(joined.stages) == ["conditional", "static", "aligned"]
    static, _ = checkpoint.load(trained / "static" / "best.safetensors")
    kernels = [model.stage("static").denoiser.stem.weight for model in (joined, static)]
    assert torch.equal(kernels[0], kernels[1].half().float()) and kernels[0].dtype == torch.float32
    biases = [model.stage("static").denoiser.stem.bias for model in (joined, static)]
    assert torch.equal(*biases)
    assert torch.equal(joined.autoencoder.latent_std, static.autoencoder.latent_std)


def test_a_killed_training_takes_the_very_same_steps(trained: Path, city: Path, tmp_path: Path) -> None:
    command = arguments("conditional", city.parent / "tiny.yaml", city, tmp_path)
    folder = tmp_path / "conditional"
    process = subprocess.Popen(
        [sys.executable, "-m", "rdflux_ros.training.train", *command], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2], env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (folder / "state.pt").is_file():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    taken = len(column(folder / "log.csv", "step"))
    assert 3 <= taken < 12, "killed on its way"
    with (folder / "log.csv").open("a") as file:
        file.write(f"{taken + 1},0.5,0.1\n{taken + 2},0.")  # written after the state, the last line cut off
    assert main(command) == 0
    for name in ("step", "loss", "learning_rate"):
        whole = column(trained / "conditional" / "log.csv", name)
        assert column(folder / "log.csv", name) == pytest.approx(whole, rel=1e-5)
    for name in ("loss", "nmse_above"):
        whole = column(trained / "conditional" / "validation.csv", name)
        assert column(folder / "validation.csv", name) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize(("interrupted", "at"), [("_validate", 12), ("_move_average", 4)])
def test_an_interrupted_training_goes_on_as_if_nothing_had_been(
    interrupted: str, at: int, trained: Path, city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it was interrupted in its last validation, or with half a step taken."""
    command = arguments("conditional", city.parent / "tiny.yaml", city, tmp_path)
    whole = getattr(Trainer, interrupted)

    def part(trainer: Trainer) -> Validation | None:
        if trainer.step == at:
            raise KeyboardInterrupt
        return whole(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, interrupted, part)
        assert main(command) == 130
    assert main(command) == 0
    for file, names in (("log.csv", ("step", "loss")), ("validation.csv", ("step", "loss", "nmse_above"))):
        for name in names:
            expected = column(trained / "conditional" / file, name)
            assert column(tmp_path / "conditional" / file, name) == pytest.approx(expected, rel=1e-5)


def test_a_validation_interrupted_while_it_keeps_the_best_is_repeated(
    city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = arguments("conditional", write_config(tmp_path / "tiny.yaml", steps=2), city, tmp_path)

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stages, "_keep", cut_off)
        assert main(command) == 130
    assert main(command) == 0
    assert (tmp_path / "conditional" / "best.safetensors").is_file()
    assert column(tmp_path / "conditional" / "validation.csv", "step") == [2]


def test_a_slice_of_time_ends_in_time(city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = arguments("conditional", city.parent / "tiny.yaml", city, tmp_path)
    assert main([*command, "--max-minutes", "0.0001"]) == 0
    assert "out of time, the same command goes on" in capsys.readouterr().out
    assert not (tmp_path / "conditional" / "best.safetensors").exists()


def test_a_training_of_fewer_maps_is_a_point_of_the_learning_curve(
    city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "short.yaml", steps=2, validate_every=1)
    assert main([*arguments("conditional", config, city, tmp_path / "few"), "--maps", "3"]) == 0
    assert evaluate(["learning", str(tmp_path / "few" / "model.safetensors"), "--stage", "conditional"]) == 0
    assert "| 3    | 4          | 1.333      |" in capsys.readouterr().out


def test_a_training_starts_from_a_model_and_keeps_its_other_stages(
    trained: Path, city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start, config = tmp_path / "start.safetensors", write_config(tmp_path / "tiny.yaml", steps=1, learning_rate=1e-7)
    notes = {"aligned": {"steps": 400, "seconds": 1440, "batch": 8, "config": "before.yaml"}, "static": {"steps": 80}}
    given = random_model(reuse_ratio=0.95)  # how much is reused is no part of the weights
    digest = checkpoint.save(given, start, notes)
    out = tmp_path / "out"
    command = [*arguments("aligned", config, city, out), "--start", str(start)]
    assert main(command) == 0
    found, checked = checkpoint.load(out / "model.safetensors")
    assert list(found.stages) == ["conditional", "static", "aligned"]
    for name, weights in found.state_dict().items():
        moved = 0.2 if "stages.aligned" in name else 2e-3  # the others are half floats of what they were
        assert torch.allclose(weights, given.state_dict()[name], atol=moved, rtol=2e-3), name
    kernel = "stages.aligned.denoiser.stem.weight"
    assert not torch.equal(found.state_dict()[kernel], given.state_dict()[kernel].half().float()), "trained"
    assert checked.notes["static"] == {"steps": 80}
    assert checked.notes["aligned"]["start"] == {
        "file": "start.safetensors", "digest": digest, "notes": notes["aligned"]
    }  # fmt: skip
    assert digest in (out / "aligned" / "best.md").read_text()
    assert main(arguments("aligned", config, city, out)) == 2, "the same command goes on, another does not"
    assert "conditional" in capsys.readouterr().err


def test_the_control_learns_from_noise_and_says_so(city: Path, trained: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.safetensors"
    checkpoint.save(random_model(), start)
    losses = []
    for midpoint in ("streets", "noise"):
        config, out = write_config(tmp_path / f"{midpoint}.yaml", midpoint=midpoint, steps=1), tmp_path / midpoint
        assert main([*arguments("aligned", config, city, out), "--start", str(start)]) == 0
        losses += column(out / "aligned" / "log.csv", "loss")
        assert checkpoint.read(out / "model.safetensors").notes["aligned"]["midpoint"] == midpoint
    assert losses[0] != losses[1], "the same weights and maps from elsewhere"


def test_a_start_that_does_not_fit_is_named(
    trained: Path, city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, best = city.parent / "tiny.yaml", trained / "conditional" / "best.safetensors"
    other = model_file(tmp_path / "other.safetensors", temperature=0.5)
    for what, start, says in (
        ("aligned", tmp_path / "none.safetensors", "no such model file"),
        ("aligned", best, "holds no stage aligned"),
        ("conditional", other, "another config"),
    ):
        assert main([*arguments(what, config, city, tmp_path / "out"), "--start", str(start)]) == 2
        line = capsys.readouterr().err.strip()
        assert line.startswith(f"train: {start}: ") and says in line and "\n" not in line


def test_another_start_is_no_continuation(
    trained: Path, city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = trained / "conditional" / "best.safetensors"
    assert main([*arguments("conditional", city.parent / "tiny.yaml", city, trained), "--start", str(start)]) == 2
    assert "state.pt: a training with another start;" in capsys.readouterr().err


def test_other_data_or_parents_are_no_continuation(
    trained: Path, city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, config, out = shutil.copytree(city, tmp_path / "city"), write_config(tmp_path / "tiny.yaml"), tmp_path / "out"
    shutil.copytree(trained / "conditional", out / "conditional")
    commands = [[*arguments(what, config, here, out), "--max-minutes", "0.2"] for what in ("static", "aligned")]
    assert [main(command) for command in commands] == [0, 0]
    best = out / "static" / "best.safetensors"
    model, found = checkpoint.load(best)
    with torch.no_grad():
        model.stage("static").denoiser.stem.bias += 1e-3
    checkpoint.save(model, best, found.notes)
    capsys.readouterr()
    assert [main(command) for command in commands] == [0, 2], "the parent is the second one's alone"
    assert "state.pt: a training with another static/best.safetensors;" in capsys.readouterr().err
    os.utime(here / "gain" / "static" / "a_1_0.png", (0, 0))
    assert main(commands[0]) == 0, "a copy of the same"
    with (here / "gain" / "static" / "a_1_0.png").open("ab") as file:
        file.write(b"other")
    assert main(commands[0]) == 2
    assert "state.pt: a training with another data;" in capsys.readouterr().err


def test_stages_of_one_model_see_latents_of_one_scale(
    trained: Path, city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, start = city.parent / "tiny.yaml", model_file(tmp_path / "start.safetensors")
    out = tmp_path / "out"
    shutil.copytree(trained / "conditional", out / "conditional")
    assert main(arguments("static", config, city, out)) == 0
    assert main([*arguments("aligned", config, city, out), "--start", str(start)]) == 2
    assert "different scales" in capsys.readouterr().err


def test_bfloat16_takes_nearly_the_same_steps_and_is_left_where_a_cpu_lacks_it(
    city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def trained(name: str, has_it: bool, **training: object) -> list[float]:
        monkeypatch.setattr(loop, "has_bfloat16", lambda: has_it)
        config = write_config(tmp_path / f"{name}.yaml", steps=3, **training)
        assert main(arguments("conditional", config, city, tmp_path / name)) == 0
        return column(tmp_path / name / "conditional" / "log.csv", "loss")

    whole, half = trained("whole", False), trained("half", True, bfloat16=True)
    assert half != whole and half == pytest.approx(whole, rel=0.03)
    capsys.readouterr()
    assert trained("without", False, bfloat16=True) == pytest.approx(whole, rel=1e-5)
    assert capsys.readouterr().err.count("no bfloat16 instructions: float32 in its place") == 1
    assert trained("without", True, bfloat16=True), "another machine goes on with it"


def test_another_config_is_no_continuation(
    trained: Path, city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "other.yaml", seed=1)
    assert main(arguments("conditional", config, city, trained)) == 2
    assert "state.pt: a training with another config;" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("what", "text", "message"),
    [
        ("conditional", "training: {speed: 3}", "unknown setting speed"),
        ("conditional", "training: {batch: 0}", "batch = 0: must be 1 to 4096"),
        ("conditional", "magic: {}", "unknown section magic"),
        ("conditional", "model: {denoiser: {width: 3}}", "unknown setting width"),
        ("conditional", "model: {dynamics: {channels: 5}}", "dynamics.channels = 5"),
        ("conditional", "training: [", "not valid yaml"),
        ("conditional", "training: {map_resolutions: [-1]}", "map_resolutions"),
        ("static", "{}", "train 'conditional' first"),
        ("autoencoder", "{}", "nothing to train"),
        ("conditional", "model: {method: {lowest_z_m: 20.0}}", "method.lowest_z_m = 20: must be at most 12"),
        ("radiounet", "model: {method: {highest_z_m: 50.0}}", "method.highest_z_m = 50: must be at least 60"),
    ],
)
def test_what_does_not_fit_is_one_line_and_exit_code_2(
    city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, text: str, message: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    assert main(arguments(what, config, city, tmp_path / "out")) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert line.startswith("train: ") and message in line


def test_missing_files_are_named(city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path / "tiny.yaml")
    assert main(arguments("conditional", tmp_path / "none.yaml", city, tmp_path)) == 2
    assert main(arguments("conditional", config, tmp_path / "nowhere", tmp_path)) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "none.yaml" in first and "nowhere: no such folder" in second


def test_the_papers_autoencoder_is_trained_and_then_used(city: Path, tmp_path: Path) -> None:
    pytest.importorskip("diffusers", reason="the KL autoencoder needs the extra 'papers'")
    config = tmp_path / "kl.yaml"
    config.write_text(
        "model:\n"
        "  autoencoder: {kind: kl, width: 8, multipliers: [1, 1, 1], blocks: 1}\n"
        "  streets: {widths: [8, 8, 8, 8], blocks: 0}\n"
        "  dynamics: {channels: 12, widths: [8, 8, 8, 8], blocks: 0}\n"
        "  denoiser: {widths: [8, 8, 8, 8], heads: 2, attention_levels: [3], fine_width: 0}\n"
        "training: {steps: 6, batch: 1, warmup: 1, learning_rate: 0.004, ema: 0.5, map_resolutions: [1.0], maps: 2,\n"
        "  cars: false, validation_maps: 1, validation_steps: 1, validate_every: 3}\n"
        "conditional: {steps: 1}\n"
    )
    assert main(arguments("conditional", config, city, tmp_path)) == 2, "the autoencoder comes first"
    assert main(arguments("autoencoder", config, city, tmp_path)) == 0
    first, second = column(tmp_path / "autoencoder" / "validation.csv", "loss")
    assert second < first
    assert main(arguments("conditional", config, city, tmp_path)) == 0
    ours, _ = checkpoint.load(tmp_path / "autoencoder" / "best.safetensors")
    theirs, _ = checkpoint.load(tmp_path / "conditional" / "best.safetensors")
    for name, value in ours.autoencoder.state_dict().items():
        assert torch.equal(theirs.autoencoder.state_dict()[name], value), name


def test_two_processes_share_every_batch(trained: Path, city: Path, tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               str(Path(__file__).parent / "one_of_two.py")]  # fmt: skip
    given = arguments("conditional", city.parent / "tiny.yaml", city, tmp_path)
    path = {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *given], env={**os.environ, **path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    log, alone = tmp_path / "conditional" / "log.csv", trained / "conditional" / "log.csv"
    assert column(log, "step") == column(alone, "step")
    # The same maps, the second one with noise of its own.
    assert column(log, "loss") != column(alone, "loss")
    assert column(log, "loss") == pytest.approx(column(alone, "loss"), rel=0.7)
    before, after = column(tmp_path / "conditional" / "validation.csv", "loss")
    assert after < before
    assert done.stdout.count("conditional: done") == 1


@pytest.mark.parametrize(
    ("file", "parameters"), [("train_small.yaml", 5e6), ("train.yaml", 16e6), ("finetune.yaml", 16e6)]
)
def test_the_configs_that_come_along_fit(file: str, parameters: float) -> None:
    from rdflux_ros.training.config import load_config

    path = Path(__file__).parents[2] / "config" / file
    for what in CONFIGURED:
        model, _ = load_config(path, what)
    assert sum(p.numel() for p in RadioModel(model).parameters()) < parameters


def test_the_configs_of_the_last_round_share_one_cache() -> None:
    from rdflux_ros.training.config import load_config

    folder, shared = Path(__file__).parents[2] / "config", set()
    for file in ("finetune_aligned.yaml", "equal_budget.yaml", "radiounet_physics.yaml", "radiounet_published.yaml"):
        _, training = load_config(folder / file, "radiounet" if file.startswith("radiounet") else "aligned")
        shared.add((training.seed, training.maps, training.cars, training.map_resolutions))
    assert len(shared) == 1


def test_names_agree() -> None:
    assert tuple(TRAININGS) == CONFIGURED
    assert model_config(TINY["model"]).method.static_steps == 2
