"""`precompute` fills the cache file that the mapper then finds, and goes on where it was."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from rdflux_ros.mapping.cache_file import TABLE
from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.mapping.inputs import Pose, load_occupancy, street_map
from rdflux_ros.mapping.mapper import RadioMapper
from rdflux_ros.mapping.precompute import main
from rdflux_ros.model.tiny import model_file
from rdflux_ros.node.parameters import as_yaml


@pytest.fixture
def town(tmp_path: Path) -> Path:
    image = np.full((130, 200), 254, np.uint8)
    image[40:60, 90:110] = 0
    cv2.imwrite(str(tmp_path / "map.pgm"), image)
    (tmp_path / "map.yaml").write_text("image: map.pgm\nresolution: 1.0\norigin: [0.0, 0.0, 0.0]\n")
    return tmp_path / "map.yaml"


def parameters(tmp_path: Path, **values: object) -> Path:
    content = yaml.safe_load(as_yaml())
    content["/**"]["ros__parameters"] |= {"device": "cpu", "static_steps": 1, **values}
    (tmp_path / "mapper.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "mapper.yaml"


def test_the_mapper_finds_what_was_precomputed(
    town: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, cache = str(model_file(tmp_path / "tiny.safetensors")), tmp_path / "regions.db"
    file = parameters(tmp_path, model=model, building_height_m=12.0)
    command = [str(town), "--params-file", str(file), "--cache-file", str(cache)]
    assert main([*command, "--around", "64", "64", "70"]) == 0
    assert "9 regions" in capsys.readouterr().out
    assert main(command) == 0
    assert "12 regions" in (told := capsys.readouterr().out) and "3 prepared, 9 there before" in told
    config = MapperConfig(
        model=model, device="cpu", static_steps=1, building_height_m=12.0, cache_file=str(cache), reflection_order=4
    )
    mapper = RadioMapper(config)
    mapper.set_streets(street_map(load_occupancy(town), config))
    for x, y in ((1.0, 1.0), (199.0, 129.0), (100.0, 20.0)):
        assert mapper.query(Pose(x, y, 30.0)).cache == "hit"
    assert mapper.regions_prepared == 0


def test_a_point_has_its_own_region_around_it(town: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also half way between the regions' centres."""
    file = parameters(tmp_path, model="physics", cache_file=str(tmp_path / "regions.db"))
    assert main([str(town), "--params-file", str(file), "--around", "31", "31", "0.5"]) == 0
    assert "1 regions" in capsys.readouterr().out


def test_a_file_that_takes_no_more_is_an_error(town: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = tmp_path / "regions.db"
    file = parameters(tmp_path, model="physics", cache_file=str(cache))
    assert main([str(town), "--params-file", str(file), "--around", "64", "64", "5"]) == 0
    with sqlite3.connect(cache) as database:
        database.execute(f"CREATE TRIGGER full BEFORE INSERT ON {TABLE} BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
    capsys.readouterr()
    assert main([str(town), "--params-file", str(file)]) == 2
    assert "disk is full" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "cache_file"),
        (["--cache-file", "x.db", "--params-file", "nowhere.yaml"], "nowhere.yaml"),
        (["--cache-file", "."], "cache_file"),
        (["--cache-file", "x.db", "--around", "900", "900", "50"], "--around"),
    ],
)
def test_what_does_not_fit_is_one_line(
    town: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(town), *arguments]) == 2
    assert says in (told := capsys.readouterr().err) and told.count("\n") == 1
