"""Measured RSSI shifts the map near where it was measured: Gaussian-process regression of what the map got wrong.

What is measured less what the map says is taken for shadowing that the map does not know. Its correlation falls
exponentially with distance (Gudmundson, Electronics Letters 1991), here of the receiver and of the transmitter, each
by its own length; an offset that is common to all (power, gains, cables) is estimated with it.
"""

from __future__ import annotations

import importlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.radio.grid import Grid
from rdflux_ros.radio.radio_map import RadioMap, Transmitter
from rdflux_ros.radio.units import FLOOR_PATHLOSS_DB, RECEIVER_HEIGHT
from rdflux_ros.settings import SettingError

SHAPING = (
    "rssi_correlation_m",
    "rssi_transmitter_correlation_m",
    "rssi_shadowing_db",
    "rssi_noise_db",
    "rssi_max_measurements",
    "tx_power_dbm",
    "aligned",
    "antenna_offset_z_m",
    "ground_z_m",
)
"""Settings that change what measurements mean, or what they were compared with."""
OFFSET_DB = 10.0
"""Standard deviation of the common offset before anything was measured [dB]."""
HIGHEST_M = 5.0
"""Receivers farther above those of the map tell nothing of them [m]."""
STEP = 4
"""The shift is computed at every fourth cell and between them interpolated: it varies over tens of metres."""
WAY_SAMPLES = 512
"""Points of a straight way from receiver to transmitter at which changed cells are looked for."""
EXTRA = "rssi_correction = true: scikit-learn is not installed; `pip install rdflux_ros[correction]`"


@dataclass(frozen=True)
class Shift:
    """What measurements add to an answer: [rows, cols] dB, and how many took part."""

    db: NDArray[np.float32]
    measurements: int


