import math

import numpy as np
import pytest

from rdflux_ros.propagation.sharpening import FINE_M, sharpened

FINE = round(304 / FINE_M)


def turned_block(degrees: float, cell: float, *, touched: bool) -> np.ndarray:
    """60 by 24 m round the middle, 20 m high [cm], as cells show it that are touched or whose centre is built."""
    seen = 0.25 if touched else cell
    y, x = (np.indices([round(304 / seen)] * 2) + 0.5) * seen - 152
    angle = math.radians(degrees)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    heights = np.where((abs(along) < 30) & (abs(across) < 12), 2000, 0).astype(np.int16)
    side, factor = round(304 / cell), round(cell / seen)
    return heights.reshape(side, factor, side, factor).max((1, 3))


@pytest.mark.parametrize("cell", [0.5, 1.0])
@pytest.mark.parametrize("touched", [True, False])
@pytest.mark.parametrize("degrees", [3, 20, 38, 71])
def test_a_turned_block_gets_its_walls_back(degrees: float, touched: bool, cell: float) -> None:
    coarse, true = turned_block(degrees, cell, touched=touched), turned_block(degrees, 0.25, touched=False)
    found = sharpened(coarse, cell, touched=touched)
    blocky = np.kron(coarse, np.ones([round(cell / 0.25)] * 2, np.int16))
    wrong, before = ((heights != true).sum() for heights in (found, blocky))
    assert wrong < (0.7 if touched else 0.8) * before
    assert abs((found > 0).sum() / (true > 0).sum() - 1) < 0.03, "neither too large nor too small"


def test_what_is_higher_stands_on_what_is_lower() -> None:
    """A tower on a block, and a lower wing beside it: no gap opens between them where each is moved in."""
    coarse = np.zeros((304, 304), np.int16)
    coarse[100:140, 100:160] = 1000
    coarse[110:130, 120:140] = 3000
    coarse[100:140, 160:180] = 600
    fine = sharpened(coarse, 1.0, touched=True)
    inner = fine[408:552, 408:712]
    assert set(np.unique(fine)) == {0, 600, 1000, 3000} and (inner > 0).all()
    assert abs(int((fine == 3000).sum()) * FINE_M**2 / (19.25 * 19.25) - 1) < 0.05


def test_a_courtyard_stays_open_and_thin_walls_stay_whole() -> None:
    coarse = np.zeros((304, 304), np.int16)
    coarse[50:90, 50:90] = 1500
    coarse[60:80, 60:80] = 0
    coarse[150, 100:200] = coarse[150:200, 100] = 400  # as mapping shows walls: one cell
    coarse[250, 250] = 900
    fine = sharpened(coarse, 1.0, touched=True)
    assert not fine[4 * 60 : 4 * 80, 4 * 60 : 4 * 80].any()
    for row, col in (*((150, col) for col in range(100, 200)), *((row, 100) for row in range(150, 200)), (250, 250)):
        assert (fine[4 * row : 4 * row + 4, 4 * col : 4 * col + 4] == coarse[row, col]).all()


def test_a_pitched_roof_is_no_flight_of_stairs() -> None:
    coarse = np.zeros((304, 304), np.int16)
    coarse[100:120, 100:140] = (500 + 90 * np.minimum(np.arange(20), np.arange(19, -1, -1)))[:, None]
    steps = abs(np.diff(sharpened(coarse, 1.0, touched=False)[408:472, 480].astype(int)))
    assert steps.max() <= 30


def test_streets_at_the_rasters_edge_are_drawn_to_it() -> None:
    coarse = np.zeros((304, 304), np.int16)
    coarse[1:40, 1:303] = 800  # the outermost ring is free
    fine = sharpened(coarse, 1.0, touched=False)
    assert (fine[4:160, 4:-4] == 800).all() and fine.shape == (FINE, FINE)
