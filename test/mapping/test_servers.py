"""Several transmitters: the strongest at each cell, stations that need no pose, poses that come and go."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.mapping.inputs import OccupancyInput, Pose, parsed_stations, street_map
from rdflux_ros.mapping.mapper import RadioMapper
from rdflux_ros.mapping.servers import Servers
from rdflux_ros.radio.grid import Grid
from rdflux_ros.settings import SettingError

CONFIG = MapperConfig(model="physics", device="cpu", reflection_order=1, building_height_m=20.0)
WEST, EAST = Pose(70.0, 200.0, 30.0, stamp_ns=5), Pose(330.0, 200.0, 40.0, stamp_ns=7)


def mapper(**changes: object) -> RadioMapper:
    config = dataclasses.replace(CONFIG, **changes)
    data = np.zeros((400, 500), np.int8)
    data[130:150, 100:120] = 100
    made = RadioMapper(config)
    made.set_streets(street_map(OccupancyInput(data, Grid(500, 400), "town"), config))
    return made


def test_the_strongest_server_of_each_cell() -> None:
    one = mapper()
    servers = Servers(one, ("pose", "second"))
    found = servers.answer({"pose": WEST, "second": EAST}).radio_map
    assert found is not None and found.server is not None
    assert found.servers == ("pose", "second") and found.stamp_ns == 7
    alone = {0: one.query(WEST), 1: one.query(EAST)}
    x, y = found.grid.centre_mesh()
    best, server = np.full(x.shape, np.inf), np.full(x.shape, -1)
    for number, answer in alone.items():
        inside = answer.grid.contains(x, y)
        values = np.full(x.shape, np.inf)
        row, col = answer.grid.cells(x[inside], y[inside])
        values[inside] = np.nan_to_num(answer.pathloss_db[row, col], nan=np.inf)
        server[values < best] = number
        best = np.minimum(best, values)
    np.testing.assert_allclose(np.nan_to_num(found.pathloss_db, nan=np.inf), best, atol=0.05)
    assert (found.server == server).mean() > 0.999 and set(np.unique(found.server)) == {-1, 0, 1}
    assert found.grid.width > 256 and found.grid.height == 256


def test_a_server_that_is_not_current_is_left_out() -> None:
    servers = Servers(mapper(), ("pose", "second"))
    servers.answer({"second": EAST})
    kept = servers.answer({"pose": WEST}, current=("second",)).radio_map
    left = servers.answer({"pose": WEST}).radio_map
    assert kept is not None and left is not None
    assert kept.grid.width > 256 and left.grid.width == 256
    assert set(np.unique(left.server)) == {-1, 0}


def test_stations_need_no_pose_and_outlast_them() -> None:
    servers = Servers(mapper(stations="330 200 40; 9000 0 10"), ("pose",))
    first = servers.answer({}, stamp_ns=3)
    assert first.radio_map is None, "not prepared yet"
    for _ in servers.prepare_steps():
        pass
    alone = servers.answer({}, stamp_ns=3)
    assert alone.refused["station 1"].reason == "pose_outside_map"
    assert alone.radio_map is not None and alone.radio_map.stamp_ns == 3
    assert servers.names == ("pose", "station 0", "station 1")
    assert set(np.unique(alone.radio_map.server)) == {1}
    both = servers.answer({"pose": WEST}).radio_map
    assert both is not None and set(np.unique(both.server)) == {-1, 0, 1} and both.stamp_ns == WEST.stamp_ns


def test_forgotten_maps_are_answered_again_from_the_last_pose() -> None:
    one = mapper()
    servers = Servers(one, ("pose",))
    before = servers.answer({"pose": WEST}).radio_map
    cars = OccupancyInput(np.full((4, 4), 100, np.int8), Grid(4, 4, 1.0, 80.0, 210.0), "town", stamp_ns=99)
    one.set_obstacles(cars)
    servers.forget_maps()
    again = servers.answer({}, current=("pose",), stamp_ns=99).radio_map
    assert before is not None and again is not None
    assert (again.stamp_ns, again.transmitter) == (99, before.transmitter)
    assert np.isnan(again.pathloss_db).sum() == np.isnan(before.pathloss_db).sum() + 16
    servers.start_over()
    assert servers.answer({}, current=("pose",), stamp_ns=100).radio_map is None


def test_one_refused_pose_leaves_the_others() -> None:
    servers = Servers(mapper(), ("pose", "second"))
    found = servers.answer({"pose": Pose(-5.0, 0.0, 30.0), "second": EAST})
    assert found.refused["pose"].reason == "pose_outside_map"
    assert found.radio_map is not None and set(np.unique(found.radio_map.server)) == {1}
    nothing = servers.answer({"pose": Pose(-5.0, 0.0, 30.0)}, current=("second",))
    assert nothing.radio_map is None and set(nothing.refused) == {"pose"}


@pytest.mark.parametrize("text", ["1 2", "1 2 x", "1 2 3 4", "1 2 nan", "1,2,3"])
def test_stations_that_cannot_be_read_are_named(text: str) -> None:
    with pytest.raises(SettingError, match="stations"):
        parsed_stations(text)


def test_stations_as_text() -> None:
    assert parsed_stations("") == [] == parsed_stations(" ; ")
    assert parsed_stations("1 2 3;-4.5 6e1 7 ;") == [Pose(1.0, 2.0, 3.0), Pose(-4.5, 60.0, 7.0)]


def test_stations_are_answered_again_after_a_new_start_and_prepared_by_work() -> None:
    servers = Servers(mapper(stations="330 200 40"), ("pose",))
    while servers.work():
        pass
    assert servers.answer({}, stamp_ns=3).radio_map is not None
    assert not servers.outdated([])
    servers.start_over()
    assert servers.outdated([])
    again = servers.answer({}, stamp_ns=4).radio_map
    assert again is not None and again.stamp_ns == 4


def test_a_stations_map_of_the_physics_layer_in_the_models_place_does_not_last() -> None:
    one = mapper(stations="330 200 40")
    servers = Servers(one, ("pose",))
    while servers.work():
        pass
    one.trouble = "the GPU was lost"
    found = servers.answer({}).radio_map
    assert found is not None and found.fallback == "the GPU was lost" and servers.outdated([])
    one.trouble = ""
    again = servers.answer({}).radio_map
    assert again is not None and not again.fallback and not servers.outdated([])


def test_more_stations_than_can_be_numbered_are_refused() -> None:
    with pytest.raises(SettingError, match="at most 100"):
        parsed_stations("1 2 3;" * 101)


def test_a_refused_pose_leaves_new_maps_of_stations_to_be_shown() -> None:
    """Else a drone on the ground, whose poses are refused, would keep the stations silent for ever."""
    servers = Servers(mapper(stations="330 200 40"), ("pose",))
    while servers.work():
        pass
    refused = servers.answer({"pose": dataclasses.replace(WEST, z=-1.0)})
    assert refused.radio_map is None and list(refused.refused) == ["pose"]
    assert servers.outdated(())
    shown = servers.answer({}).radio_map
    assert shown is not None and shown.servers == ("pose", "station 0")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_what_stands_in_for_a_stations_map_is_not_made_anew_for_every_pose(monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(CONFIG, device="cuda", stations="330 200 40; 340 210 40")
    one = RadioMapper(config, keep_going=True)
    one.set_streets(street_map(OccupancyInput(np.zeros((400, 500), np.int8), Grid(500, 400), "town"), config))
    servers, asked, answer_batch = Servers(one, ("pose",)), list[int](), one.answer_batch
    monkeypatch.setattr(one, "answer_batch", lambda poses: asked.append(len(poses)) or answer_batch(poses))
    while servers.work():
        pass
    for k in range(3):
        found = servers.answer({"pose": dataclasses.replace(WEST, x=WEST.x + k)}).radio_map
        assert found is not None and found.method == "physics_fallback"
    servers.answer({})
    assert asked == [2, 0, 0, 2], "with the first pose, and where nobody waits for one"
