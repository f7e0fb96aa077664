"""What may be done to a sample without making it untrue: the square's symmetries, coarser maps."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rdflux_ros.data.radiomapseer import DataError, Sample
from rdflux_ros.radio.grid import WINDOW_M

A = TypeVar("A", bound=np.generic)

SYMMETRIES = 8
"""Of the square: four quarter turns, with and without a mirror before them."""


def turn_array(array: NDArray[A], symmetry: int) -> NDArray[A]:
    """A square array [row = y, col = x] under symmetry 0..7.

    ``symmetry % 4`` counter-clockwise quarter turns, after x -> -x where ``symmetry >= 4``.
    """
    if not 0 <= symmetry < SYMMETRIES:
        raise ValueError(f"symmetry {symmetry}: must be 0 to {SYMMETRIES - 1}")
    if symmetry >= 4:
        array = array[:, ::-1]
    for _ in range(symmetry % 4):
        array = array.T[:, ::-1]
    return np.ascontiguousarray(array)


def turn_position(position: NDArray[np.float64], symmetry: int, side: float = WINDOW_M) -> NDArray[np.float64]:
    """A point [x, y, ...] of a square of edge `side` [m] under the symmetry of `turn_array`."""
    if not 0 <= symmetry < SYMMETRIES:
        raise ValueError(f"symmetry {symmetry}: must be 0 to {SYMMETRIES - 1}")
    x, y, *rest = position
    if symmetry >= 4:
        x = side - x
    for _ in range(symmetry % 4):
        x, y = side - y, x
    return np.array([x, y, *rest])


def turned(sample: Sample, symmetry: int) -> Sample:
    """The sample under one of the square's eight symmetries: streets, truth and transmitter together."""
    return replace(
        sample,
        position=turn_position(sample.position, symmetry),
        heights_m=turn_array(sample.heights_m, symmetry),
        surroundings_m=turn_array(sample.surroundings_m, symmetry),
        cars=turn_array(sample.cars, symmetry),
        grey=turn_array(sample.grey, symmetry),
    )


def coarsened(sample: Sample, resolution: float) -> Sample:
    """The sample as a user's map of `resolution` [m] shows its walls: a coarse cell is built where any part is.

    Only `surroundings_m` changes (its highest part wins); the cells without value stay the truth's own.

    Raises
    ------
    DataError
        `resolution` is finer than the sample's or no whole multiple of it.
    """
    factor = round(resolution / sample.resolution)
    if factor < 1 or abs(factor * sample.resolution - resolution) > 1e-9 or len(sample.surroundings_m) % factor:
        raise DataError(f"{sample.name}: map resolution {resolution:g} m from a map of {sample.resolution:g} m")
    side = len(sample.surroundings_m) // factor
    blocks = sample.surroundings_m.reshape(side, factor, side, factor)
    return replace(sample, surroundings_m=blocks.max(axis=(1, 3)), resolution=resolution)
