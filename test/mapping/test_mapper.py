"""The mapper: which poses are answered, by which window, and what is computed anew."""

import dataclasses
import math

import cv2
import numpy as np
import pytest

from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.mapping.inputs import InputError, OccupancyInput, Pose, load_occupancy, street_map
from rdflux_ros.mapping.mapper import RadioMapper
from rdflux_ros.mapping.regions import nearest_region
from rdflux_ros.model.shipped import MissingModelError
from rdflux_ros.radio.grid import Grid
from rdflux_ros.radio.units import FLOOR_PATHLOSS_DB, free_space_gain, occupancy_from_pathloss
from rdflux_ros.settings import SettingError

CONFIG = MapperConfig(model="physics", device="cpu", reflection_order=1, building_height_m=20.0)
ROOF = (110.0, 140.0)
"""A point on the building that stands at x 100..120, y 130..150."""


def occupancy(*extra: tuple[int, int]) -> OccupancyInput:
    """400 x 400 m of free ground with one building, and single occupied cells (row, col) beside it."""
    data = np.zeros((400, 400), np.int8)
    data[130:150, 100:120] = 100
    for row, col in extra:
        data[row, col] = 100
    return OccupancyInput(data, Grid(400, 400), "town")


@pytest.fixture(scope="module")
def streets():
    return street_map(occupancy(), CONFIG)


@pytest.fixture
def mapper(streets):
    made = RadioMapper(CONFIG)
    made.set_streets(streets)
    return made


def test_an_answer_tells_what_it_answers(mapper):
    pose = Pose(70.0, 200.0, 30.0, stamp_ns=123_456_789)
    found = mapper.answer(pose)
    assert (found.stamp_ns, found.frame_id, found.method, found.region) == (123_456_789, "town", "physics", (1, 3))
    assert found.grid == nearest_region(pose.x, pose.y).grid
    assert found.pathloss_db.shape == (256, 256)
    assert found.pathloss_db.dtype == np.float32
    assert (found.transmitter.x, found.transmitter.y, found.transmitter.z) == (70.0, 200.0, 30.0)
    assert set(found.latency_ms) == {"region", "physics", "total"}
    assert not found.extrapolated


def test_values_are_pathloss_outside_buildings_and_none_inside(mapper):
    found = mapper.query(Pose(70.0, 200.0, 30.0))
    x, y = found.grid.centre_mesh()
    inside = (x > 100) & (x < 120) & (y > 130) & (y < 150)
    np.testing.assert_array_equal(np.isnan(found.pathloss_db), inside)
    assert np.nanmax(found.pathloss_db) <= FLOOR_PATHLOSS_DB
    nearest = np.unravel_index(np.nanargmin(found.pathloss_db), found.pathloss_db.shape)
    distance = math.dist((70.0, 200.0), (x[nearest], y[nearest]))
    assert distance < 30.0  # reflections may shift it a little from below the antenna
    assert np.nanmin(found.pathloss_db) == pytest.approx(-free_space_gain(28.5), abs=3.1)


def test_where_next_to_nothing_arrives_stands_the_floor():
    data = np.zeros((300, 300), np.int8)
    data[:, 150:160] = 100
    config = dataclasses.replace(CONFIG, building_height_m=500.0)
    mapper = RadioMapper(config)
    mapper.set_streets(street_map(OccupancyInput(data, Grid(300, 300), "map"), config))
    found = mapper.query(Pose(140.0, 150.0, 10.0))
    row, col = found.grid.cells(250.0, 150.0)
    assert found.pathloss_db[row, col] == FLOOR_PATHLOSS_DB


def test_a_single_peak_goes_through_every_index_conversion(tmp_path):
    """Image row and column -> grid cell -> metres -> street raster -> window -> answer -> int8 data."""
    image = np.full((300, 340), 254, np.uint8)
    image[89, 215] = 0  # an off-diagonal cell, in no symmetric place
    cv2.imwrite(str(tmp_path / "map.pgm"), image)
    (tmp_path / "map.yaml").write_text("image: map.pgm\nresolution: 1.0\norigin: [-37.0, 110.0, 0.0]\n")
    x, y = -37.0 + 215.5, 110.0 + (299 - 89) + 0.5

    loaded = load_occupancy(tmp_path / "map.yaml")
    assert np.argwhere(loaded.data == 100).tolist() == [[210, 215]]
    assert loaded.grid.centres(210, 215) == (x, y)
    raster = street_map(loaded, CONFIG)
    assert np.argwhere(raster.heights_m > 0).tolist() == [[int(index) for index in raster.grid.cells(x, y)]]

    mapper = RadioMapper(CONFIG)
    mapper.set_streets(raster)
    found = mapper.query(Pose(x + 45, y - 20, 30.0))
    (row, col), *others = np.argwhere(np.isnan(found.pathloss_db)).tolist()
    assert not others
    assert found.grid.centres(row, col) == (x, y)
    data = occupancy_from_pathloss(found.pathloss_db).ravel()  # as OccupancyGrid.data
    index = int(np.flatnonzero(data == -1)[0])
    assert found.grid.origin_x + index % found.grid.width + 0.5 == x
    assert found.grid.origin_y + index // found.grid.width + 0.5 == y
    south, west = found.grid.cells(x + 45, y - 20)
    assert found.pathloss_db[south, west] < found.pathloss_db[west, south] - 3  # loud under the antenna, not mirrored


