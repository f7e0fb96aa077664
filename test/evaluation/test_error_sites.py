"""Where the error sits: classes of cells that can be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_scenes import make_scenes

from rdflux_ros.data.radiomapseer import RadioMapSeer
from rdflux_ros.evaluation.error_sites import EDGES, ErrorSites, classes, labels
from rdflux_ros.propagation.facades import trace_facades


def test_classes_of_a_block_of_houses(tmp_path: Path) -> None:
    """18 m high, columns 96 to 125, rows 76 to 115; the transmitter stands 41 m south of it, 60 m high."""
    sample = RadioMapSeer(make_scenes(tmp_path, ["a"], [[110.5, 35.5, 60.0]]))[0]
    found = classes(sample, trace_facades(sample.surroundings_m, sample.resolution))
    assert list(found) == list(EDGES)
    for name, masks in found.items():
        assert len(masks) == len(labels(name))
        assert np.array_equal(np.sum(masks, axis=0), sample.free), f"{name}: each free cell is of one class"

    def of(name: str, row: int, col: int) -> str:
        return next(label for label, mask in zip(labels(name), found[name], strict=True) if mask[row, col])

    assert of("depth below the shadow line", 60, 110) == "up to 0 m", "before the block"
    assert of("depth below the shadow line", 117, 110) == "10 to 20 m", "right behind it"
    assert of("depth below the shadow line", 141, 110) == "2 to 5 m", "60 m less 42 m in 80, at 106 m"
    assert of("depth below the shadow line", 200, 110) == "up to 0 m", "where its shadow has ended"
    assert of("distance to the transmitter", 35, 150) == "up to 50 m"
    assert of("distance to the transmitter", 250, 110) == "over 150 m"
    assert [of("distance to the nearest wall", 76 - k, 110) for k in (1, 2, 3, 5, 9)] == [
        "up to 1 m", "1 to 2 m", "2 to 3 m", "3 to 6 m", "over 6 m",
    ]  # fmt: skip
    assert of("height of the transmitter", 0, 0) == "40 to 60 m"


def test_sums_become_shares_and_decibels() -> None:
    sites = ErrorSites(["left", "right"])
    left = np.zeros((2, 4), bool)
    left[:, :1] = True
    error = np.where(left, 0.2, -0.1).astype(np.float32)
    sites.add(error, [left, ~left])
    sites.add(error, [left, ~left])
    found = sites.summary()
    assert found["left"]["cells_share"] == 0.25
    assert found["left"]["error_share"] == pytest.approx(4 * 0.04 / (4 * 0.04 + 12 * 0.01))
    assert found["left"]["bias_db"] == pytest.approx(19.832, rel=1e-4) and found["right"]["bias_db"] < 0
    assert found["right"]["rms_db"] == pytest.approx(9.916, rel=1e-4)
