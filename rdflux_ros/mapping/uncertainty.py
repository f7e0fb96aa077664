"""How far off an answer may be: standard deviation of its error by what is known of a cell, fitted on maps with truth.

A table, not an ensemble: another region's midpoint or other noise hardly moves an answer, so their spread says nothing
of its error (`evaluate uncertainty` prints both).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdflux_ros.model.shipped import PHYSICS, SHIPPED, model_path
from rdflux_ros.radio.units import FLOOR_PATHLOSS_DB
from rdflux_ros.settings import SettingError

SUFFIX = ".uncertainty.json"
"""Of the file beside the model's."""
HEIGHTS_M = (15.0, 25.0, 50.0)
LEVELS_DB = (80.0, 90.0, 100.0, 110.0, 120.0, 130.0, 140.0, FLOOR_PATHLOSS_DB - 0.5)
CORRECTIONS_DB = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Where the classes end: height of the transmitter, pathloss, how far the network changed the physics layer's."""
SHAPE = (len(HEIGHTS_M) + 1, 2, len(LEVELS_DB) + 1, len(CORRECTIONS_DB) + 1)
"""Classes by height, line of sight, pathloss and correction."""
SHARES = (0.5, 0.68, 0.9, 0.95)
"""Of the cells, for which a multiple of the standard deviation is kept that their errors lie within."""
SMALL = 2000
"""Classes of fewer cells lean on their neighbours that differ in the correction, then in the height."""


def classes(
    pathloss_db: NDArray[np.float32], physics_db: NDArray[np.float32], visible: NDArray[np.bool_], z: float
) -> NDArray[np.int64]:
    """Number of each cell's class [rows, cols] in a table of `SHAPE`, from the answer and what the physics layer says.

    Parameters
    ----------
    pathloss_db, physics_db
        [rows, cols] dB; where the first is NaN the class means nothing.
    visible
        [rows, cols] cells in line of sight.
    z
        Height of the transmitter above ground [m].
    """
    correction = np.abs(pathloss_db - np.minimum(physics_db, FLOOR_PATHLOSS_DB))
    indices = (
        np.full(pathloss_db.shape, np.searchsorted(HEIGHTS_M, z, side="right")),
        visible.astype(np.int64),
        np.searchsorted(np.array(LEVELS_DB, np.float32), pathloss_db.ravel()).reshape(pathloss_db.shape),
        np.searchsorted(np.array(CORRECTIONS_DB, np.float32), correction.ravel()).reshape(pathloss_db.shape),
    )
    return np.ravel_multi_index(indices, SHAPE)


@dataclass(frozen=True)
class ErrorLaw:
    """The error of one method over walls of one resolution [m].

    Parameters
    ----------
    stddev_db
        Root mean square of the error [dB], of `SHAPE`.
    within
        For each of `SHARES` the multiple of it that holds so many errors.
    """

    method: str
    resolution: float
    stddev_db: NDArray[np.float32]
    within: tuple[float, ...]

    def stddev(
        self, pathloss_db: NDArray[np.float32], physics_db: NDArray[np.float32], visible: NDArray[np.bool_], z: float
    ) -> NDArray[np.float32]:
        """Standard deviation of the error of each cell [rows, cols] dB; NaN where there is no value."""
        found = self.stddev_db.ravel()[classes(pathloss_db, physics_db, visible, z)]
        found[np.isnan(pathloss_db)] = np.nan
        return found


class ErrorSums:
    """Squared errors by class over many maps, from which a law is fitted."""

    def __init__(self) -> None:
        self.cells = np.zeros(SHAPE)
        self.squares = np.zeros(SHAPE)

    def add(self, cells: NDArray[np.integer], error_db: NDArray[np.float32]) -> None:
        """Count one map's cells, [n] classes and errors."""
        size = int(np.prod(SHAPE))
        self.cells += np.bincount(cells, minlength=size).reshape(SHAPE)
        self.squares += np.bincount(cells, weights=error_db.astype(np.float64) ** 2, minlength=size).reshape(SHAPE)

    def stddev_db(self) -> NDArray[np.float32]:
        """Root mean square by class; small classes lean on larger ones, more the smaller they are."""
        mean = np.broadcast_to(self.squares.sum() / max(self.cells.sum(), 1.0), SHAPE)
        for axes in ((0, 1, 3), (0, 3), (0,), ()):
            cells, squares = (part.sum(axis=axes, keepdims=True) for part in (self.cells, self.squares))
            mean = (squares + SMALL * mean) / (cells + SMALL)
        return np.sqrt(np.broadcast_to(mean, SHAPE)).astype(np.float32)


class ErrorLaws:
    """The laws of one model: of its answers and of the physics layer's, for maps of some resolutions."""

    def __init__(self, laws: Sequence[ErrorLaw]) -> None:
        self._laws = list(laws)

    def law(self, method: str, resolution: float) -> ErrorLaw | None:
        """That of a method for the nearest resolution [m]; None without any of the method."""
        of_method = [law for law in self._laws if law.method == method]
        return min(of_method, key=lambda law: abs(np.log(law.resolution / resolution)), default=None)

    def write(self, path: Path, digest: str, about: Mapping[str, Any]) -> None:
        """Write them for the model of a digest, with what they were fitted on."""
        laws = [
            {
                "method": law.method,
                "resolution": law.resolution,
                "within": {f"{share:g}": round(times, 3) for share, times in zip(SHARES, law.within, strict=True)},
                "stddev_db": np.round(law.stddev_db.astype(float), 2).tolist(),
            }
            for law in self._laws
        ]
        content = {"digest": digest, "shape": list(SHAPE), **about, "laws": laws}
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def load_laws(model: str, digest: str | None) -> ErrorLaws:
    """The laws that stand beside a model's file; the physics layer alone has the shipped model's.

    Parameters
    ----------
    digest
        Of the model in use; None for the physics layer, which all models share.

    Raises
    ------
    SettingError
        There are none, or they are of another model or unreadable; the message names the file.
    """
    path = model_path(SHIPPED if model == PHYSICS else model).with_suffix(SUFFIX)
    if not path.is_file():
        raise SettingError(f"uncertainty = true: {path}: no such file; `evaluate uncertainty --fit` writes it")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["shape"] != list(SHAPE):
            raise SettingError(
                f"uncertainty = true: {path}: of another version; `evaluate uncertainty --fit` writes it"
            )
        laws = [
            ErrorLaw(
                str(law["method"]),
                float(law["resolution"]),
                np.array(law["stddev_db"], np.float32).reshape(SHAPE),
                tuple(float(law["within"][f"{share:g}"]) for share in SHARES),
            )
            for law in content["laws"]
        ]
        fitted_for = content["digest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(f"uncertainty = true: {path}: unreadable ({type(error).__name__})") from error
    if digest is not None and fitted_for != digest:
        raise SettingError(f"uncertainty = true: {path}: of another model; `evaluate uncertainty --fit` writes it anew")
    return ErrorLaws(laws)
