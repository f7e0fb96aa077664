"""Model files: what is written is what is read, and what is not is refused by name."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from rdflux_ros.model import checkpoint
from rdflux_ros.model.checkpoint import CheckpointError
from rdflux_ros.model.config import model_config
from rdflux_ros.model.radio_model import RadioModel

SMALL = model_config(
    {
        "method": {"seed": 5},
        "streets": {"widths": [8, 8, 8, 8]},
        "dynamics": {"widths": [8, 8, 8, 8], "channels": 3},
        "denoiser": {"widths": [8, 8, 8, 8], "heads": 2, "fine_width": 8},
    }
)


@pytest.fixture
def model() -> RadioModel:
    torch.manual_seed(0)
    model = RadioModel(SMALL, ["static", "aligned"]).to(memory_format=torch.channels_last)
    model.autoencoder.calibrate(torch.zeros(16), torch.full((16,), 0.3))
    return model


@pytest.fixture
def path(model: RadioModel, tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    checkpoint.save(model, path, {"hours": 0.5, "data": "none"})
    return path


def rewritten(path: Path, weights: dict[str, torch.Tensor] | None = None, **changes: str) -> None:
    """The file with some of its weights or metadata replaced, and its digest left as it was."""
    with safe_open(path, framework="pt") as file:
        metadata, kept = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file({**kept, **(weights or {})}, path, {**metadata, **changes})


def test_a_model_comes_back_bit_by_bit(model, path):
    loaded, held = checkpoint.load(path)
    assert loaded.config == SMALL
    assert held.notes == {"hours": 0.5, "data": "none"}
    assert list(loaded.stages) == ["static", "aligned"]
    assert not loaded.training
    expected = model.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())


def test_the_digest_is_of_the_content(model, path, tmp_path):
    digest = checkpoint.read(path).digest
    again = tmp_path / "again.safetensors"
    assert checkpoint.save(model, again) == digest  # other notes, same model
    assert checkpoint.load(again, digest)[1].digest == digest
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-6
    assert checkpoint.save(model, again) != digest


def test_half_precision_stays_half_precision(model, tmp_path):
    path = tmp_path / "half.safetensors"
    checkpoint.save(model.to(torch.bfloat16), path)
    expected = model.state_dict()
    held = checkpoint.read(path).weights
    assert all(held[name].dtype == expected[name].dtype and torch.equal(held[name], expected[name]) for name in held)


def refused(path: Path, says: str, digest: str | None = None) -> None:
    with pytest.raises(CheckpointError, match=says) as error:
        checkpoint.load(path, digest)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_refused(tmp_path):
    refused(tmp_path / "none.safetensors", "no such model file")
    refused(tmp_path, "no such model file")


def test_a_single_other_bit_is_refused(path):
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    refused(path, "damaged: digest")


def test_a_truncated_file_is_refused(path):
    path.write_bytes(path.read_bytes()[:-1000])
    refused(path, "not a readable safetensors file")


def test_another_model_than_asked_for_is_refused(path):
    refused(path, "another model.*expected 00ff", digest="00ff")


def test_an_altered_config_is_refused(path):
    settings = SMALL.as_dict()
    settings["method"]["seed"] = 6
    rewritten(path, config=json.dumps(settings, sort_keys=True))
    refused(path, "damaged: digest")


def test_another_version_is_refused(path):
    rewritten(path, version="2")
    refused(path, "model version 2, this release reads 1")


def test_a_stranger_is_refused(path, tmp_path):
    stranger = tmp_path / "stranger.safetensors"
    save_file({"weight": torch.zeros(2)}, stranger)
    refused(stranger, "not a model of rdflux_ros")


def test_a_setting_that_this_release_does_not_know_is_refused(model, path, monkeypatch):
    unknown = {**SMALL.as_dict(), "later": {}}
    monkeypatch.setattr(type(SMALL), "as_dict", lambda _self: unknown)
    checkpoint.save(model, path)
    refused(path, "unknown section later")


def test_weights_that_do_not_fit_their_config_are_refused(model, path):
    model.config = model_config({"denoiser": {"widths": [16, 16, 16, 16]}}, base=SMALL)
    checkpoint.save(model, path)
    refused(path, r"weights do not fit the config \(size mismatch for stages\.static\.")
    model.config = SMALL
    model.stages["static"].denoiser.extra = torch.nn.Linear(1, 1)
    checkpoint.save(model, path)
    refused(path, r"weights do not fit the config \(Unexpected key\(s\).*static\.denoiser\.extra")


def test_damaged_notes_are_refused(path):
    rewritten(path, notes="{")
    refused(path, "damaged: notes are no JSON")


def test_a_failed_write_leaves_the_old_file(model, path):
    before = path.read_bytes()
    with pytest.raises(TypeError):
        checkpoint.save(model, path, {"hours": object()})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
