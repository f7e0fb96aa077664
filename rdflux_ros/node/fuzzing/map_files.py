"""Map files: read as map_server reads them, or refused in one line that names the file; nothing else is raised."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from rdflux_ros.mapping.inputs import HeightMap, InputError, OccupancyInput, load_height_map, load_occupancy
from rdflux_ros.node.fuzzing.property import Property

Values = dict[str, Any]
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.dates(), st.binary(max_size=3)
)
ANYTHING = SCALARS | st.lists(SCALARS, max_size=4) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "image": st.just("map.png"),
    "resolution": st.floats(0.01, 10.0),
    "origin": st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=3),
    "negate": st.sampled_from([0, 1]),
    "occupied_thresh": st.floats(0.5, 1.0),
    "free_thresh": st.floats(0.0, 0.45),
    "mode": st.sampled_from(["trinary", "scale", "raw"]),
    "height_scale": st.floats(1e-3, 10.0),
}
KINDS = st.sampled_from([np.uint8, np.uint16])
SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 5)) | st.tuples(
    st.integers(1, 5), st.integers(1, 5), st.sampled_from([3, 4])
)
IMAGES = st.tuples(KINDS, SHAPES).flatmap(lambda drawn: arrays.arrays(*drawn))


@st.composite
def descriptions(draw: st.DrawFn, spoilt: bool) -> Values:
    """What a map's yaml says; `spoilt`: some keys hold anything or are missing."""
    values = {key: draw(good) for key, good in GOOD.items()}
    for key in draw(st.sets(st.sampled_from(sorted(GOOD)), max_size=3)) if spoilt else ():
        values[key] = draw(ANYTHING)
        if draw(st.booleans()):
            del values[key]
    return values


FILES = st.tuples(
    descriptions(spoilt=True).map(lambda values: yaml.safe_dump(values).encode()) | st.binary(max_size=60),
    IMAGES.map(lambda pixels: bytes(cv2.imencode(".png", pixels)[1])) | st.binary(max_size=60),
)
"""A yaml and its image, as bytes that may be anything."""
MAPS = st.tuples(descriptions(spoilt=False), IMAGES)


def with_files(text: bytes, image: bytes, use: Callable[[Path], None]) -> None:
    """Use the files in a folder of their own."""
    with tempfile.TemporaryDirectory(prefix="rdflux_fuzz_") as folder:
        path = Path(folder) / "map.yaml"
        path.write_bytes(text)
        (Path(folder) / "map.png").write_bytes(image)
        use(path)


def read_or_refused_in_one_line(files: tuple[bytes, bytes]) -> None:
    """Both loaders with any bytes."""

    def read(path: Path, reader: Callable[[Path], OccupancyInput | HeightMap]) -> None:
        try:
            found = reader(path)
        except InputError as error:
            assert error.reason == "map_file" and str(path.parent) in str(error) and "\n" not in str(error)
        else:
            shape = found.data.shape if isinstance(found, OccupancyInput) else found.heights_m.shape
            assert shape == found.grid.shape and math.isfinite(found.grid.origin_x)

    for reader in (load_occupancy, load_height_map):
        with_files(*files, lambda path, reader=reader: read(path, reader))  # type: ignore[misc]


def cells_are_as_map_server_has_them(drawn: tuple[Values, NDArray[Any]]) -> None:
    """Every pixel, by nav2_map_server's rules said anew; row 0 is the image's last."""
    values, pixels = drawn

    def use(path: Path) -> None:
        found = load_occupancy(path)
        rows = pixels.shape[0]
        assert found.data.shape == pixels.shape[:2]
        for row, col in np.ndindex(*pixels.shape[:2]):
            assert found.data[rows - 1 - row, col] in _cells(values, np.atleast_1d(pixels[row, col])), (row, col)
        grid = found.grid
        assert [grid.origin_x, grid.origin_y, grid.yaw] == [*values["origin"], 0.0][:3]
        assert grid.resolution == values["resolution"]
        if pixels.ndim == 2:
            heights = load_height_map(path).heights_m
            np.testing.assert_allclose(heights[::-1], pixels * values["height_scale"], rtol=1e-6)

    with_files(yaml.safe_dump(values).encode(), bytes(cv2.imencode(".png", pixels)[1]), use)


def _cells(values: Values, pixel: NDArray[Any]) -> set[int]:
    """What a pixel may become: more than one value where rounding or a limit may fall either way."""
    mode, full = values["mode"], float(np.iinfo(pixel.dtype).max)
    channels = [float(value) / full for value in pixel]
    alpha = channels.pop() if len(channels) == 4 and mode != "trinary" else 1.0
    found = set()
    for nudge in (-1e-9, 0.0, 1e-9):
        shade = sum(channels) / len(channels) + nudge
        occupancy = shade if values["negate"] else 1.0 - shade
        if mode == "raw":
            raw = round(shade * 255.0)
            found.add(raw if raw <= 100 else -1)
        elif mode == "scale" and alpha < 1.0:
            found.add(-1)
        elif occupancy > values["occupied_thresh"]:
            found.add(100)
        elif occupancy < values["free_thresh"]:
            found.add(0)
        elif mode == "scale":
            span = values["occupied_thresh"] - values["free_thresh"]
            found.add(round((occupancy - values["free_thresh"]) / span * 100.0))
        else:
            found.add(-1)
    return found


PROPERTIES = (
    Property("map files are read or refused in one line", FILES, read_or_refused_in_one_line),
    Property("cells are as map_server has them", MAPS, cells_are_as_map_server_has_them),
)
