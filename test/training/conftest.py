"""The tiny city, its physics channels and a trained conditional stage, made once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from training_city import arguments, make_city, write_config

from rdflux_ros.training.train import main


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small lose more to threads than they win."""
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(os.cpu_count() or 1)


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset's folder; its physics channels are kept in ``../cache``."""
    return make_city(tmp_path_factory.mktemp("training") / "city")


@pytest.fixture(scope="session")
def trained(city: Path) -> Path:
    """A folder with a conditional stage, trained without a break."""
    out = city.parent / "trained"
    config = write_config(city.parent / "tiny.yaml")
    assert main(arguments("conditional", config, city, out)) == 0
    return out
