"""Units of a radio map: path gain [dB], pathloss [dB], grey scale, int8 occupancy values.

Pathloss is positive; path gain is its negative. The grey scale is RadioMapSeer's:
``g = (gain_db + 147) / 99.16``, written as ``uint8 = round(255 g)``. Where a cell has no value
(inside a building, under a car) float layers hold NaN, int8 layers -1 and grey images 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

SPEED_OF_LIGHT = 299_792_458.0
"""[m/s]"""
CARRIER_FREQUENCY = 5.9e9
"""[Hz]"""
WAVELENGTH = SPEED_OF_LIGHT / CARRIER_FREQUENCY
"""[m]"""
FREE_SPACE = (WAVELENGTH / (4 * np.pi)) ** 2
"""Linear path gain between isotropic antennas 1 m apart; Friis."""
RECEIVER_HEIGHT = 1.5
"""[m] above ground"""

FLOOR_GAIN_DB = -147.0
"""Path gain of grey 0 [dB]."""
GREY_SPAN_DB = 99.16
"""Path gain of grey 1 above that of grey 0 [dB]."""
FLOOR_PATHLOSS_DB = -FLOOR_GAIN_DB
NO_VALUE = -1
"""int8 value of a cell without pathloss."""


def grey_from_gain(gain_db: ArrayLike) -> NDArray[np.float32]:
    """Path gain [dB] to grey in [0, 1]; clipped, NaN becomes 0 as in the published images."""
    grey = (np.asarray(gain_db, np.float32) - FLOOR_GAIN_DB) / GREY_SPAN_DB
    return np.clip(np.nan_to_num(grey, nan=0.0), 0.0, 1.0).astype(np.float32)


def gain_from_grey(grey: ArrayLike) -> NDArray[np.float32]:
    """Grey in [0, 1] to path gain [dB]."""
    return (np.asarray(grey, np.float32) * GREY_SPAN_DB + FLOOR_GAIN_DB).astype(np.float32)


def occupancy_from_pathloss(pathloss_db: ArrayLike) -> NDArray[np.int8]:
    """Pathloss [dB] to OccupancyGrid values: 0 best, 100 at the 147 dB floor, -1 where NaN."""
    pathloss = np.asarray(pathloss_db, np.float32)
    scale = GREY_SPAN_DB / 100.0
    best = FLOOR_PATHLOSS_DB - GREY_SPAN_DB
    with np.errstate(invalid="ignore"):
        value = np.clip(np.rint((pathloss - best) / scale), 0, 100)
    return np.where(np.isnan(pathloss), NO_VALUE, value).astype(np.int8)


def pathloss_from_occupancy(value: ArrayLike) -> NDArray[np.float32]:
    """OccupancyGrid values back to pathloss [dB]; NaN where -1. Exact to half a step, 0.5 dB."""
    value = np.asarray(value, np.float32)
    scale = GREY_SPAN_DB / 100.0
    pathloss = (FLOOR_PATHLOSS_DB - GREY_SPAN_DB) + scale * value
    return np.where(value < 0, np.nan, pathloss).astype(np.float32)


def free_space_gain(distance_m: ArrayLike, frequency_hz: float = CARRIER_FREQUENCY) -> NDArray[np.float32]:
    """Friis path gain [dB] between isotropic antennas ``distance_m`` apart."""
    wavelength = SPEED_OF_LIGHT / frequency_hz
    return (20.0 * np.log10(wavelength / (4.0 * np.pi * np.asarray(distance_m, np.float64)))).astype(np.float32)
