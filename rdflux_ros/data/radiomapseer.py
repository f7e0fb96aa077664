"""Radio map datasets in RadioMapSeer's folder layout, as published and with building heights.

Two layouts are read:

- *with heights*: ``split.json``, ``antenna/{scene}.json`` = [[x, y, z], ...] in metres from the
  south-west corner, ``png/buildingsWHeight`` (uint8 metres), ``png/surroundings`` (uint16
  centimetres at 0.25 m, the window and 24 m on each side), ``png/cars``, ``gain/static|cars``;
- *as published* (Yapar et al., RadioMapSeer: 700 maps x 80 transmitters): ``png/buildings_complete``,
  ``png/cars``, ``antenna/{map}.json`` = [[x, y], ...] in pixels with y counted from the south
  (image row = 255 - y), ``gain/DPM|carsDPM`` (its other simulations are not read); buildings are 25 m
  high and the transmitters stand at 1.5 m. The usual split: 0..699 shuffled by numpy with seed 42,
  plus 1, the first 500 train, the next 100 val, the last 100 test.

Image files have row 0 in the north; samples have it in the south.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdflux_ros.radio.grid import MARGIN_M, WINDOW_M

PUBLISHED_HEIGHT_M = 25.0
"""Height of every building in RadioMapSeer as published [m]."""
PUBLISHED_TRANSMITTER_M = 1.5
"""Height of every transmitter in RadioMapSeer as published [m]."""
FARTHEST_M = 1e6
"""No coordinate is as large [m, or pixels as published]."""


class DataError(ValueError):
    """A dataset is not there, not in a known layout or damaged; the message names the file."""


@dataclass(frozen=True)
class Sample:
    """One transmitter over one scene, with its true radio map.

    Parameters
    ----------
    scene, transmitter
        Name of the streets and number of the transmitter on them.
    position
        [3] x, y [m] from the window's south-west corner, z [m] above ground.
    heights_m
        [256, 256] float32 building heights [m], 0 = free.
    surroundings_m, resolution
        [N, N] float32 heights [m] of the window and 24 m on each side, in cells of `resolution` [m].
    cars
        [256, 256] bool cells under cars; all False where the map has none.
    grey
        [256, 256] float32 true path gain on the grey scale (`radio.units`), 0 where there is no value.
    """

    scene: str
    transmitter: int
    position: NDArray[np.float64]
    heights_m: NDArray[np.float32]
    surroundings_m: NDArray[np.float32]
    resolution: float
    cars: NDArray[np.bool_]
    grey: NDArray[np.float32]

    @property
    def name(self) -> str:
        """``{scene}_{transmitter}``, as the image files are called."""
        return f"{self.scene}_{self.transmitter}"

    @property
    def free(self) -> NDArray[np.bool_]:
        """[256, 256] cells that have a value: no building, no car."""
        return (self.heights_m == 0) & ~self.cars


def read_image(path: Path) -> NDArray[np.integer]:
    """A grey image as it is stored, flipped so that row 0 is in the south.

    Raises
    ------
    DataError
        The file is missing, unreadable or has more than one channel.
    """
    import cv2

    if not path.is_file():
        raise DataError(f"{path}: no such file")
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise DataError(f"{path}: not a readable image")
    if image.ndim != 2:
        raise DataError(f"{path}: expected a grey image, found {image.shape[2]} channels")
    pixels: NDArray[np.integer] = np.asarray(image[::-1])
    return pixels


def read_grey(path: Path) -> NDArray[np.float32]:
    """An 8-bit map as grey in [0, 1], row 0 = south; raises `DataError` as `read_image`."""
    image = read_image(path)
    if image.dtype != np.uint8:
        raise DataError(f"{path}: expected 8 bits a pixel, found {image.dtype}")
    return image.astype(np.float32) / 255.0


def read_json(path: Path) -> object:
    """Parsed JSON; raises `DataError` naming the file."""
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error})") from error


def published_split() -> dict[str, list[str]]:
    """RadioMapSeer's usual split of its maps 1..700: 500 train, 100 val, 100 test."""
    maps = np.arange(700)
    np.random.RandomState(42).shuffle(maps)
    names = [str(number + 1) for number in maps]
    return {"train": names[:500], "val": names[500:600], "test": names[600:]}


