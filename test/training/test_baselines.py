"""`train radiounet`: either kind of input learns, and errors are one line."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from training_city import arguments, write_config

from rdflux_ros.baselines import radiounet
from rdflux_ros.training.baselines import Regression
from rdflux_ros.training.config import TrainingConfig
from rdflux_ros.training.samples import Maps
from rdflux_ros.training.train import main


@pytest.mark.parametrize(("inputs", "batch"), [("published", 1), ("physics", 2)])
def test_it_learns(inputs: str, batch: int, city: Path, tmp_path: Path) -> None:
    config = write_config(
        tmp_path / "tiny.yaml",
        inputs=inputs,
        steps=2,
        batch=batch,
        learning_rate=3e-5,
        map_weight=1.0,
        validate_every=1,
    )
    assert main(arguments("radiounet", config, city, tmp_path / "out")) == 0
    folder = tmp_path / "out" / "radiounet"
    with (folder / "validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 2] and float(rows[1]["loss"]) < float(rows[0]["loss"])
    network, _ = radiounet.load(folder / "best.safetensors")
    assert network.inputs == inputs
    assert main(arguments("radiounet", config, city, tmp_path / "out")) == 0, "nothing is left to do"


def test_a_map_without_energy_does_not_spoil_the_step() -> None:
    shape = (2, 1, 256, 256)
    base, truth = torch.full(shape, 0.5), torch.tensor([0.0, 0.6]).view(2, 1, 1, 1).expand(shape)
    maps = Maps(
        streets=base, dynamics=base, base=base, truth=truth, free=torch.ones(shape, dtype=torch.bool),
        transmitters=torch.zeros(2, 3), places=(("a", 0), ("b", 0)),
    )  # fmt: skip

    class Shift(nn.Module):
        """Both maps are the base and one number."""

        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(()))

        def forward(self, streets: Tensor, dynamics: Tensor, transmitters: Tensor, base: Tensor) -> list[Tensor]:
            return [base + self.shift] * 2

    network = Shift()
    objective = Regression(network, TrainingConfig(map_weight=1.0))  # type: ignore[arg-type]
    objective.loss(network, maps, torch.Generator()).backward()
    # Squared error: 2 (0.5 - 0.1) / 2; NMSE of the second map alone: 2 (-0.1) / 0.36; each twice.
    assert float(network.shift.grad) == pytest.approx(2 * (0.4 - 0.2 / 0.36), rel=1e-4)  # type: ignore[arg-type]


def test_it_starts_from_nothing_else(city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path / "tiny.yaml")
    command = [*arguments("radiounet", config, city, tmp_path), "--start", "some.safetensors"]
    assert main(command) == 2
    assert "some.safetensors: RadioUNet starts from weights of its own" in capsys.readouterr().err