@pytest.mark.parametrize(
    ("pose", "reason"),
    [
        (Pose(-0.1, 50.0, 30.0), "pose_outside_map"),
        (Pose(50.0, 400.1, 30.0), "pose_outside_map"),
        (Pose(math.nan, 50.0, 30.0), "pose_not_finite"),
        (Pose(50.0, 50.0, math.inf), "pose_not_finite"),
        (Pose(*ROOF, 19.9), "pose_inside_building"),
        (Pose(*ROOF, 20.0), "pose_inside_building"),
        (Pose(50.0, 50.0, 0.0), "pose_below_ground"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_its_reason(mapper, pose, reason):
    for ask in (mapper.answer, mapper.query, lambda p: mapper.answer_batch([p])):
        with pytest.raises(InputError) as refused:
            ask(pose)
        assert refused.value.reason == reason
    assert mapper.regions_prepared == 0


def test_above_the_roof_a_pose_is_answered(mapper):
    assert np.nanmin(mapper.query(Pose(*ROOF, 20.5)).pathloss_db) < 120


def test_a_turned_maps_outside_is_outside():
    grid = Grid(200, 200, 1.0, 0.0, 0.0, math.radians(45))
    mapper = RadioMapper(CONFIG)
    mapper.set_streets(street_map(OccupancyInput(np.zeros((200, 200), np.int8), grid, "map"), CONFIG))
    mapper.transmitter(Pose(0.0, 100.0, 30.0))
    with pytest.raises(InputError, match="outside the map"):
        mapper.transmitter(Pose(100.0, 50.0, 30.0))


def test_unknown_ground_counts_as_building_where_the_setting_says_so():
    source = occupancy()
    source.data[:, 300:] = -1
    for unknown_is, refused in (("free", False), ("occupied", True)):
        config = dataclasses.replace(CONFIG, unknown_is=unknown_is)
        mapper = RadioMapper(config)
        mapper.set_streets(street_map(source, config))
        if refused:
            with pytest.raises(InputError, match=r"inside a building 20\.0 m high"):
                mapper.transmitter(Pose(350.0, 50.0, 15.0))
        else:
            mapper.transmitter(Pose(350.0, 50.0, 15.0))


@pytest.mark.parametrize(("z", "answered_as"), [(2.0, 5.0), (300.0, 120.0)])
def test_heights_out_of_range_are_clamped_and_marked(mapper, z, answered_as):
    found, clamped = mapper.query(Pose(50.0, 50.0, z)), mapper.query(Pose(50.0, 50.0, answered_as))
    assert (found.extrapolated, clamped.extrapolated) == (True, False)
    assert found.transmitter.z == z
    np.testing.assert_array_equal(found.pathloss_db, clamped.pathloss_db)


def test_the_antenna_stands_above_the_ground_not_above_the_frames_origin(streets):
    mapper = RadioMapper(dataclasses.replace(CONFIG, ground_z_m=180.0, antenna_offset_z_m=-0.5))
    mapper.set_streets(streets)
    assert mapper.transmitter(Pose(50.0, 50.0, 220.5)).z == 40.0
    with pytest.raises(InputError, match="below the ground"):
        mapper.transmitter(Pose(50.0, 50.0, 180.25))


def test_without_a_map_the_reason_is_no_map():
    with pytest.raises(InputError) as refused:
        RadioMapper(CONFIG).answer(Pose(0, 0, 30))
    assert refused.value.reason == "no_map"


def test_a_track_lags_at_the_border_and_a_query_leaves_it_alone(mapper):
    assert mapper.answer(Pose(128, 128, 30)).region == (2, 2)
    assert mapper.query(Pose(320, 64, 30)).region == (5, 1)
    assert mapper.answer_batch([Pose(320, 64, 30)])[0].region == (5, 1)
    assert mapper.query(Pose(170, 128, 30)).region == (3, 2)
    assert mapper.answer(Pose(170, 128, 30)).region == (2, 2)
    mapper.reset_track()
    assert mapper.answer(Pose(170, 128, 30)).region == (3, 2)


def test_a_refused_pose_leaves_the_track_alone(mapper):
    mapper.answer(Pose(128, 128, 30))
    with pytest.raises(InputError):
        mapper.answer(Pose(-500, 128, 30))
    assert mapper.answer(Pose(170, 128, 30)).region == (2, 2)


def test_a_known_region_costs_no_preparation(mapper):
    first, second = mapper.answer(Pose(70, 200, 30)), mapper.answer(Pose(72, 201, 30))
    assert (first.cache, second.cache) == ("miss", "hit")
    assert second.latency_ms["region"] < first.latency_ms["region"]
    assert (mapper.regions_prepared, mapper.region_hits) == (1, 1)
    mapper.clear_cache()
    assert mapper.answer(Pose(72, 201, 30)).cache == "miss"


def test_after_a_map_update_only_changed_windows_are_prepared_again(mapper):
    west, east = Pose(64, 64, 30), Pose(320, 320, 30)
    for pose in (west, east):
        mapper.query(pose)
    mapper.set_streets(street_map(occupancy(), CONFIG))  # the same again
    assert [mapper.query(pose).cache for pose in (west, east)] == ["hit", "hit"]
    mapper.set_streets(street_map(occupancy((380, 380)), CONFIG))  # seen from the east only
    assert [mapper.query(pose).cache for pose in (west, east)] == ["hit", "miss"]
    mapper.set_streets(street_map(occupancy((64 + 128 + 20, 64)), CONFIG))  # beyond the western window, in its margin
    assert mapper.query(west).cache == "miss"
    assert mapper.regions_prepared == 4


def test_the_cache_is_bounded(streets):
    mapper = RadioMapper(dataclasses.replace(CONFIG, cache_size=1))
    mapper.set_streets(streets)
    assert [mapper.query(Pose(x, 128, 30)).cache for x in (64, 64, 320, 64)] == ["miss", "hit", "miss", "miss"]


def test_a_batch_equals_single_queries_and_prepares_each_region_once(mapper, streets):
    poses = [Pose(x, y, z, stamp_ns=k) for k, (x, y, z) in enumerate([(70, 200, 30), (320, 64, 12), (80, 190, 60)])]
    batch = mapper.answer_batch(poses)
    assert mapper.regions_prepared == 2
    assert [answer.stamp_ns for answer in batch] == [0, 1, 2]
    for pose, answer in zip(poses, batch, strict=True):
        single = mapper.query(pose)
        assert (answer.region, answer.transmitter, answer.grid) == (single.region, single.transmitter, single.grid)
        np.testing.assert_allclose(answer.pathloss_db, single.pathloss_db, atol=0.05)


def test_a_batch_of_nothing_is_nothing(mapper):
    assert mapper.answer_batch([]) == []


def test_warming_up_leaves_no_trace(mapper):
    mapper.warm_up()
    assert (mapper.regions_prepared, mapper.region_hits) == (0, 0)


def test_settings_that_cannot_be_met_are_refused_by_name(monkeypatch):
    with pytest.raises(MissingModelError, match=r"nowhere\.safetensors"):
        RadioMapper(MapperConfig(model="nowhere.safetensors"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SettingError, match="device = 'cuda'"):
        RadioMapper(MapperConfig(model="physics", device="cuda"))
    assert RadioMapper(MapperConfig(model="physics", device="auto")).device.type == "cpu"


def test_a_path_out_of_this_world_harms_no_pose(mapper):
    mapper.set_path([(1e200, 0.0), (0.0, -1e300), (50.0, 50.0)])
    assert mapper.answer(Pose(70, 200, 30)).cache == "miss"
    mapper.set_path([(1e200, 0.0)])
    assert mapper.answer(Pose(71, 200, 30)).cache == "hit"


def test_another_threshold_counts_for_obstacles_that_are_known(mapper):
    half = OccupancyInput(np.full((4, 4), 50, np.int8), Grid(4, 4, 1.0, 80.0, 210.0), "town")
    mapper.set_obstacles(half)
    before = mapper.answer(Pose(70, 200, 30))
    mapper.reconfigure(dataclasses.replace(CONFIG, occupied_threshold=40))
    after = mapper.answer(Pose(70, 200, 30))
    assert np.isnan(after.pathloss_db).sum() == np.isnan(before.pathloss_db).sum() + 16
