"""Where the error sits: sums over maps of cells and errors by what is known of a cell."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from rdflux_ros.data.radiomapseer import Sample
from rdflux_ros.propagation.facades import Facades
from rdflux_ros.propagation.profiles import trace_profiles
from rdflux_ros.radio.grid import WINDOW_M
from rdflux_ros.radio.units import GREY_SPAN_DB, RECEIVER_HEIGHT

PLACES = ("line_of_sight", "shadow", "unreached")
"""Where a free cell lies: seen by the transmitter, not seen, or reached by no ray of the truth."""
EDGES = {
    "depth below the shadow line": (0.0, 2.0, 5.0, 10.0, 20.0),
    "distance to the transmitter": (50.0, 100.0, 150.0),
    "distance to the nearest wall": (1.0, 2.0, 3.0, 6.0),
    "height of the transmitter": (15.0, 25.0, 40.0, 60.0),
}
"""What else is known of a cell [m], and where its classes end."""


class ErrorSites:
    """Cells and errors of many maps, grey, by class."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self._cells = np.zeros(len(self.labels), np.int64)
        self._error, self._squares = np.zeros((2, len(self.labels)))

    def add(self, error: NDArray[np.float32], masks: Sequence[NDArray[np.bool_]]) -> None:
        """Count one map's error (answer minus truth, grey [256, 256]); a mask for each class."""
        for index, mask in enumerate(masks):
            values = error[mask].astype(np.float64)
            self._cells[index] += len(values)
            self._error[index] += values.sum()
            self._squares[index] += np.sum(values**2)

    def summary(self) -> dict[str, dict[str, float]]:
        """By class: share of the free cells and of the squared error, bias and rms [dB]."""
        cells, squares = max(int(self._cells.sum()), 1), float(self._squares.sum()) or 1.0
        return {
            label: {
                "cells_share": float(self._cells[i]) / cells,
                "error_share": float(self._squares[i]) / squares,
                "bias_db": GREY_SPAN_DB * float(self._error[i]) / max(int(self._cells[i]), 1),
                "rms_db": GREY_SPAN_DB * float(np.sqrt(self._squares[i] / max(int(self._cells[i]), 1))),
            }
            for i, label in enumerate(self.labels)
        }


def places(sample: Sample, visible: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Masks [256, 256] of the sample's free cells in the order of `PLACES`; `visible` as the physics layer sees it."""
    unreached = sample.free & (sample.grey == 0)
    reached = sample.free & ~unreached
    return [reached & visible, reached & ~visible, unreached]


def labels(name: str) -> list[str]:
    """The classes of one of `EDGES`, in words."""
    edges = [f"{edge:g}" for edge in EDGES[name]]
    between = [f"{low} to {high} m" for low, high in pairwise(edges)]
    return [f"up to {edges[0]} m", *between, f"over {edges[-1]} m"]


def classes(sample: Sample, facades: Facades) -> dict[str, list[NDArray[np.bool_]]]:
    """Masks [256, 256] of the sample's free cells by the classes of each of `EDGES`; `facades` of its streets."""
    transmitter = torch.tensor(sample.position[None], dtype=torch.float32, device=facades.heights_cm.device)
    profiles = trace_profiles(facades, transmitter)
    depth = profiles.before * profiles.distance + transmitter[:, 2:] - RECEIVER_HEIGHT
    values = {
        "depth below the shadow line": _image(depth),
        "distance to the transmitter": _image(profiles.distance),
        "distance to the nearest wall": cv2.distanceTransform((sample.heights_m == 0).astype(np.uint8), cv2.DIST_L2, 3),
        "height of the transmitter": np.full((WINDOW_M, WINDOW_M), sample.position[2]),
    }
    return {name: _masks(values[name], edges, sample.free) for name, edges in EDGES.items()}


def error_tables(summary: dict[str, Any]) -> dict[str, list[list[Any]]]:
    """Rows of an accuracy summary for each of `EDGES`: class, share of the cells, then share and rms by method."""
    found: dict[str, list[list[Any]]] = {}
    methods = summary["methods"].values()
    for name in EDGES:
        found[name] = []
        for label in labels(name):
            each = [scored["sites"][name][label] for scored in methods]
            if each[0]["cells_share"] > 0:
                columns = [value for one in each for value in (one["error_share"], one["rms_db"])]
                found[name].append([label, each[0]["cells_share"], *columns])
    return found


def _masks(values: NDArray, edges: Sequence[float], free: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    number = np.digitize(values, edges, right=True)
    return [free & (number == k) for k in range(len(edges) + 1)]


def _image(receivers: torch.Tensor) -> NDArray[np.float32]:
    return receivers.view(WINDOW_M, WINDOW_M).cpu().numpy()
