"""The cache keeps what the physics layer says, goes on where it stopped, and batches turn as one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from rdflux_ros.data.radiomapseer import RadioMapSeer, spread
from rdflux_ros.data.transforms import SYMMETRIES, turn_array
from rdflux_ros.flux.conditions import DYNAMICS
from rdflux_ros.model.config import COMPACT
from rdflux_ros.propagation.facades import trace_facades
from rdflux_ros.propagation.physics_layer import PhysicsLayer
from rdflux_ros.radio.units import grey_from_gain
from rdflux_ros.training.cache import PhysicsCache
from rdflux_ros.training.samples import Samples

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cache(city: Path) -> PhysicsCache:
    """The training split with the map with cars; walls as the data has them."""
    cache = PhysicsCache(city.parent / "fine", city, "train", cars=True, resolutions=())
    assert cache.fill(range(3))
    return cache


def test_what_is_kept_is_what_the_physics_layer_says(cache: PhysicsCache, city: Path) -> None:
    assert cache.names == ["a_1_0", "a_1_0_cars", "a_1_1", "b_2_0", "b_2_1"]
    sample = RadioMapSeer(city, "train")[0]
    facades = trace_facades(sample.surroundings_m, sample.resolution)
    gains = PhysicsLayer()(facades, torch.tensor(sample.position[None], dtype=torch.float32))
    maps = Samples(cache, [0], COMPACT, 0, False).maps([(0, 0)], CPU)
    physics = grey_from_gain(gains.gain_db()[0].numpy()) * sample.free
    assert np.abs(maps.base[0, 0].numpy() - physics).max() < 0.004, "bytes are half a grey step off at most"
    assert np.allclose(maps.truth[0, 0].numpy(), sample.grey, atol=1e-6)
    assert (maps.free[0, 0].numpy() == sample.free).all()
    assert maps.z.tolist() == [12.0]


def test_cars_are_told_where_the_map_has_them(cache: PhysicsCache) -> None:
    maps = Samples(cache, [0, 1], COMPACT, 0, False).maps([(0, 0), (1, 0)], CPU)
    cars = maps.dynamics[:, DYNAMICS.index("cars")].sum(dim=(1, 2))
    assert cars.tolist() == [0.0, 10.0]
    assert int(maps.free[0].sum() - maps.free[1].sum()) == 10


@pytest.mark.parametrize("symmetry", range(SYMMETRIES))
def test_all_of_a_map_turns(cache: PhysicsCache, symmetry: int) -> None:
    samples = Samples(cache, [1], COMPACT, 0, True)
    before, after = samples.maps([(1, 0)], CPU), samples.maps([(1, symmetry)], CPU)
    scalar = [k for k, name in enumerate(DYNAMICS) if name not in ("east", "north")]
    for ours, theirs in (
        (after.base[0], before.base[0]),
        (after.truth[0], before.truth[0]),
        (after.free[0], before.free[0]),
        (after.streets[0], before.streets[0]),
        (after.dynamics[0, scalar], before.dynamics[0, scalar]),
    ):
        turned = np.stack([turn_array(plane.numpy(), symmetry) for plane in theirs])
        assert np.allclose(ours.numpy(), turned, atol=1e-5)
    east, north = (after.dynamics[0, DYNAMICS.index(name)].numpy() for name in ("east", "north"))
    centre = np.arange(256) + 0.5
    x, y = centre[None] + 40 * east, centre[:, None] + 40 * north
    row, col = np.unravel_index(np.argmax(after.dynamics[0, DYNAMICS.index("up")].numpy()), (256, 256))
    far = np.hypot(centre[None] - col, centre[:, None] - row) > 60
    closer = np.hypot(x - col, y - row) < np.hypot(centre[None] - col, centre[:, None] - row)
    assert closer[far].all(), "the vectors lead to the transmitter"


def test_filling_goes_on_where_it_stopped(city: Path, tmp_path: Path) -> None:
    def opened() -> PhysicsCache:
        return PhysicsCache(tmp_path, city, "val", cars=False, resolutions=(1.0,))

    calls = iter([False, True])
    assert not opened().fill(range(2), lambda: next(calls))
    again = opened()
    assert again.planes[0].any() and not again.planes[1].any()
    kept = again.planes[0].copy()
    again.planes[0, 0, 0, 0] = 77  # a mark that computing it again would remove
    assert again.fill(range(2))
    assert again.planes[1].any() and again.planes[0, 0, 0, 0] == 77
    assert (again.planes[0].ravel()[1:] == kept.ravel()[1:]).all()
    other = PhysicsCache(tmp_path, city, "val", cars=False, resolutions=(0.5,))
    assert other.folder != again.folder and not other.planes[0].any()


def test_a_dataset_made_again_in_place_is_computed_again(city: Path, tmp_path: Path) -> None:
    again = shutil.copytree(city, tmp_path / "city")

    def folder(split: str) -> Path:
        return PhysicsCache(tmp_path / "cache", again, split, cars=split == "train", resolutions=()).folder

    before = folder("train"), folder("val")
    for file in ("antenna/a_1.json", "png/surroundings/b_2.png", "png/cars/a_1.png", "gain/cars/a_1_0.png"):
        known = folder("train")
        assert folder("train") == known
        (again / file).write_bytes((again / file).read_bytes() + b" ")
        assert folder("train") != known, file
    status = (again / "gain" / "static" / "b_2_1.png").stat()
    known = folder("train")
    os.utime(again / "gain" / "static" / "b_2_1.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
    assert folder("train") not in (known, before[0]), "of the same size, but later"
    assert folder("val") == before[1], "of the other split nothing is new"


def test_processes_fill_the_same(cache: PhysicsCache, city: Path, tmp_path: Path) -> None:
    shared = PhysicsCache(tmp_path, city, "train", cars=True, resolutions=())
    assert shared.fill(range(3), processes=2)
    for name in ("planes", "positions", "heights_cm", "masks"):
        assert (getattr(shared, name) == getattr(cache, name)).all(), name


def test_a_step_draws_the_same_whenever_it_is_asked(cache: PhysicsCache) -> None:
    samples = Samples(cache, range(5), COMPACT, 3, True)
    steps = [samples.drawn(step, 2) for step in range(10)]
    assert [samples.drawn(step, 2) for step in reversed(range(10))][::-1] == steps
    rows = [row for drawn in steps for row, _ in drawn]
    assert sorted(rows[:5]) == sorted(rows[5:10]) == list(range(5)), "each map once an epoch"
    assert Samples(cache, range(5), COMPACT, 4, True).drawn(0, 2) != steps[0] or rows[:2] != [
        row for row, _ in Samples(cache, range(5), COMPACT, 4, True).drawn(1, 2)
    ]
    assert {symmetry for drawn in steps for _, symmetry in drawn} != {0}


def test_spread() -> None:
    assert spread(5, 0) == spread(5, 9) == [0, 1, 2, 3, 4]
    assert spread(101, 3) == [0, 50, 100]
