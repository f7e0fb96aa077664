"""Two tiny scenes to answer over."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from rdflux_ros.radio.units import free_space_gain, grey_from_gain

ANTENNAS = [[60.0, 240.0, 80.0], [190.0, 30.0, 20.0], [30.0, 30.0, 2.0]]


def make_scenes(root: Path, scenes: Iterable[str] = ("a", "b"), antennas: list[list[float]] = ANTENNAS) -> Path:
    """A test split of scenes with one building each, elsewhere in each; the truth is free space outside it.

    With cars each scene has one, and maps of its first transmitter.
    """
    for folder in ("antenna", "png/buildingsWHeight", "png/surroundings", "png/cars", "gain/static", "gain/cars"):
        (root / folder).mkdir(parents=True)
    (root / "split.json").write_text(json.dumps({"train": [], "val": [], "test": list(scenes)}))
    cars = np.zeros((256, 256), np.uint8)
    cars[60:100, 200:210] = 255
    y, x = np.indices((256, 256)) + 0.5
    for number, scene in enumerate(scenes):
        coarse = np.zeros((304, 304), np.uint16)
        coarse[100 + 50 * number : 140 + 50 * number, 120:150] = 18
        heights = coarse[24:280, 24:280]
        write(root / "png" / "buildingsWHeight" / f"{scene}.png", heights.astype(np.uint8))
        write(root / "png" / "surroundings" / f"{scene}.png", np.kron(100 * coarse, np.ones((4, 4), np.uint16)))
        write(root / "png" / "cars" / f"{scene}.png", cars)
        (root / "antenna" / f"{scene}.json").write_text(json.dumps(antennas))
        for k, (tx, ty, tz) in enumerate(antennas):
            distance = np.sqrt((x - tx) ** 2 + (y - ty) ** 2 + (1.5 - tz) ** 2)
            grey = np.rint(255 * grey_from_gain(free_space_gain(distance))) * (heights == 0)
            write(root / "gain" / "static" / f"{scene}_{k}.png", grey.astype(np.uint8))
            if k == 0:
                write(root / "gain" / "cars" / f"{scene}_{k}.png", (grey * (cars == 0)).astype(np.uint8))
    return root


def write(path: Path, south_up: np.ndarray) -> None:
    """Save an image; files have row 0 in the north."""
    assert cv2.imwrite(str(path), south_up[::-1])
