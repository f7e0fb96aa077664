"""The cache file: a restart finds what was made, whatever happened to the process, and nothing that is stale."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from rdflux_ros.mapping import static_parts
from rdflux_ros.mapping.cache_file import TABLE
from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.mapping.inputs import InputError, OccupancyInput, Pose, street_map
from rdflux_ros.mapping.mapper import RadioMapper
from rdflux_ros.model.tiny import model_file
from rdflux_ros.radio.grid import Grid

POSE = Pose(70.0, 200.0, 30.0)


@pytest.fixture
def config(tmp_path: Path) -> MapperConfig:
    return MapperConfig(
        model=str(model_file(tmp_path / "tiny.safetensors")),
        device="cpu",
        reflection_order=1,
        static_steps=1,
        cache_file=str(tmp_path / "regions.db"),
    )


def started(config: MapperConfig) -> RadioMapper:
    data = np.zeros((400, 500), np.int8)
    data[130:150, 100:120] = 100
    made = RadioMapper(config)
    made.set_streets(street_map(OccupancyInput(data, Grid(500, 400), "town"), config))
    return made


def test_a_restart_computes_nothing_again(config: MapperConfig) -> None:
    before = started(config)
    first = before.answer(POSE)
    after = started(config)  # the first process may as well have been killed
    second = after.answer(POSE)
    assert (first.cache, second.cache) == ("miss", "hit")
    assert (after.regions_prepared, after.regions_loaded) == (0, 1)
    np.testing.assert_array_equal(first.pathloss_db, second.pathloss_db)


def test_what_is_shaped_by_something_else_is_not_found(config: MapperConfig) -> None:
    started(config).answer(POSE)
    for changes in ({"reuse_ratio": 0.95}, {"model": "physics"}, {"building_height_m": 12.0}):
        other = started(dataclasses.replace(config, **changes))
        assert other.answer(POSE).cache == "miss"


def test_the_file_is_bounded_and_can_be_cleared(config: MapperConfig) -> None:
    mapper = started(dataclasses.replace(config, cache_file_size=1))
    for x in (70.0, 330.0):
        mapper.query(dataclasses.replace(POSE, x=x))
    again = started(dataclasses.replace(config, cache_file_size=1))
    assert [again.query(dataclasses.replace(POSE, x=x)).cache for x in (330.0, 70.0)] == ["hit", "miss"]
    again.clear_cache()
    assert started(config).query(POSE).cache == "miss"


def test_what_other_code_made_is_not_found(config: MapperConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    started(config).answer(POSE)
    monkeypatch.setattr(static_parts, "code_digest", lambda *parts: "other")
    assert started(config).answer(POSE).cache == "miss"


def test_a_part_is_found_while_another_process_writes(config: MapperConfig) -> None:
    """That it was used cannot be noted then, which is no reason to make it again."""
    started(config).answer(POSE)
    with sqlite3.connect(config.cache_file, isolation_level=None) as other:
        mapper = started(config)
        other.execute("BEGIN IMMEDIATE")
        assert mapper.answer(POSE).cache == "hit" and not mapper.cache_file_trouble
        other.execute("ROLLBACK")


@pytest.mark.parametrize("content", ["substr(content, 1, length(content) / 2)", "NULL"])
def test_a_damaged_row_is_made_again(config: MapperConfig, content: str) -> None:
    started(config).answer(POSE)
    with sqlite3.connect(config.cache_file) as database:
        database.execute(f"UPDATE {TABLE} SET content = {content}")
    assert started(config).answer(POSE).cache == "miss"
    assert started(config).answer(POSE).cache == "hit"


@pytest.mark.parametrize("content", [b"not a database, but long enough to look at" * 40, None])
def test_a_file_that_cannot_be_used_is_named(config: MapperConfig, content: bytes | None) -> None:
    path = Path(config.cache_file)
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"cache_file = '.*regions\.db'"):
        RadioMapper(config)


def test_a_file_that_fails_in_flight_is_done_without(config: MapperConfig) -> None:
    mapper = started(config)
    mapper._parts._file._database.close()  # type: ignore[union-attr]  # as a failing disk would
    assert mapper.answer(POSE).method == "flux"
    assert "cache_file" in mapper.cache_file_trouble
    mapper.clear_cache()
    assert mapper.answer(POSE).method == "flux"


def test_the_physics_layers_walls_are_kept_too(config: MapperConfig) -> None:
    config = dataclasses.replace(config, model="physics")
    assert started(config).answer(POSE).cache == "miss"
    assert started(config).answer(POSE).cache == "hit"
