"""The mapper with a model: who answers when, what is computed once, what the physics layer stands in for."""

from __future__ import annotations

import dataclasses
import time
import weakref
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from rdflux_ros.mapping.config import STILL_M, MapperConfig
from rdflux_ros.mapping.inputs import OccupancyInput, Pose, StreetMap, street_map
from rdflux_ros.mapping.mapper import RadioMapper
from rdflux_ros.mapping.regions import Region
from rdflux_ros.model import checkpoint
from rdflux_ros.model.shipped import MissingModelError
from rdflux_ros.model.tiny import random_model
from rdflux_ros.propagation.physics_layer import PathGains
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


def test_the_region_ahead_is_still_prepared_where_a_pose_is_answered_again(mapper: RadioMapper) -> None:
    """As by every message of obstacles: the same pose says nothing of the speed."""
    for pose in (Pose(85.0, 200.0, 30.0, SECOND), Pose(95.0, 200.0, 30.0, 2 * SECOND)):
        mapper.answer(pose, wait=False)
    mapper.answer(pose, wait=False)
    while mapper.work():
        pass
    assert mapper.regions_prepared == 2
    crossing = mapper.answer(Pose(115.0, 200.0, 30.0, 3 * SECOND), wait=False)
    assert (crossing.method, crossing.cache) == ("flux", "hit")


def test_regions_that_do_not_fit_into_the_cache_do_not_push_each_other_out_for_ever(
    config: MapperConfig, streets: StreetMap
) -> None:
    mapper = RadioMapper(dataclasses.replace(config, cache_size=1))
    mapper.set_streets(streets)
    for pose in (Pose(85.0, 200.0, 30.0, SECOND), Pose(95.0, 200.0, 30.0, 2 * SECOND)):
        mapper.answer(pose, wait=False)
    assert sum(mapper.work() for _ in range(8)) == 0, "its own region is ready, and the next one has no place"
    assert mapper.answer(Pose(96.0, 200.0, 30.0, 3 * SECOND), wait=False).cache == "hit"


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


