"""Measured RSSI: truth with an offset and noise brings the map nearer to it, and nothing measured changes nothing."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rdflux_ros.data.radiomapseer import RadioMapSeer
from rdflux_ros.evaluation.methods import Workbench
from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.mapping.inputs import OccupancyInput, Pose, StreetMap, street_map
from rdflux_ros.mapping.mapper import RadioMapper
from rdflux_ros.mapping.rssi_correction import RssiCorrection, shifted
from rdflux_ros.radio.grid import Grid
from rdflux_ros.radio.radio_map import RadioMap, Transmitter
from rdflux_ros.radio.units import FLOOR_PATHLOSS_DB, GREY_SPAN_DB
from rdflux_ros.settings import SettingError

STREETS = Path(__file__).parents[2] / "examples" / "streets"
ON = MapperConfig(model="physics", rssi_correction=True)
HERE = Transmitter(100.0, 100.0, 40.0)


def answer(pathloss_db: NDArray[np.float32] | float = 100.0, transmitter: Transmitter = HERE) -> RadioMap:
    values = np.full((256, 256), pathloss_db, np.float32) if isinstance(pathloss_db, float) else pathloss_db
    return RadioMap(values, Grid(256, 256), transmitter, 0)


def points(*places: tuple[float, float]) -> NDArray[np.float64]:
    return np.array([(x, y, 1.5) for x, y in places])


def dbm(pathloss_db: NDArray[np.float64] | float, count: int = 1) -> NDArray[np.float64]:
    return ON.tx_power_dbm - np.broadcast_to(
        pathloss_db, (count,) if np.isscalar(pathloss_db) else np.shape(pathloss_db)
    )


def test_truth_with_an_offset_and_noise_brings_the_map_nearer() -> None:
    """The physics layer over real streets, 60 receivers, an offset of 6 dB, noise of 3 dB."""
    random = np.random.default_rng(0)
    before, near, far = [], [], []
    bench = Workbench("cpu")
    for sample in [RadioMapSeer(STREETS, "val")[k] for k in (0, 5)]:
        grey, _ = bench.answer("physics", sample)
        known = sample.free & (sample.grey > 0) & (grey > 0)
        said = np.where(sample.free, FLOOR_PATHLOSS_DB - GREY_SPAN_DB * grey, np.nan).astype(np.float32)
        truth = FLOOR_PATHLOSS_DB - GREY_SPAN_DB * sample.grey + 6.0
        chosen = random.choice(np.flatnonzero(known), 60, replace=False)
        row, col = np.unravel_index(chosen, known.shape)
        measured = truth[row, col] + random.normal(0.0, 3.0, 60)
        correction = RssiCorrection(ON)
        sender = Transmitter(*map(float, sample.position))
        counts = correction.measured(
            points(*zip(col + 0.5, row + 0.5, strict=True)), dbm(measured), answer(said, sender)
        )
        assert counts == {"used": 60}
        shift = correction.shift(Grid(256, 256), sender)
        assert shift is not None and shift.measurements == 60
        y, x = np.indices(known.shape)
        distance = np.hypot(y[..., None] - row, x[..., None] - col).min(axis=-1)
        corrected = shifted(said, shift)
        for where, found in ((distance <= 8, near), (distance > 30, far)):
            found.append(np.abs(corrected - truth)[known & where & (distance > 0)].mean())
        before.append(np.abs(said - truth)[known].mean())
    assert np.mean(before) > 5.5
    assert np.mean(near) < 0.6 * np.mean(before), (before, near)
    assert np.mean(far) < 0.75 * np.mean(before), "the common offset reaches everywhere"


def test_nothing_measured_changes_nothing() -> None:
    correction = RssiCorrection(ON)
    assert correction.shift(Grid(256, 256), HERE) is None
    off = RssiCorrection(MapperConfig())
    assert off.measured(points((10.0, 10.0)), dbm(90.0), answer()) == {} and off.shift(Grid(256, 256), HERE) is None


def test_what_one_receiver_says_fades_with_distance() -> None:
    correction = RssiCorrection(dataclasses.replace(ON, rssi_noise_db=0.1))
    correction.measured(points((60.0, 60.0), (200.0, 200.0)), dbm(np.array([120.0, 100.0])), answer())
    shift = correction.shift(Grid(256, 256), HERE)
    assert shift is not None
    assert shift.db[60, 60] == pytest.approx(20.0, abs=2.0) and shift.db[200, 200] == pytest.approx(0.0, abs=1.5)
    assert shift.db[60, 60] > shift.db[60, 75] > shift.db[60, 110] > shift.db[190, 190]
    moved = correction.shift(Grid(256, 256), Transmitter(400.0, 100.0, 40.0))
    assert moved is not None and abs(moved.db[60, 60]) < 0.6 * shift.db[60, 60], "another place has another shadow"


def test_what_tells_nothing_is_refused_by_reason() -> None:
    pathloss = np.full((256, 256), 100.0, np.float32)
    pathloss[50:60, 50:60] = np.nan
    pathloss[80:90, 80:90] = FLOOR_PATHLOSS_DB
    places = points((10.0, 10.0), (np.nan, 0.0), (500.0, 10.0), (10.0, 10.0), (55.0, 55.0), (85.0, 85.0))
    places[3, 2] = 30.0
    counts = RssiCorrection(ON).measured(places, dbm(90.0, 6), answer(pathloss))
    assert counts == {"used": 1, "not_finite": 1, "outside_map": 1, "too_high": 1, "no_value": 1, "unreached": 1}


def test_cells_without_value_or_signal_stay() -> None:
    pathloss = np.full((256, 256), 100.0, np.float32)
    pathloss[0, 0], pathloss[0, 1], pathloss[0, 2] = np.nan, FLOOR_PATHLOSS_DB, FLOOR_PATHLOSS_DB - 0.5
    correction = RssiCorrection(ON)
    correction.measured(points((3.5, 3.5)), dbm(130.0), answer(pathloss))
    shift = correction.shift(Grid(256, 256), HERE)
    assert shift is not None
    found = shifted(pathloss, shift)
    assert np.isnan(found[0, 0]) and found[0, 1] == found[0, 2] == np.float32(FLOOR_PATHLOSS_DB) and found[0, 3] > 110


def test_old_ones_and_those_beyond_the_most_are_forgotten() -> None:
    now = 0.0
    correction = RssiCorrection(dataclasses.replace(ON, rssi_max_measurements=3), clock=lambda: now)
    for k in range(5):
        correction.measured(points((10.0 * k + 5, 5.0)), dbm(120.0), answer())
    shift = correction.shift(Grid(256, 256), HERE)
    assert shift is not None and shift.measurements == 3
    now = ON.rssi_timeout_s + 1.0
    assert correction.shift(Grid(256, 256), HERE) is None
    correction.measured(points((5.0, 5.0)), dbm(120.0), answer())
    correction.use(dataclasses.replace(ON, rssi_noise_db=1.0))
    assert correction.shift(Grid(256, 256), HERE) is None, "they were weighed otherwise"


def test_the_time_is_bounded() -> None:
    config = dataclasses.replace(ON, rssi_max_measurements=200)
    random = np.random.default_rng(1)
    correction = RssiCorrection(config)
    places = points(*random.uniform(0, 256, (2000, 2)))
    correction.measured(places, dbm(random.normal(100.0, 5.0, 2000)), answer())
    correction.shift(Grid(256, 256), HERE)
    start = time.process_time()
    shift = correction.shift(Grid(256, 256), HERE)
    assert shift is not None and shift.measurements == 200
    assert time.process_time() - start < 0.2, "milliseconds, not seconds"


def test_the_mapper_shifts_every_answer_of_the_transmitter() -> None:
    mapper = RadioMapper(ON)
    mapper.set_streets(street_map(OccupancyInput(np.zeros((300, 300), np.int8), Grid(300, 300), "map"), ON))
    plain = RadioMapper(MapperConfig(model="physics"))
    plain.set_streets(street_map(OccupancyInput(np.zeros((300, 300), np.int8), Grid(300, 300), "map"), ON))
    pose = Pose(150.0, 150.0, 40.0)
    assert mapper.measured(points((150.0, 170.0)), dbm(90.0)) == {"no_answer": 1}
    first = mapper.answer(pose)
    assert np.array_equal(first.pathloss_db, plain.answer(pose).pathloss_db) and first.rssi_measurements == 0
    row, col = first.grid.cells(150.0, 170.0)
    said = float(first.pathloss_db[row, col])
    for _ in range(2):  # the second time against the uncorrected answer, too
        assert mapper.measured(points((150.0, 170.0)), dbm(said + 10.0)) == {"used": 1}
        second, query = mapper.answer(pose), mapper.query(pose)
        for found in (second, query):
            assert 7.0 < found.pathloss_db[row, col] - said < 10.1
    assert second.rssi_measurements == 2 and "rssi" in second.latency_ms
    mapper.set_streets(street_map(OccupancyInput(np.zeros((300, 300), np.int8), Grid(300, 300), "odom"), ON))
    assert mapper.query(pose).rssi_measurements == 0, "nothing holds in another frame"


def test_what_was_measured_past_streets_that_change_is_forgotten() -> None:
    """It was compared with a map that did not know of them; a change elsewhere is no reason."""
    config = dataclasses.replace(ON, device="cpu", reflection_order=0)

    def streets(*blocks: tuple[slice, slice]) -> StreetMap:
        cells = np.zeros((300, 400), np.int8)
        for block in blocks:
            cells[block] = 100
        return street_map(OccupancyInput(cells, Grid(400, 300), "town"), config)

    mapper, pose = RadioMapper(config), Pose(100.0, 100.0, 40.0)
    mapper.set_streets(streets())
    mapper.answer(pose)
    assert mapper.measured(points((150.0, 100.0), (100.0, 150.0)), dbm(90.0, 2))["used"] == 2
    east, far = (slice(95, 105), slice(120, 130)), (slice(250, 260), slice(300, 310))
    mapper.set_streets(streets(far))
    assert mapper.answer(pose).rssi_measurements == 2
    mapper.set_streets(streets(far, east))
    assert mapper.answer(pose).rssi_measurements == 1
    mapper.set_streets(dataclasses.replace(streets(far, east), frame_id="elsewhere"))
    assert mapper.answer(pose).rssi_measurements == 0


def test_a_map_that_grows_keeps_what_was_measured_on_it() -> None:
    """SLAM moves the map's edges all the time; only what stands in the way of a measurement counts."""
    config = dataclasses.replace(ON, device="cpu", reflection_order=0)

    def streets(width: int, origin_x: float, *blocks: tuple[float, float]) -> StreetMap:
        cells = np.zeros((300, width), np.int8)
        for west, south in blocks:
            cells[int(south) : int(south) + 10, int(west - origin_x) : int(west - origin_x) + 10] = 100
        return street_map(OccupancyInput(cells, Grid(width, 300, origin_x=origin_x), "town"), config)

    mapper, pose = RadioMapper(config), Pose(100.0, 100.0, 40.0)
    mapper.set_streets(streets(260, 0.0, (150.0, 200.0)))
    mapper.answer(pose)
    assert mapper.measured(points((150.0, 100.0), (100.0, 150.0), (220.0, 100.0)), dbm(90.0, 3))["used"] == 3
    mapper.set_streets(streets(400, -64.0, (150.0, 200.0), (-40.0, 95.0)))
    assert mapper.answer(pose).rssi_measurements == 3
    mapper.set_streets(streets(420, -64.0, (150.0, 200.0), (180.0, 95.0)))
    assert mapper.answer(pose).rssi_measurements == 2
    mapper.set_streets(streets(190, -20.0, (150.0, 200.0)))
    assert mapper.answer(pose).rssi_measurements == 2, "what was behind the map's edge is not in the way"


def test_the_library_is_asked_for_where_it_is_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.gaussian_process", None)
    RadioMapper(MapperConfig(model="physics"))
    with pytest.raises(
        SettingError, match=r"rssi_correction = true: scikit-learn is not installed; `pip install rdflux"
    ):
        RadioMapper(ON)