class RadioMapSeer:
    """A split of a dataset on disk as a sequence of `Sample`, scene by scene.

    Parameters
    ----------
    root
        The dataset's folder, in either layout.
    split
        ``train``, ``val`` or ``test``.
    cars
        The maps with cars on the streets, with their cars, instead of those without.

    Raises
    ------
    DataError
        The folder has neither layout, the split is missing or nothing of it is there.
    """

    def __init__(self, root: Path | str, split: str = "test", *, cars: bool = False) -> None:
        self.root, self.split, self.cars = Path(root), split, cars
        if not self.root.is_dir():
            raise DataError(f"{self.root}: no such folder")
        if (self.root / "split.json").is_file():
            self.has_heights = True
            self._gain = self.root / "gain" / ("cars" if cars else "static")
            splits = read_json(self.root / "split.json")
        elif (self.root / "png" / "buildings_complete").is_dir():
            self.has_heights = False
            self._gain = self.root / "gain" / ("carsDPM" if cars else "DPM")
            splits = published_split()
        else:
            raise DataError(f"{self.root}: neither split.json nor png/buildings_complete, so no layout known here")
        if not isinstance(splits, dict) or not isinstance(splits.get(split), list):
            raise DataError(f"{self.root}: no split {split!r}")
        if not self._gain.is_dir():
            raise DataError(f"{self._gain}: no such folder")
        self._antennas: dict[str, NDArray[np.float64]] = {}
        self._index: list[tuple[str, int]] = []
        for scene in map(str, splits[split]):
            self._add_scene(scene)
        if not self._index:
            raise DataError(f"{self.root}: no maps of split {split!r} in {self._gain}")

    def _add_scene(self, scene: str) -> None:
        path = self.root / "antenna" / f"{scene}.json"
        # A part of RadioMapSeer is a usual thing to have; a scene that split.json names must be there.
        if not self.has_heights and not path.is_file():
            return
        antennas = read_json(path)
        length = 3 if self.has_heights else 2
        if not isinstance(antennas, list) or not all(_is_point(entry, length) for entry in antennas):
            raise DataError(f"{path}: expected a list of [{'x, y, z' if self.has_heights else 'x, y'}], in numbers")
        self._antennas[scene] = np.array([entry[:length] for entry in antennas], np.float64)
        there = [k for k in range(len(antennas)) if (self._gain / f"{scene}_{k}.png").is_file()]
        if self.has_heights and not self.cars and len(there) < len(antennas):
            raise DataError(f"{self._gain}: {len(antennas)} transmitters of {scene}, but {len(there)} maps")
        self._index += [(scene, k) for k in there]

    @property
    def names(self) -> list[str]:
        """``{scene}_{transmitter}`` of every sample, in order."""
        return [f"{scene}_{k}" for scene, k in self._index]

    @property
    def positions(self) -> NDArray[np.float64]:
        """[N, 3] transmitter of every sample: x, y [m] from the window's south-west corner, z [m] above ground."""
        return np.array([self._position(scene, k) for scene, k in self._index])

    @property
    def files(self) -> list[Path]:
        """What the samples are read from."""
        buildings = ["buildingsWHeight", "surroundings"] if self.has_heights else ["buildings_complete"]
        folders = buildings + ["cars"] * self.cars
        scenes = dict.fromkeys(scene for scene, _ in self._index)
        return [
            *(self.root / "antenna" / f"{scene}.json" for scene in scenes),
            *(self.root / "png" / folder / f"{scene}.png" for folder in folders for scene in scenes),
            *(self._gain / f"{name}.png" for name in self.names),
        ]

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> Sample:
        """The sample; raises `DataError` where one of its files is missing or damaged."""
        scene, k = self._index[index]
        heights = self._heights(scene)
        surroundings, resolution = self._surroundings(scene, heights)
        return Sample(
            scene=scene,
            transmitter=k,
            position=self._position(scene, k),
            heights_m=heights,
            surroundings_m=surroundings,
            resolution=resolution,
            cars=self._cars(scene),
            grey=self._window(read_grey(self._gain / f"{scene}_{k}.png"), self._gain / f"{scene}_{k}.png"),
        )

    @staticmethod
    def _window(image: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
        if image.shape != (WINDOW_M, WINDOW_M):
            raise DataError(f"{path}: {image.shape[1]} x {image.shape[0]} pixels, expected {WINDOW_M} x {WINDOW_M}")
        return image

    def _position(self, scene: str, k: int) -> NDArray[np.float64]:
        place = self._antennas[scene][k]
        # Published positions are pixels; the antenna stands in the middle of its pixel.
        return place.copy() if self.has_heights else np.array([*(place + 0.5), PUBLISHED_TRANSMITTER_M])

    def _heights(self, scene: str) -> NDArray[np.float32]:
        if self.has_heights:
            path = self.root / "png" / "buildingsWHeight" / f"{scene}.png"
            return self._window(read_image(path).astype(np.float32), path)
        path = self.root / "png" / "buildings_complete" / f"{scene}.png"
        occupied = self._window(read_image(path).astype(np.float32), path) > 0
        return np.where(occupied, np.float32(PUBLISHED_HEIGHT_M), np.float32(0.0))

    def _surroundings(self, scene: str, heights: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        if not self.has_heights:
            return np.pad(heights, int(MARGIN_M)), 1.0
        path = self.root / "png" / "surroundings" / f"{scene}.png"
        metres = read_image(path).astype(np.float32) / 100.0
        resolution = 0.25
        side = round((WINDOW_M + 2 * MARGIN_M) / resolution)
        if metres.shape != (side, side):
            raise DataError(f"{path}: {metres.shape[1]} x {metres.shape[0]} pixels, expected {side} x {side}")
        return metres, resolution

    def _cars(self, scene: str) -> NDArray[np.bool_]:
        if not self.cars:
            return np.zeros((WINDOW_M, WINDOW_M), bool)
        path = self.root / "png" / "cars" / f"{scene}.png"
        return self._window(read_image(path).astype(np.float32), path) > 0


def _is_point(entry: Any, length: int) -> bool:
    """A list that begins with `length` coordinates; NaN is none."""
    return (
        isinstance(entry, list)
        and len(entry) >= length
        and all(type(value) in (int, float) and abs(value) < FARTHEST_M for value in entry[:length])
    )


def spread(length: int, limit: int | None) -> list[int]:
    """Numbers of `limit` of so many samples, evenly spread; of all where there are no more, or it is 0 or None."""
    return [int(k) for k in np.linspace(0, length - 1, min(limit or length, length)).round()]
