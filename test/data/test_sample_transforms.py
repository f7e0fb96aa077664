"""Symmetries move streets, truth and transmitter together; coarser maps keep what is built."""

from __future__ import annotations

import numpy as np
import pytest

from rdflux_ros.data.radiomapseer import DataError, Sample
from rdflux_ros.data.transforms import SYMMETRIES, coarsened, turn_array, turn_position, turned


@pytest.fixture
def sample() -> Sample:
    """A transmitter, and in its very cell a mark in every layer; away from all axes of symmetry."""
    position = np.array([201.3, 17.8, 33.0])
    layers = np.zeros((256, 256), np.float32)
    layers[17, 201] = 1.0
    fine = np.zeros((1216, 1216), np.float32)
    fine[96 + int(4 * 17.8), 96 + int(4 * 201.3)] = 9.0
    return Sample("street", 0, position, 9.0 * layers, fine, 0.25, layers > 0, layers)


@pytest.mark.parametrize("symmetry", range(SYMMETRIES))
def test_everything_moves_together(sample: Sample, symmetry: int) -> None:
    moved = turned(sample, symmetry)
    x, y, z = moved.position
    cell = (int(y), int(x))
    for layer in (moved.grey, moved.cars, moved.heights_m):
        assert np.argwhere(layer).tolist() == [list(cell)]
    assert np.argwhere(moved.surroundings_m).tolist() == [[96 + int(4 * y), 96 + int(4 * x)]]
    assert z == 33.0


def test_the_eight_are_different_and_the_first_is_nothing() -> None:
    array = np.arange(9).reshape(3, 3)
    assert len({turn_array(array, s).tobytes() for s in range(SYMMETRIES)}) == 8
    assert (turn_array(array, 0) == array).all()


def test_one_quarter_turn_is_counter_clockwise() -> None:
    assert turn_position(np.array([256.0, 128.0]), 1).tolist() == [128.0, 256.0], "east goes to north"


def test_unknown_symmetry_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 7"):
        turn_array(np.zeros((2, 2)), 8)


@pytest.mark.parametrize(("resolution", "side"), [(0.5, 608), (1.0, 304)])
def test_what_is_built_stays_built(sample: Sample, resolution: float, side: int) -> None:
    coarse = coarsened(sample, resolution)
    assert coarse.surroundings_m.shape == (side, side)
    ((row, col),) = np.argwhere(coarse.surroundings_m)
    assert (row, col) == (int((24 + 17.8) / resolution), int((24 + 201.3) / resolution))
    assert coarse.surroundings_m[row, col] == 9.0, "one built quarter makes the whole cell built"
    assert coarse.resolution == resolution
    assert (coarse.free == sample.free).all(), "the cells without value stay the truth's"


@pytest.mark.parametrize("resolution", [0.1, 0.6])
def test_no_finer_and_no_odd_resolution(sample: Sample, resolution: float) -> None:
    with pytest.raises(DataError, match="map resolution"):
        coarsened(sample, resolution)