class RssiCorrection:
    """The newest measurements, and what they say of any answer.

    Parameters
    ----------
    clock
        Steady time [s].

    Raises
    ------
    SettingError
        `rssi_correction` is on and scikit-learn is not installed.
    """

    def __init__(self, config: MapperConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._config = config
        self._regressor: Any = None
        self.clear()
        self.use(config)

    @property
    def measurements(self) -> int:
        """How many are kept."""
        return len(self._at)

    def clear(self) -> None:
        """Forget all measurements."""
        self._places = np.zeros((0, 5))
        self._residuals = np.zeros(0)
        self._at = np.zeros(0)
        self._regressor = None

    def forget_through(self, changed: NDArray[np.bool_], grid: Grid) -> None:
        """Forget measurements whose straight way crosses cells [rows, cols] that have changed.

        What they were compared with did not know of them: their shift would count the change twice.
        """
        share = np.linspace(0.0, 1.0, WAY_SAMPLES)[:, None]
        x, y = (self._places[:, k] + (self._places[:, k + 2] - self._places[:, k]) * share for k in (0, 1))
        crossed = np.zeros(x.shape, bool)
        inside = grid.contains(x, y)
        crossed[inside] = changed[grid.cells(x[inside], y[inside])]
        self._keep(np.asarray(~crossed.any(axis=0)))

    def use(self, config: MapperConfig) -> None:
        """Follow other settings; measurements are forgotten where these change what they mean."""
        check_installed(config)
        before, self._config = self._config, config
        if not config.rssi_correction or any(getattr(before, name) != getattr(config, name) for name in SHAPING):
            self.clear()

    def measured(self, points: NDArray[np.float64], rssi_dbm: NDArray[np.float64], answer: RadioMap) -> Counter[str]:
        """Take measurements of the transmitter that an uncorrected answer is of.

        Parameters
        ----------
        points
            [N, 3] receivers in the map's frame [m].
        rssi_dbm
            [N] received power [dBm].

        Returns
        -------
        Counter
            ``used``, and those refused by reason: ``not_finite``, ``outside_map``, ``too_high`` above ground,
            ``no_value`` (in a building), ``unreached`` (the map has no signal there to be shifted).
        """
        counts: Counter[str] = Counter()
        if not self._config.rssi_correction:
            return counts

        def kept(reason: str, good: NDArray[np.bool_]) -> None:
            nonlocal points, rssi_dbm
            counts[reason] += int((~good).sum())
            points, rssi_dbm = points[good], rssi_dbm[good]

        kept("not_finite", np.isfinite(points).all(axis=1) & np.isfinite(rssi_dbm))
        kept("outside_map", answer.grid.contains(points[:, 0], points[:, 1]))
        kept("too_high", points[:, 2] - self._config.ground_z_m <= RECEIVER_HEIGHT + HIGHEST_M)
        kept("no_value", ~np.isnan(answer.pathloss_db[answer.grid.cells(points[:, 0], points[:, 1])]))
        kept("unreached", answer.pathloss_db[answer.grid.cells(points[:, 0], points[:, 1])] < FLOOR_PATHLOSS_DB)
        if not len(points):
            return +counts
        said = answer.pathloss_db[answer.grid.cells(points[:, 0], points[:, 1])]
        sender = answer.transmitter
        places = np.column_stack([points[:, :2], np.tile([sender.x, sender.y, sender.z], (len(points), 1))])
        newest = slice(-self._config.rssi_max_measurements, None)
        self._places = np.concatenate([self._places, places])[newest]
        self._residuals = np.concatenate([self._residuals, self._config.tx_power_dbm - rssi_dbm - said])[newest]
        self._at = np.concatenate([self._at, np.full(len(points), self._clock())])[newest]
        self._regressor = None
        counts["used"] += len(points)
        return +counts

    def shift(self, grid: Grid, transmitter: Transmitter) -> Shift | None:
        """What the measurements add to an answer on a grid along the map's axes; None without any."""
        self._forget_old()
        if not len(self._at):
            return None
        if self._regressor is None:
            self._regressor = self._fitted()
        rows, cols = (np.arange(0.5 * (STEP - 1), size, STEP) for size in grid.shape)
        x, y = grid.centres(*np.meshgrid(rows, cols, indexing="ij"))
        sender = np.tile([transmitter.x, transmitter.y, transmitter.z], (x.size, 1))
        coarse = self._regressor.predict(self._scaled(np.column_stack([x.ravel(), y.ravel(), sender])))
        coarse = coarse.reshape(x.shape).astype(np.float32)
        fine = cv2.resize(coarse, (STEP * coarse.shape[1], STEP * coarse.shape[0]), interpolation=cv2.INTER_LINEAR)
        return Shift(fine[: grid.height, : grid.width], len(self._at))

    def _forget_old(self) -> None:
        self._keep(self._at > self._clock() - self._config.rssi_timeout_s)

    def _keep(self, wanted: NDArray[np.bool_]) -> None:
        if not wanted.all():
            self._places, self._residuals, self._at = self._places[wanted], self._residuals[wanted], self._at[wanted]
            self._regressor = None

    def _scaled(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places in correlation lengths: receiver x, y, then transmitter x, y, z."""
        own, sender = self._config.rssi_correlation_m, self._config.rssi_transmitter_correlation_m
        return places / np.array([own, own, sender, sender, sender])

    def _fitted(self) -> Any:
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern

        config = self._config
        kernel = ConstantKernel(OFFSET_DB**2) + ConstantKernel(config.rssi_shadowing_db**2) * Matern(nu=0.5)
        regressor = GaussianProcessRegressor(kernel, alpha=config.rssi_noise_db**2, optimizer=None, copy_X_train=False)
        return regressor.fit(self._scaled(self._places), self._residuals)


def shifted(pathloss_db: NDArray[np.float32], shift: Shift) -> NDArray[np.float32]:
    """An answer [rows, cols] dB with its shift; cells without value or signal stay as they are."""
    changed = np.clip(pathloss_db + shift.db, 0.0, FLOOR_PATHLOSS_DB)
    return np.where(pathloss_db < FLOOR_PATHLOSS_DB, changed, pathloss_db).astype(np.float32)


def check_installed(config: MapperConfig) -> None:
    """Raise `SettingError` where the correction is on and its library is not installed."""
    if config.rssi_correction:
        try:
            importlib.import_module("sklearn.gaussian_process")
        except ImportError:
            raise SettingError(EXTRA) from None