def test_a_first_stage_that_fails_is_replaced_and_tried_again(
    mapper: RadioMapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise torch.OutOfMemoryError("3 GiB wanted")

    monkeypatch.setattr("rdflux_ros.mapping.static_parts.RETRY_S", 0.2)
    hook = mapper._flux.model.stage("static").denoiser.register_forward_pre_hook(failing)  # type: ignore[union-attr]
    found = mapper.answer(flight(1)[0], wait=False)
    assert (found.method, found.fallback) == (
        "physics_fallback",
        "the first stage failed: OutOfMemoryError: 3 GiB wanted",
    )
    assert np.isfinite(found.pathloss_db).any()
    hook.remove()
    time.sleep(0.3)
    assert mapper.answer(flight(1)[0]).method == "flux", "recovers by itself"


def test_physics_figures_are_fetched_after_the_networks_work(
    mapper: RadioMapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU that is waited for first has nothing queued."""
    pose, order, gain_db = flight(1)[0], [], PathGains.gain_db
    mapper.answer(pose)
    monkeypatch.setattr(PathGains, "gain_db", lambda gains: order.append("physics") or gain_db(gains))
    denoiser = mapper._flux.model.stage("aligned").denoiser  # type: ignore[union-attr]
    hook = denoiser.register_forward_pre_hook(lambda *_: order.append("network"))
    found = mapper.answer(pose)
    hook.remove()
    assert order == ["network", "network", "physics"]
    assert found.latency_ms["physics"] > 0 and found.latency_ms["network"] > 0


@pytest.mark.parametrize("name", ["model", "cache_file"])
def test_a_file_in_nobodys_home_is_no_lost_gpu(name: str) -> None:
    config = MapperConfig(**{"model": "physics", name: "~nobody-here/file"})  # type: ignore[arg-type]
    with pytest.raises(SettingError, match=f"{name} = '~nobody-here/file'"):
        RadioMapper(config, keep_going=True)


def test_memory_that_is_full_is_freed_told_and_recovers(mapper: RadioMapper, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[weakref.ref[torch.Tensor]] = []
    freed: list[bool] = []

    def failing(*_: object) -> None:
        activations = torch.zeros(1)
        held.append(weakref.ref(activations))
        raise torch.OutOfMemoryError("3 GiB wanted")

    pose = flight(1)[0]
    mapper.answer(pose)
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: freed.append(held[-1]() is None))
    hook = mapper._flux.model.stage("aligned").denoiser.register_forward_pre_hook(failing)  # type: ignore[union-attr]
    found = mapper.answer(pose)
    assert (found.method, found.fallback) == ("physics_fallback", "the network failed: 3 GiB wanted")
    assert freed == [True], "nothing is freed while something holds it"
    hook.remove()
    assert mapper.answer(pose).method == "flux"


def test_without_the_gpu_that_is_asked_for_the_physics_layer_answers_and_says_why(
    config: MapperConfig, streets: StreetMap
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    mapper = RadioMapper(dataclasses.replace(config, device="cuda"), keep_going=True)
    mapper.set_streets(streets)
    found = mapper.answer(flight(1)[0])
    assert found.method == "physics_fallback" and "device = 'cuda'" in found.fallback
    with pytest.raises(MissingModelError, match="nowhere"):
        RadioMapper(dataclasses.replace(config, device="cuda", model="nowhere.safetensors"), keep_going=True)
    with pytest.raises(SettingError, match="reuse_ratio"):
        RadioMapper(dataclasses.replace(config, device="cuda", reuse_ratio=0.985), keep_going=True)
    with pytest.raises(SettingError, match="reuse_ratio"):
        mapper.check(dataclasses.replace(mapper.config, reuse_ratio=0.955))


def test_another_reuse_ratio_from_the_next_answer_on(mapper: RadioMapper, config: MapperConfig) -> None:
    pose = flight(1)[0]
    assert mapper.answer(pose).reuse_ratio == 0.98
    mapper.reconfigure(dataclasses.replace(config, reuse_ratio=0.95, model="ignored", cache_size=1))
    other = mapper.answer(pose)
    assert (other.reuse_ratio, other.cache) == (0.95, "miss")
    with pytest.raises(SettingError, match="reuse_ratio"):
        mapper.reconfigure(dataclasses.replace(config, reuse_ratio=0.955))
    assert mapper.answer(pose).reuse_ratio == 0.95, "as it was"
    mapper.reconfigure(config)
    assert mapper.answer(pose).cache == "hit", "the first midpoint is still there"


@pytest.fixture
def thrifty(config: MapperConfig, streets: StreetMap) -> RadioMapper:
    made = RadioMapper(dataclasses.replace(config, reuse_ratio="auto"))
    made.set_streets(streets)
    return made


def test_auto_takes_one_step_where_the_transmitter_moved_and_none_while_it_is_still(thrifty: RadioMapper) -> None:
    first = thrifty.answer(Pose(70.0, 200.0, 30.0, SECOND))
    assert first.reuse_ratio == 0.99
    near = Pose(70.0 + 0.6 * STILL_M, 200.0, 30.0 + 0.6 * STILL_M, 2 * SECOND)
    kept = thrifty.answer(near)
    assert (kept.reuse_ratio, kept.cache, kept.method, kept.stamp_ns) == (1.0, "hit", "flux", 2 * SECOND)
    assert np.array_equal(kept.pathloss_db, first.pathloss_db, equal_nan=True)
    assert (kept.transmitter.x, kept.transmitter.z) == (near.x, near.z) and list(kept.latency_ms) == ["total"]
    # from where it was computed, not from pose to pose: small steps do not add up
    moved = thrifty.answer(Pose(70.0 + 1.2 * STILL_M, 200.0, 30.0, 3 * SECOND))
    assert moved.reuse_ratio == 0.99 and not np.array_equal(moved.pathloss_db, first.pathloss_db, equal_nan=True)


def test_auto_computes_anew_what_something_else_has_changed(
    thrifty: RadioMapper, config: MapperConfig, streets: StreetMap
) -> None:
    pose = flight(1)[0]

    def taken() -> float | None:
        assert thrifty.answer(pose).reuse_ratio == 0.99
        return thrifty.answer(pose).reuse_ratio

    assert taken() == 1.0
    cars = np.zeros((400, 700), np.int8)
    cars[198:202, 90:94] = 100
    thrifty.set_obstacles(OccupancyInput(cars, Grid(700, 400), "town"))
    assert taken() == 1.0
    thrifty.set_streets(streets)
    assert taken() == 1.0
    thrifty.reset_track()
    assert taken() == 1.0
    thrifty.clear_cache()
    assert taken() == 1.0
    thrifty.reconfigure(dataclasses.replace(thrifty.config, uncertainty=False))
    assert taken() == 1.0
    thrifty.reconfigure(dataclasses.replace(thrifty.config, reuse_ratio=0.0))
    assert [thrifty.answer(pose).reuse_ratio for _ in range(2)] == [0.98, 0.98]


def test_auto_keeps_no_answer_of_another_region_or_of_the_physics_layer_alone(thrifty: RadioMapper) -> None:
    thrifty.answer(Pose(70.0, 200.0, 30.0, SECOND))
    border = 64.0 + 48.0  # a track keeps its region up to here
    assert thrifty.answer(Pose(border - 0.1, 200.0, 30.0, 2 * SECOND)).reuse_ratio == 0.99
    waiting = thrifty.answer(Pose(border + 0.1, 200.0, 30.0, 3 * SECOND), wait=False)
    assert waiting.reuse_ratio is None, "another region, whose midpoint is not there yet"
    while thrifty.work():
        pass
    assert thrifty.answer(Pose(border + 0.1, 200.0, 30.0, 4 * SECOND), wait=False).reuse_ratio == 0.99


def test_auto_keeps_no_answer_over_a_roofs_edge_nor_loses_what_the_height_says(thrifty: RadioMapper) -> None:
    """The block's edge is at x = 100 m, its roof 20 m high."""
    on_roof, beside = Pose(100.1, 140.0, 20.3, SECOND), Pose(99.9, 140.0, 20.3, 2 * SECOND)
    assert [thrifty.answer(pose).reuse_ratio for pose in (on_roof, beside)] == [0.99, 0.99]
    within, above = Pose(70.0, 200.0, 119.9, 3 * SECOND), Pose(70.0, 200.0, 120.1, 4 * SECOND)
    assert [thrifty.answer(pose).extrapolated for pose in (within, above)] == [False, True]


def test_auto_keeps_the_answer_of_each_track_by_itself(thrifty: RadioMapper) -> None:
    there = {"one": Pose(70.0, 200.0, 30.0), "two": Pose(140.0, 220.0, 40.0)}
    first = thrifty.answer_tracks(there)
    second = thrifty.answer_tracks(there | {"two": Pose(145.0, 220.0, 40.0)})
    assert (second["one"].reuse_ratio, second["two"].reuse_ratio) == (1.0, 0.99)
    assert np.array_equal(first["one"].pathloss_db, second["one"].pathloss_db, equal_nan=True)


def test_a_small_change_keeps_the_midpoint_where_the_threshold_says_so(config: MapperConfig) -> None:
    """D_env against the threshold; what changed is compared with what the midpoint was made for."""
    data = np.zeros((400, 700), np.int8)
    data[130:150, 100:120] = 100
    changed = data.copy()
    changed[200:203, 30:33] = 100
    pose = Pose(70.0, 180.0, 30.0)
    found = {}
    for threshold in (0.0, 1e-6, 100.0):
        settings = dataclasses.replace(config, similarity_threshold=threshold)
        mapper = RadioMapper(settings)
        answers = []
        for cells in (data, changed, changed):
            mapper.set_streets(street_map(OccupancyInput(cells, Grid(700, 400), "town"), settings))
            answers.append(mapper.answer(pose))
        found[threshold] = [answer.cache for answer in answers]
        assert np.isnan(answers[-1].pathloss_db[answers[-1].grid.cells(31.5, 201.5)]), (
            "the walls are always the new ones"
        )
    assert found == {0.0: ["miss", "miss", "hit"], 1e-6: ["miss", "miss", "hit"], 100.0: ["miss"] + ["approximate"] * 2}


def test_obstacles_have_no_value_and_say_so(mapper: RadioMapper) -> None:
    pose = flight(1)[0]
    before = mapper.answer(pose)
    cars = np.zeros((40, 60), np.int8)
    cars[10:12, 20:24] = 100  # at 0.5 m, from (60, 210): x 70..72, y 215..216
    mapper.set_obstacles(OccupancyInput(cars, Grid(60, 40, 0.5, 60.0, 210.0), "town"))
    found = mapper.answer(pose)
    x, y = found.grid.centre_mesh()
    under = (x > 70) & (x < 72) & (y > 215) & (y < 216)
    assert under.sum() == 2
    np.testing.assert_array_equal(np.isnan(found.pathloss_db), np.isnan(before.pathloss_db) | under)
    assert np.nanmax(np.abs(found.pathloss_db - before.pathloss_db)) > 0, "the network is told of them"
    mapper.set_obstacles(None, outdated=True)
    gone = mapper.answer(pose)
    np.testing.assert_array_equal(gone.pathloss_db, before.pathloss_db)
    assert [answer.obstacles for answer in (before, found, gone)] == ["none", "used", "outdated"]


def test_obstacles_of_another_frame_than_the_maps_are_left_out(mapper: RadioMapper, streets: StreetMap) -> None:
    pose = flight(1)[0]
    cars = OccupancyInput(np.full((4, 4), 100, np.int8), Grid(4, 4, 1.0, 70.0, 215.0), "town")
    mapper.set_obstacles(cars)
    here = mapper.answer(pose)
    mapper.set_streets(dataclasses.replace(streets, frame_id="elsewhere"))
    there = mapper.answer(pose)
    assert (here.obstacles, there.obstacles) == ("used", "outdated")
    assert np.isnan(here.pathloss_db).sum() == np.isnan(there.pathloss_db).sum() + 16


def test_other_midpoints_are_other_entries(config: MapperConfig, streets: StreetMap) -> None:
    """The key holds what shaped a midpoint."""
    keys = []
    for changes in ({}, {"reuse_ratio": 0.99}, {"static_steps": 3}, {"aligned": False}, {"model": "physics"}):
        made = RadioMapper(dataclasses.replace(config, **changes))
        made.set_streets(streets)
        made.answer(flight(1)[0])
        keys += made._parts._keys.values()
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
