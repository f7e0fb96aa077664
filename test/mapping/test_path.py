"""Figures along a planned path, as a planner reads them."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.mapping.inputs import InputError, OccupancyInput, Pose, street_map
from rdflux_ros.mapping.mapper import RadioMapper
from rdflux_ros.mapping.path import AlongPath, along_path, covered, thinned, users_pathloss
from rdflux_ros.radio.grid import Grid

CONFIG = MapperConfig(model="physics", device="cpu", reflection_order=1, building_height_m=20.0)


@pytest.fixture(scope="module")
def mapper() -> RadioMapper:
    data = np.zeros((400, 500), np.int8)
    data[130:150, 100:120] = 100
    made = RadioMapper(CONFIG)
    made.set_streets(street_map(OccupancyInput(data, Grid(500, 400), "town"), CONFIG))
    return made


def finished(steps: Generator[None, None, Any]) -> tuple[AlongPath, int]:
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, count
        count += 1


def test_each_pose_has_the_figures_of_its_own_map(mapper: RadioMapper) -> None:
    poses = [Pose(70.0 + 60 * k, 200.0 - 10 * k, 15.0 + 10 * k) for k in range(5)]
    users = np.array([[90.0, 120.0], [60.0, 80.0], [110.0, 140.0], [4000.0, 0.0]])  # the third in the building
    found, steps = finished(along_path(mapper, poses, users))
    assert steps >= 3, "more urgent work may come between"
    assert found.of == 5 and not found.refused and found.users_outside == 2
    for k, pose in enumerate(poses):
        answer = mapper.query(pose)
        free = ~np.isnan(answer.pathloss_db)
        assert found.coverage[k] == pytest.approx((covered(answer, CONFIG) & free).sum() / free.sum(), abs=1e-3)
        assert found.mean_pathloss_db[k] == pytest.approx(answer.pathloss_db[free].mean(), abs=0.05)
        inside = users_pathloss(answer, users)
        worst = np.nan if np.isnan(inside).all() else np.nanmax(inside)
        assert found.worst_user_db[k] == pytest.approx(worst, abs=0.1, nan_ok=True)
    assert 0 < found.coverage.min() <= 1 and np.isfinite(found.worst_user_db[:2]).all()


def test_poses_that_cannot_be_answered_are_nan_and_counted(mapper: RadioMapper) -> None:
    path: list[Pose | InputError] = [
        Pose(70.0, 200.0, 30.0),
        Pose(-900.0, 0.0, 30.0),
        InputError("pose_not_finite", "nan"),
        Pose(110.0, 140.0, 10.0),
        Pose(80.0, 200.0, 30.0),
    ]
    found, _ = finished(along_path(mapper, path, np.zeros((0, 2))))
    assert np.isnan(found.coverage).tolist() == [False, True, True, True, False]
    assert found.refused == {"pose_outside_map": 1, "pose_not_finite": 1, "pose_inside_building": 1}
    assert np.isnan(found.worst_user_db).all()


def test_a_long_path_is_thinned_evenly_and_says_so(mapper: RadioMapper) -> None:
    mapper.reconfigure(dataclasses.replace(CONFIG, path_max_poses=3))
    found, _ = finished(along_path(mapper, [Pose(60.0 + k, 200.0, 30.0) for k in range(9)], np.zeros((0, 2))))
    mapper.reconfigure(CONFIG)
    assert (found.of, [pose.x for pose in found.poses]) == (9, [60.0, 64.0, 68.0])


@pytest.mark.parametrize(
    ("count", "most", "chosen"),
    [(3, 5, [0, 1, 2]), (9, 2, [0, 8]), (10, 1, [0]), (0, 5, []), (101, 5, [0, 25, 50, 75, 100])],
)
def test_thinning(count: int, most: int, chosen: list[int]) -> None:
    assert thinned(count, most) == chosen


def test_coverage_is_power_against_sensitivity(mapper: RadioMapper) -> None:
    answer = mapper.query(Pose(70.0, 200.0, 30.0))
    for tx_power_dbm, sensitivity_dbm in ((23.0, -60.0), (10.0, -73.0)):
        config = dataclasses.replace(CONFIG, tx_power_dbm=tx_power_dbm, sensitivity_dbm=sensitivity_dbm)
        np.testing.assert_array_equal(covered(answer, config), np.nan_to_num(answer.pathloss_db, nan=999) <= 83.0)
