"""RadioUNet: the published size, what it sees, and its file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from rdflux_ros.baselines import radiounet
from rdflux_ros.baselines.radiounet import RadioUNet, transmitter_image
from rdflux_ros.model import checkpoint
from rdflux_ros.model.radio_model import parameters
from rdflux_ros.model.tiny import model_file


def seen(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = (1, 2, 256, 256), (1, 12, 256, 256), (1, 1, 256, 256)
    streets, dynamics, base = (torch.rand(shape, generator=generator) for shape in shapes)
    return streets, dynamics, torch.tensor([[20.5, 200.25, 40.0]]), base


def test_it_has_the_published_size() -> None:
    assert parameters(RadioUNet("published")) == 13_274_031  # those of the authors' code with two inputs


@torch.inference_mode()
def test_the_published_one_sees_heights_and_the_transmitter_alone() -> None:
    torch.manual_seed(0)
    network = RadioUNet("published").eval()
    streets, dynamics, transmitters, base = seen()
    first, answer = network(streets, dynamics, transmitters, base)
    assert first.shape == answer.shape == (1, 1, 256, 256) and answer.min() >= 0
    _, same = network(streets, dynamics + 1, transmitters, base + 1)
    assert torch.equal(answer, same)
    for changed in ((streets + 0.5, transmitters), (streets, transmitters + 30.0)):
        assert not torch.equal(answer, network(changed[0], dynamics, changed[1], base)[1])


@torch.inference_mode()
def test_the_one_on_physics_channels_starts_at_the_physics_layer() -> None:
    network = RadioUNet("physics").eval()
    streets, dynamics, transmitters, base = seen()
    assert all(torch.equal(answer, base) for answer in network(streets, dynamics, transmitters, base))


def test_the_second_net_teaches_the_first_nothing() -> None:
    network = RadioUNet("published")
    network(*seen())[1].sum().backward()
    assert all(parameter.grad is None for parameter in network.first.parameters())
    assert any(parameter.grad is not None for parameter in network.second.parameters())


def test_the_transmitter_is_a_cell_of_its_height() -> None:
    image = transmitter_image(torch.tensor([[20.5, 200.25, 40.0], [-3.0, 300.0, 10.0]]))
    assert image.sum() == pytest.approx(0.5) and image[0, 0, 200, 20] == pytest.approx(0.4)
    assert image[1, 0, 255, 0] == pytest.approx(0.1)


def test_a_file_holds_what_was_trained(tmp_path: Path) -> None:
    network = RadioUNet("physics")
    digest = radiounet.save(network, tmp_path / "r.safetensors", {"steps": 3})
    again, found = radiounet.load(tmp_path / "r.safetensors")
    assert found == digest and again.inputs == "physics" and not again.training
    assert torch.equal(again.first.gather.weight, network.first.gather.weight)


def test_another_file_is_refused(tmp_path: Path) -> None:
    other = model_file(tmp_path / "model.safetensors")
    with pytest.raises(checkpoint.CheckpointError, match=r"model\.safetensors: not a model of rdflux_ros radiounet"):
        radiounet.load(other)
    with pytest.raises(checkpoint.CheckpointError, match="no such model file"):
        radiounet.load(tmp_path / "none.safetensors")
