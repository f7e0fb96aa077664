"""`train radiounet`: either kind of input learns, and errors are one line."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from training_city import arguments, write_config

from rdflux_ros.baselines import radiounet
from rdflux_ros.training.train import main


@pytest.mark.parametrize("inputs", ["published", "physics"])
def test_it_learns(inputs: str, city: Path, tmp_path: Path) -> None:
    config = write_config(
        tmp_path / "tiny.yaml", inputs=inputs, steps=6, learning_rate=1e-3, map_weight=1.0, validate_every=3
    )
    assert main(arguments("radiounet", config, city, tmp_path / "out")) == 0
    folder = tmp_path / "out" / "radiounet"
    with (folder / "validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [3, 6] and float(rows[1]["loss"]) < float(rows[0]["loss"])
    network, _ = radiounet.load(folder / "best.safetensors")
    assert network.inputs == inputs
    assert main(arguments("radiounet", config, city, tmp_path / "out")) == 0, "nothing is left to do"


def test_it_starts_from_nothing_else(city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path / "tiny.yaml")
    command = [*arguments("radiounet", config, city, tmp_path), "--start", "some.safetensors"]
    assert main(command) == 2
    assert "some.safetensors: RadioUNet starts from weights of its own" in capsys.readouterr().err
