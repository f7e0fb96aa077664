"""The model that comes with the package: found, whole, small, and with its card."""

from __future__ import annotations

from pathlib import Path

import pytest

from rdflux_ros.model import checkpoint, shipped
from rdflux_ros.model.radio_model import STAGES
from rdflux_ros.model.shipped import SHIPPED, MissingModelError, model_path
from rdflux_ros.settings import SettingError

MODELS = Path(__file__).parents[2] / "models"


def test_it_holds_all_stages_and_its_card_is_its_own() -> None:
    path = model_path(SHIPPED)
    assert path == MODELS / "flux.safetensors"
    model, found = checkpoint.load(path)
    assert tuple(model.stages) == STAGES
    card = (MODELS / "flux.md").read_text()
    for text in (found.digest, "© OpenStreetMap contributors", "ODbL", "5 to 120 m", "test split", "val split"):
        assert text in card, text
    assert sum(file.stat().st_size for file in MODELS.iterdir()) <= 64e6


def test_an_installed_package_finds_it_in_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip and colcon lay it out: beside lib, under the prefix."""
    package = tmp_path / "lib" / "python3.11" / "site-packages" / "rdflux_ros"
    monkeypatch.setattr(shipped, "__file__", str(package / "model" / "shipped.py"))
    with pytest.raises(MissingModelError, match=r"models/flux\.safetensors: the shipped model is not there"):
        model_path(SHIPPED)
    installed = tmp_path / "share" / "rdflux_ros" / "models" / "flux.safetensors"
    installed.parent.mkdir(parents=True)
    installed.touch()
    assert model_path(SHIPPED) == installed


def test_a_file_in_nobodys_home_is_refused() -> None:
    with pytest.raises(SettingError, match="model = '~nobody-here/flux'"):
        model_path("~nobody-here/flux")


def test_a_file_is_itself_and_a_missing_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    with pytest.raises(MissingModelError, match=r"own\.safetensors: no such model file"):
        model_path(str(path))
    path.touch()
    assert model_path(str(path)) == path
