"""Condition images: what their channels say, and that they turn with the map."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from rdflux_ros.data.transforms import SYMMETRIES, turn_array, turn_position
from rdflux_ros.flux.conditions import (
    DYNAMICS,
    GEOMETRY,
    STREETS,
    base_grey,
    check_channels,
    dynamics_image,
    mean_heights,
    streets_image,
)
from rdflux_ros.flux.loading import load_model
from rdflux_ros.flux.schedules import first_schedule, second_schedule
from rdflux_ros.model import checkpoint
from rdflux_ros.model.config import COMPACT, EncoderConfig, MethodConfig, model_config
from rdflux_ros.model.radio_model import RadioModel
from rdflux_ros.model.tiny import TINY
from rdflux_ros.propagation.facades import trace_facades
from rdflux_ros.propagation.physics_layer import PathGains, PhysicsLayer
from rdflux_ros.radio.units import grey_from_gain
from rdflux_ros.settings import SettingError

POSITION = np.array([61.5, 200.5, 30.0])


@pytest.fixture(scope="module")
def heights() -> np.ndarray:
    """One building of 20 x 40 m, 12 m high, off every axis of symmetry."""
    raster = np.zeros((304, 304), np.float32)
    raster[100:140, 90:110] = 12.0
    return raster


@pytest.fixture(scope="module")
def gains(heights: np.ndarray) -> PathGains:
    return PhysicsLayer()(trace_facades(heights, 1.0, touched=False), torch.tensor(POSITION[None], dtype=torch.float32))


def image(gains: PathGains, position: np.ndarray, heights: np.ndarray, cars: np.ndarray) -> dict[str, np.ndarray]:
    footprint = torch.from_numpy(heights[24:280, 24:280] > 0)[None]
    dark = torch.from_numpy(cars)[None]
    transmitters = torch.tensor(position[None], dtype=torch.float32)
    planes = dynamics_image(gains, transmitters, ~(footprint | dark), dark, len(DYNAMICS))
    return dict(zip(DYNAMICS, planes[0].numpy(), strict=True))


def turned(gains: PathGains, symmetry: int) -> PathGains:
    parts = {f.name: getattr(gains, f.name)[0].numpy() for f in dataclasses.fields(gains)}
    return PathGains(**{name: torch.from_numpy(turn_array(part, symmetry))[None] for name, part in parts.items()})


def test_channels_say_what_their_names_say(gains: PathGains, heights: np.ndarray) -> None:
    cars = np.zeros((256, 256), bool)
    cars[20:22, 10:14] = True
    planes = image(gains, POSITION, heights, cars)
    free = (heights[24:280, 24:280] == 0) & ~cars
    assert np.allclose(planes["sum"], grey_from_gain(gains.gain_db()[0]) * free, atol=1e-5), "the physics method's grey"
    assert not planes["sum"][~free].any() and not planes["free_space"][~free].any()
    lit = planes["visible"] > 0
    assert np.allclose(planes["line_of_sight"][lit], planes["free_space"][lit], atol=2e-3)
    assert lit.any() and (~lit & free).any() and not planes["line_of_sight"][~lit & free].any()
    row, col = 200, 161  # 100 m east of the transmitter, in its row
    length = np.hypot(100.0, 28.5)
    assert planes["east"][row, col] == pytest.approx(-100 / length, abs=1e-5)
    assert planes["north"][row, col] == pytest.approx(0.0, abs=1e-5)
    assert planes["up"][row, col] == pytest.approx(28.5 / length, abs=1e-5)
    assert (planes["transmitter_height"] == np.float32(0.3)).all()
    assert (planes["cars"] == cars).all()


@pytest.mark.parametrize("symmetry", range(SYMMETRIES))
def test_turning_then_assembling_is_assembling_then_turning(
    gains: PathGains, heights: np.ndarray, symmetry: int
) -> None:
    cars = np.zeros((256, 256), bool)
    cars[20:22, 10:14] = True
    before = {name: turn_array(plane, symmetry) for name, plane in image(gains, POSITION, heights, cars).items()}
    ends = [turn_position(np.array(end), symmetry) for end in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))]
    before["east"], before["north"] = (
        sum((ends[k + 1] - ends[0])[axis] * before[name] for k, name in enumerate(("east", "north"))) for axis in (0, 1)
    )
    after = image(
        turned(gains, symmetry), turn_position(POSITION, symmetry), turn_array(heights, symmetry),
        turn_array(cars, symmetry),
    )  # fmt: skip
    for name in DYNAMICS:
        assert np.allclose(after[name], before[name], atol=1e-5), name


def test_streets_of_every_resolution(heights: np.ndarray) -> None:
    fine = np.kron(heights, np.ones((4, 4), np.float32))
    coarse, finer = (
        mean_heights(trace_facades(raster, 304 / len(raster), touched=False)) for raster in (heights, fine)
    )
    assert torch.allclose(coarse, torch.from_numpy(heights[24:280, 24:280]))
    assert torch.allclose(coarse, finer)
    half = fine.copy()
    half[:, : 4 * 90 + 2] = 0.0
    half[4 * 100 : 4 * 140, 4 * 90 : 4 * 90 + 2] = 0.0  # the building's western cells are half built
    assert mean_heights(trace_facades(half, 0.25))[90, 66] == pytest.approx(6.0)
    planes = streets_image(coarse[None], coarse[None] > 0)
    assert planes.shape == (1, len(STREETS), 256, 256)
    assert planes[0, :, 90, 70].tolist() == pytest.approx([0.12, 1.0])


def test_without_physics_channels_only_geometry_is_told(gains: PathGains) -> None:
    free = torch.ones(1, 256, 256, dtype=torch.bool)
    position = torch.tensor(POSITION[None], dtype=torch.float32)
    whole = dynamics_image(gains, position, free, ~free, len(DYNAMICS))
    plain = dynamics_image(gains, position, free, ~free, len(GEOMETRY))
    assert torch.equal(plain, whole[:, -len(GEOMETRY) :])
    assert torch.equal(base_grey(gains, free), whole[:, :1])


def test_a_receiver_under_the_antenna_is_finite() -> None:
    nothing = torch.zeros(1, 256, 256)
    gains = PathGains(nothing, nothing, nothing, nothing, nothing.bool())
    planes = dynamics_image(gains, torch.tensor([[10.5, 10.5, 1.5]]), ~nothing.bool(), nothing.bool(), len(DYNAMICS))
    assert torch.isfinite(planes).all()


def test_models_with_other_channels_are_refused() -> None:
    check_channels(COMPACT)
    with pytest.raises(SettingError, match=r"streets\.channels = 3: must be 2"):
        check_channels(dataclasses.replace(COMPACT, streets=EncoderConfig(channels=3)))
    with pytest.raises(SettingError, match=r"dynamics\.channels = 7"):
        check_channels(dataclasses.replace(COMPACT, dynamics=EncoderConfig(channels=7)))


def test_a_file_of_a_model_with_other_channels_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    checkpoint.save(RadioModel(model_config({**TINY, "streets": {**TINY["streets"], "channels": 3}}), ["static"]), path)
    with pytest.raises(checkpoint.CheckpointError, match=rf"^{path}: streets\.channels = 3: must be 2"):
        load_model(str(path), torch.device("cpu"))


def test_the_stages_share_the_chain() -> None:
    shipped, paper = MethodConfig(), MethodConfig(static_steps=0)
    assert second_schedule(shipped) == pytest.approx((0.02, 0.01, 0.0))
    assert len(first_schedule(shipped)) == 11 and len(first_schedule(paper)) == 99
    for method in (shipped, paper):
        assert first_schedule(method)[-1] == second_schedule(method)[0]
    assert first_schedule(MethodConfig(reuse_ratio=0.0)) == (1.0,)
