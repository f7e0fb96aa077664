"""How far off an answer may be: laws that are fitted, kept beside their model, and asked cell by cell."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.mapping.inputs import OccupancyInput, Pose, street_map
from rdflux_ros.mapping.mapper import RadioMapper
from rdflux_ros.mapping.regions import Region
from rdflux_ros.mapping.uncertainty import SHAPE, SUFFIX, ErrorLaw, ErrorLaws, ErrorSums, classes, load_laws
from rdflux_ros.model import checkpoint
from rdflux_ros.model.tiny import model_file
from rdflux_ros.radio.grid import Grid
from rdflux_ros.settings import SettingError

WITHIN = (0.5, 1.0, 1.6, 2.0)


def some_laws() -> ErrorLaws:
    numbers = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE) / 10 + 1
    return ErrorLaws([ErrorLaw("flux", 0.25, numbers, WITHIN), ErrorLaw("flux", 1.0, numbers + 100, WITHIN),
                      ErrorLaw("physics", 1.0, numbers + 200, WITHIN)])  # fmt: skip


def test_a_law_finds_the_size_of_errors_that_follow_one() -> None:
    random = np.random.default_rng(0)
    sums, truth = ErrorSums(), random.uniform(4.0, 8.0, SHAPE)
    for _ in range(20):
        cells = random.integers(0, np.prod(SHAPE), 300_000)
        sums.add(cells, random.normal(0.0, truth.ravel()[cells]).astype(np.float32))
    assert np.abs(sums.stddev_db() / truth - 1).max() < 0.2 and np.abs(sums.stddev_db() / truth - 1).mean() < 0.05


def test_classes_nobody_saw_lean_on_others() -> None:
    sums = ErrorSums()
    seen = np.ravel_multi_index((1, 1, 3, 2), SHAPE)
    sums.add(np.full(100_000, seen), np.full(100_000, 4.0, np.float32))
    assert np.allclose(sums.stddev_db(), 4.0, rtol=0.05) and ErrorSums().stddev_db().max() == 0.0


def test_cells_are_told_apart_by_what_is_known_of_them() -> None:
    pathloss = np.array([[75.0, 95.0, 147.0, np.nan]], np.float32)
    physics = np.array([[75.2, 98.0, 160.0, 90.0]], np.float32)
    visible = np.array([[True, False, False, True]])
    low, high = (classes(pathloss, physics, visible, z) for z in (12.0, 60.0))
    places = [np.unravel_index(number, SHAPE) for number in low[0, :3]]
    assert [tuple(map(int, place)) for place in places] == [(0, 1, 0, 0), (0, 0, 2, 3), (0, 0, 8, 0)]
    assert (np.array(np.unravel_index(high, SHAPE))[0] == SHAPE[0] - 1).all()
    law = some_laws().law("flux", 0.25)
    assert law is not None
    found = law.stddev(pathloss, physics, visible, 12.0)
    assert np.isnan(found[0, 3]) and np.allclose(found[0, :3], low[0, :3] / 10 + 1)


def test_laws_stand_beside_their_model_and_are_refused_for_another(tmp_path: Path) -> None:
    model = model_file(tmp_path / "tiny.safetensors")
    digest = checkpoint.read(model).digest
    with pytest.raises(SettingError, match=rf"uncertainty = true: .*tiny{SUFFIX}: no such file"):
        load_laws(str(model), digest)
    path = model.with_suffix(SUFFIX)
    some_laws().write(path, digest, {"fitted_on": "a test"})
    laws = load_laws(str(model), digest)
    for method, resolution, offset in (("flux", 0.3, 0), ("flux", 0.8, 100), ("physics", 0.25, 200)):
        law = laws.law(method, resolution)
        assert law is not None and law.within == WITHIN
        assert law.stddev_db[0, 0, 0, 1] == pytest.approx(1.1 + offset)
    assert laws.law("other", 1.0) is None
    with pytest.raises(SettingError, match="of another model"):
        load_laws(str(model), "00ff")
    path.write_text(path.read_text()[:-300])
    with pytest.raises(SettingError, match="unreadable"):
        load_laws(str(model), digest)
    path.write_text(json.dumps({"shape": list(SHAPE), "laws": []}))
    with pytest.raises(SettingError, match="unreadable"):
        load_laws(str(model), digest)
    path.write_text('{"shape": [1], "laws": [], "digest": ""}')
    with pytest.raises(SettingError, match="another version"):
        load_laws(str(model), digest)


def test_the_mapper_says_it_where_it_is_asked(tmp_path: Path) -> None:
    model = model_file(tmp_path / "tiny.safetensors")
    some_laws().write(model.with_suffix(SUFFIX), checkpoint.read(model).digest, {})
    cells = np.zeros((400, 400), np.int8)
    cells[150:180, 150:180] = 100
    config = MapperConfig(model=str(model), static_steps=1, device="cpu")
    mapper = RadioMapper(config)
    mapper.set_streets(street_map(OccupancyInput(cells, Grid(400, 400), "map"), config))
    pose = Pose(200.0, 200.0, 40.0)
    plain = mapper.answer(pose)
    assert plain.stddev_db is None
    mapper.reconfigure(dataclasses.replace(config, uncertainty=True))
    by_model, by_physics = mapper.answer(pose), mapper.physics_answer(pose, Region(*plain.region))
    assert np.array_equal(by_model.pathloss_db, plain.pathloss_db, equal_nan=True)
    for answer, law in ((by_model, "flux"), (by_physics, "physics")):
        assert answer.stddev_db is not None and answer.stddev_db.shape == (256, 256)
        assert np.array_equal(np.isnan(answer.stddev_db), np.isnan(answer.pathloss_db))
        assert np.nanmin(answer.stddev_db) > (100 if law == "flux" else 200), "walls of 1 m, each its own law"
    model.with_suffix(SUFFIX).unlink()
    with pytest.raises(SettingError, match="no such file"):
        mapper.check(dataclasses.replace(config, uncertainty=True))
