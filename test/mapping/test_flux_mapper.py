"""The mapper with a model: who answers when, what is computed once, what the physics layer stands in for."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.mapping.inputs import OccupancyInput, Pose, StreetMap, street_map
from rdflux_ros.mapping.mapper import RadioMapper
from rdflux_ros.mapping.regions import Region
from rdflux_ros.model import checkpoint
from rdflux_ros.model.tiny import random_model
from rdflux_ros.radio.grid import Grid
from rdflux_ros.settings import SettingError

SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    checkpoint.save(random_model(), path)
    return path


@pytest.fixture(scope="module")
def config(model_file: Path) -> MapperConfig:
    return MapperConfig(model=str(model_file), device="cpu", reflection_order=1, building_height_m=20.0, static_steps=2)


@pytest.fixture(scope="module")
def streets(config: MapperConfig) -> StreetMap:
    data = np.zeros((400, 700), np.int8)
    data[130:150, 100:120] = 100
    return street_map(OccupancyInput(data, Grid(700, 400), "town"), config)


@pytest.fixture
def mapper(config: MapperConfig, streets: StreetMap) -> RadioMapper:
    made = RadioMapper(config)
    made.set_streets(streets)
    return made


def flight(count: int, speed: float = 10.0) -> list[Pose]:
    """Eastwards from x = 70 m, one pose a second."""
    return [Pose(70.0 + speed * k, 200.0, 30.0, k * SECOND) for k in range(count)]


def test_the_model_answers_and_the_physics_layer_stands_beside_it(mapper: RadioMapper) -> None:
    pose = flight(1)[0]
    found = mapper.answer(pose)
    assert (found.method, found.fallback, found.reuse_ratio, found.cache) == ("flux", "", 0.98, "miss")
    assert set(found.latency_ms) == {"region", "physics", "network", "total"}
    beside = mapper.physics_answer(pose, Region(*found.region))
    assert (beside.method, beside.reuse_ratio, beside.grid) == ("physics", None, found.grid)
    np.testing.assert_array_equal(np.isnan(found.pathloss_db), np.isnan(beside.pathloss_db))
    assert np.nanmax(np.abs(found.pathloss_db - beside.pathloss_db)) > 0.1
    assert (mapper.regions_prepared, mapper.region_hits) == (1, 0)


def test_a_known_region_calls_no_static_network(mapper: RadioMapper) -> None:
    model, calls = mapper._flux.model, Counter()  # type: ignore[union-attr]  # nothing public shows what is not called
    watched = {"static stage": model.stage("static").denoiser, "static encoder": model.stage("aligned").streets}
    for name, module in watched.items():
        module.register_forward_hook(lambda *_, name=name: calls.update([name]))
    first, second = (mapper.answer(pose) for pose in flight(2))
    assert (first.cache, second.cache) == ("miss", "hit")
    assert calls == {"static stage": 2, "static encoder": 1}, "once, for the first pose"
    again = mapper.answer(flight(1)[0])
    np.testing.assert_array_equal(again.pathloss_db, first.pathloss_db)


def test_the_first_pose_waits_and_a_crossing_does_not(config: MapperConfig, streets: StreetMap) -> None:
    mapper = RadioMapper(dataclasses.replace(config, prefetch_s=0.0))
    mapper.set_streets(streets)
    before, at, far = Pose(70.0, 200.0, 30.0, 0), Pose(180.0, 200.0, 30.0, SECOND), Pose(181.0, 200.0, 30.0, 2 * SECOND)
    assert mapper.answer(before, wait=False).method == "flux"
    assert not mapper.work(), "nothing is left to do"
    crossing = mapper.answer(at, wait=False)
    assert (crossing.method, crossing.fallback) == ("physics_fallback", "midpoint not ready")
    np.testing.assert_allclose(
        crossing.pathloss_db, mapper.physics_answer(at, Region(*crossing.region)).pathloss_db, atol=1e-3
    )
    steps = 0
    while mapper.work():
        steps += 1
    assert steps == 4, "the static encoder, two steps, the end"
    after = mapper.answer(far, wait=False)
    assert (after.method, after.cache, after.region) == ("flux", "hit", crossing.region)


def test_the_region_ahead_is_ready_when_it_is_entered(mapper: RadioMapper) -> None:
    """A step of work after each answer and a few in each pause are enough at 10 m/s."""
    found = []
    for pose in flight(30):
        found.append(mapper.answer(pose, wait=False))
        for _ in range(4):
            mapper.work()
    assert {answer.method for answer in found} == {"flux"}
    assert len({answer.region for answer in found}) == 5
    assert [answer.cache for answer in found] == ["miss"] + ["hit"] * 29


def test_a_hovering_or_resting_track_prepares_nothing(mapper: RadioMapper) -> None:
    mapper.answer(Pose(100.0, 200.0, 30.0, 0), wait=False)
    mapper.answer(Pose(100.2, 200.0, 30.0, SECOND), wait=False)
    assert not mapper.work() and mapper.regions_prepared == 1


def test_an_answer_that_is_not_finite_is_replaced_and_says_so(mapper: RadioMapper) -> None:
    pose = flight(1)[0]
    weight = mapper._flux.model.stage("aligned").denoiser.stem.weight  # type: ignore[union-attr]
    kept = weight.detach().clone()
    mapper.answer(pose)
    weight.data.fill_(torch.nan)
    broken = mapper.answer(pose)
    assert (broken.method, broken.fallback) == ("physics_fallback", "the network's answer is not finite")
    assert np.isfinite(broken.pathloss_db).any()
    weight.data.copy_(kept)
    assert mapper.answer(pose).method == "flux", "recovers by itself"


def test_a_first_stage_that_fails_is_told_once_and_then_replaced(mapper: RadioMapper) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("out of memory")

    hook = mapper._flux.model.stage("static").denoiser.register_forward_pre_hook(failing)  # type: ignore[union-attr]
    first, second = flight(2)
    with pytest.raises(RuntimeError, match="out of memory"):
        mapper.answer(first, wait=False)
    found = mapper.answer(second, wait=False)
    assert (found.method, found.fallback) == ("physics_fallback", "the first stage failed")
    hook.remove()
    mapper.clear_cache()
    assert mapper.answer(second).method == "flux"


def test_other_midpoints_are_other_entries(config: MapperConfig, streets: StreetMap) -> None:
    """The key holds what shaped a midpoint."""
    keys = []
    for changes in ({}, {"reuse_ratio": 0.99}, {"static_steps": 3}, {"aligned": False}, {"model": "physics"}):
        made = RadioMapper(dataclasses.replace(config, **changes))
        made.set_streets(streets)
        made.answer(flight(1)[0])
        keys += made._keys.values()
    assert len(set(keys)) == 5


def test_a_batch_equals_its_poses(mapper: RadioMapper) -> None:
    poses = [Pose(250.0 + k, 190.0, 20.0 + 10 * k) for k in range(3)]
    for pose, found in zip(poses, mapper.answer_batch(poses), strict=True):
        assert found.method == "flux"
        np.testing.assert_allclose(found.pathloss_db, mapper.query(pose).pathloss_db, atol=0.05)


def test_a_model_without_the_stage_or_steps_that_are_asked_for_is_refused(config: MapperConfig, tmp_path: Path) -> None:
    path = tmp_path / "partial.safetensors"
    checkpoint.save(random_model(["conditional", "static"]), path)
    with pytest.raises(checkpoint.CheckpointError, match=r"partial\.safetensors: holds no stage aligned"):
        RadioMapper(dataclasses.replace(config, model=str(path)))
    assert RadioMapper(dataclasses.replace(config, model=str(path), aligned=False)).device.type == "cpu"
    with pytest.raises(SettingError, match="reuse_ratio"):
        RadioMapper(dataclasses.replace(config, reuse_ratio=0.985))
