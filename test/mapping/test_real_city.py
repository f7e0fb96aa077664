"""A real city: the map and the heights of a flight land in the windows pixel by pixel (RDFLUX_DATA names the data)."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.mapping.inputs import load_height_map, load_occupancy, street_map
from rdflux_ros.mapping.regions import Region, crop, footprint

pytestmark = pytest.mark.skipif("RDFLUX_DATA" not in os.environ, reason="RDFLUX_DATA does not name the data's folder")
CONFIG = MapperConfig()
REGIONS = [Region(6, 6), Region(3, 9), Region(2, 2), Region(0, 5), Region(11, 11)]


@pytest.fixture(scope="module")
def folder() -> Path:
    return Path(os.environ["RDFLUX_DATA"]) / "flights" / "krems"


@pytest.fixture(scope="module")
def streets(folder):
    return street_map(load_occupancy(folder / "map.yaml"), CONFIG, load_height_map(folder / "height.yaml"))


def window(image: np.ndarray, region: Region, margin: int, per_metre: int) -> np.ndarray:
    """The window of an image of the whole city (row 0 = north), cut by hand; zeros beyond."""
    x, y = 64 * region.i - 128 - margin, 64 * region.j - 128 - margin
    south_up = image[::-1]
    padded = np.pad(south_up, 400 * per_metre)
    side = (256 + 2 * margin) * per_metre
    return padded[(y + 400) * per_metre :, (x + 400) * per_metre :][:side, :side]


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("region", REGIONS)
def test_walls_are_the_height_maps_pixels(folder, streets, region):
    expected = window(read(folder / "height.png"), region, 24, 4) * np.float32(0.01)
    found = crop(streets, region, CONFIG)
    assert found.shape == (1216, 1216)
    np.testing.assert_array_equal(found, expected.astype(np.float32))


@pytest.mark.parametrize("region", REGIONS)
def test_cells_without_value_are_the_maps_black_pixels(folder, streets, region):
    expected = window(read(folder / "map.pgm") == 0, region, 0, 1)
    np.testing.assert_array_equal(footprint(streets, region, CONFIG), expected)


@pytest.mark.parametrize("region", REGIONS)
def test_the_truth_has_no_value_where_we_have_none_and_nearly_everywhere_else(folder, streets, region):
    heard = np.maximum.reduce([read(folder / "truth" / f"{k:03d}.png") for k in range(0, 60, 4)]) > 0
    on_map = window(np.ones((768, 768), bool), region, 0, 1)
    buildings, heard = footprint(streets, region, CONFIG), window(heard, region, 0, 1)
    assert not (heard & buildings).any()
    assert (heard | buildings)[on_map].mean() > 0.97


def test_a_bare_occupancy_grid_gives_the_same_cells_without_value(folder, streets):
    bare = street_map(load_occupancy(folder / "map.yaml"), CONFIG)
    assert bare.grid.resolution == 1.0
    np.testing.assert_array_equal(bare.buildings, streets.buildings)
    assert set(np.unique(bare.heights_m)) == {0.0, 25.0}
