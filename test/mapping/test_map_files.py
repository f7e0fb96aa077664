"""Map files: read as map_server reads them, refused in one line that names file and key."""

import cv2
import numpy as np
import pytest

from rdflux_ros.mapping.inputs import InputError, load_height_map, load_occupancy
from rdflux_ros.radio.grid import Grid

DESCRIPTION = {
    "image": "map.png",
    "resolution": 0.5,
    "origin": "[-3.0, 4.0, 0.25]",
    "negate": 0,
    "occupied_thresh": 0.65,
    "free_thresh": 0.25,
}


@pytest.fixture
def write(tmp_path):
    """Write a map's image and its yaml; a None drops a key."""

    def _write(pixels, **changes):
        cv2.imwrite(str(tmp_path / "map.png"), np.asarray(pixels))
        lines = [f"{key}: {value}" for key, value in {**DESCRIPTION, **changes}.items() if value is not None]
        (tmp_path / "map.yaml").write_text("\n".join(lines))
        return tmp_path / "map.yaml"

    return _write


SHADES = np.array([[0, 80, 128, 204, 255]], np.uint8)


def test_the_first_image_row_is_the_northernmost(write):
    image = np.full((2, 3), 254, np.uint8)
    image[0, 2] = 0
    found = load_occupancy(write(image))
    np.testing.assert_array_equal(found.data, [[0, 0, 0], [0, 0, 100]])
    assert found.grid == Grid(3, 2, 0.5, -3.0, 4.0, 0.25)
    assert found.data.dtype == np.int8


@pytest.mark.parametrize(
    ("changes", "cells"),
    [
        ({}, [100, 100, -1, 0, 0]),
        ({"mode": "trinary", "negate": 1}, [0, -1, -1, 100, 100]),
        ({"mode": "scale"}, [100, 100, 62, 0, 0]),  # (127/255 - 0.25) / 0.4
        ({"mode": "raw"}, [0, 80, -1, -1, -1]),
        ({"free_thresh": 0.1, "occupied_thresh": 0.9}, [100, -1, -1, -1, 0]),
        ({"negate": None, "occupied_thresh": None, "free_thresh": None}, [100, 100, -1, 0, 0]),
    ],
)
def test_shades_become_cells_as_map_server_does(write, changes, cells):
    np.testing.assert_array_equal(load_occupancy(write(SHADES, **changes)).data[0], cells)


def test_colours_are_averaged_and_transparent_cells_are_unknown_on_the_scale(write):
    image = np.zeros((1, 3, 4), np.uint8)
    image[0, :, :3] = [[0, 0, 0], [255, 255, 255], [255, 255, 255]]
    image[0, :, 3] = [255, 255, 0]
    np.testing.assert_array_equal(load_occupancy(write(image, mode="scale")).data[0], [100, 0, -1])
    np.testing.assert_array_equal(load_occupancy(write(image[..., :3], mode="trinary")).data[0], [100, 0, 0])


def test_heights_are_metres_with_row_0_south(write):
    image = np.zeros((2, 3), np.uint16)
    image[0, 2] = 2844
    found = load_height_map(write(image, height_scale=0.01))
    np.testing.assert_allclose(found.heights_m, [[0, 0, 0], [0, 0, 28.44]], rtol=1e-6)
    assert found.heights_m.dtype == np.float32
    assert found.grid == Grid(3, 2, 0.5, -3.0, 4.0, 0.25)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"image": "gone.png"}, "image: .*gone.png does not exist"),
        ({"image": "map.yaml"}, "image: .*cannot be read as an image"),
        ({"image": None}, "image: missing"),
        ({"resolution": None}, "resolution: missing"),
        ({"resolution": 0}, "resolution: 0.0 must be above 0"),
        ({"resolution": "wide"}, "resolution: 'wide' is not a number"),
        ({"resolution": ".nan"}, "resolution: nan is not finite"),
        ({"origin": None}, "origin: missing"),
        ({"origin": "[0.0]"}, "origin: .*must be"),
        ({"origin": "[0.0, left, 0.0]"}, "origin: 'left' is not a number"),
        ({"mode": "binary"}, "mode: 'binary' must be one of trinary, scale, raw"),
        ({"free_thresh": 0.7}, "free_thresh: .*below occupied_thresh"),
    ],
)
def test_errors_of_a_map_name_the_file_and_the_key(write, changes, key):
    with pytest.raises(InputError, match=rf"map\.yaml: {key}") as refused:
        load_occupancy(write(SHADES, **changes))
    assert refused.value.reason == "map_file"
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("image", "changes", "key"),
    [
        (SHADES, {}, "height_scale: missing"),
        (SHADES, {"height_scale": 0}, "height_scale: .*above 0"),
        (np.zeros((2, 2, 3), np.uint8), {"height_scale": 1}, "image: 3 channels"),
    ],
)
def test_errors_of_a_height_map_name_the_file_and_the_key(write, image, changes, key):
    with pytest.raises(InputError, match=rf"map\.yaml: {key}"):
        load_height_map(write(image, **changes))


@pytest.mark.parametrize("content", ["{", "just words", "[1, 2]", ""])
def test_what_is_no_map_description_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "map.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=r"map\.yaml: ") as refused:
        load_occupancy(path)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.yaml: No such file"):
        load_occupancy(tmp_path / "nowhere.yaml")
