"""The true radio maps of a flight: which poses have one, and what of it lies in an answer's window.

A truth folder holds ``{i}.png`` (8-bit grey, row 0 = north, cells of 1 m) for the i-th row of ``poses.csv``
(t, x, y, z), which lies in it or beside it. Images have their south-west corner where the occupancy grid has
its own. A pose has a truth where its position is within `TOLERANCE_M` of a row's; the truth depends on the
position alone, so time plays no part.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rdflux_ros.data.radiomapseer import DataError, read_grey
from rdflux_ros.radio.grid import Grid

TOLERANCE_M = 0.25
"""Farthest that a pose may be from the one whose truth it is scored against [m]."""
SMALLEST_OVERLAP = 16
"""Rows and columns of truth that a window must hold to be scored."""


class FlightTruth:
    """True maps of a flight.

    Raises
    ------
    DataError
        ``poses.csv`` is missing or malformed, or the folder has no image.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
        poses = next((p for p in (folder / "poses.csv", folder.parent / "poses.csv") if p.is_file()), None)
        if poses is None:
            raise DataError(f"{folder}: no poses.csv in it or beside it")
        self.positions = _positions(poses)
        images = {int(path.stem): path for path in folder.glob("*.png") if path.stem.isdigit()}
        self._images = {i: path for i, path in images.items() if i < len(self.positions)}
        if not self._images:
            raise DataError(f"{folder}: no image named after a row of {poses}, like 000.png")

    def match(self, positions: NDArray[np.float64]) -> dict[int, int]:
        """From the number of a pose to that of its truth: for each truth the nearest of `positions` [n, 3].

        Of equally near poses (a bag that loops) the first one counts.
        """
        matched = {}
        for i in sorted(self._images):
            distance = np.linalg.norm(positions - self.positions[i], axis=1)
            nearest = int(np.argmin(distance)) if len(distance) else 0
            if len(distance) and distance[nearest] <= TOLERANCE_M:
                matched[nearest] = i
        return matched

    def window(self, index: int, extent: Grid, window: Grid) -> tuple[NDArray[np.float32], tuple[slice, slice]] | None:
        """What truth `index` says of an answer's window.

        Parameters
        ----------
        extent
            The occupancy grid, in whose south-west corner the image starts.
        window
            The answer's grid; cells of 1 m along the map frame's axes.

        Returns
        -------
        (grey, (rows, columns)) or None
            True grey, and the part of the window that it covers; None where that is next to nothing.

        Raises
        ------
        DataError
            The image is damaged, or the occupancy grid is turned or not on the answers' lattice of metres.
        """
        row, col = window.origin_y - extent.origin_y, window.origin_x - extent.origin_x
        if extent.yaw or abs(row - round(row)) > 1e-3 or abs(col - round(col)) > 1e-3:
            raise DataError("truth needs a map that is not turned and starts at whole metres")
        grey = read_grey(self._images[index])
        south, west = round(row), round(col)
        bottom, left = max(south, 0), max(west, 0)
        top, right = min(south + window.height, grey.shape[0]), min(west + window.width, grey.shape[1])
        if min(top - bottom, right - left) < SMALLEST_OVERLAP:
            return None
        part = slice(bottom - south, top - south), slice(left - west, right - west)
        return grey[bottom:top, left:right], part


def _positions(path: Path) -> NDArray[np.float64]:
    try:
        with path.open(newline="") as file:
            rows = [[float(row[key]) for key in ("x", "y", "z")] for row in csv.DictReader(file)]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: expected columns t, x, y, z with numbers ({error})") from error
    return np.array(rows, dtype=np.float64).reshape(-1, 3)
