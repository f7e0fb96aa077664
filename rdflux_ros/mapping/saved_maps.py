"""Answers as files: a map_server pair to look at and to serve, and the pathloss as it is."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from rdflux_ros.mapping.inputs import InputError
from rdflux_ros.radio.grid import Grid
from rdflux_ros.radio.radio_map import RadioMap
from rdflux_ros.radio.units import NO_VALUE, occupancy_from_pathloss

RAW_UNKNOWN = 255
"""Grey of a cell without value in a map_server image of mode raw."""


@dataclass(frozen=True)
class SavedMap:
    """What `load_radio_map` finds: pathloss [rows, cols] dB, NaN = no value, row 0 = south; stamp of its pose [ns]."""

    pathloss_db: NDArray[np.float32]
    grid: Grid
    frame_id: str
    stamp_ns: int


def save_radio_map(radio_map: RadioMap, directory: Path) -> Path:
    """Write an answer as ``radio_map_STAMP.yaml``, ``.pgm`` (map_server, mode raw: 0 best .. 100 floor) and ``.npz``.

    Returns
    -------
    Path
        The yaml; `load_radio_map` takes it, and so do map_server and `load_occupancy`.

    Raises
    ------
    OSError
        The directory cannot be made or written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    seconds, nanoseconds = divmod(radio_map.stamp_ns, 1_000_000_000)
    stem = directory / f"radio_map_{seconds}_{nanoseconds:09d}"
    grid = radio_map.grid
    values = occupancy_from_pathloss(radio_map.pathloss_db)
    image = np.where(values == NO_VALUE, RAW_UNKNOWN, values).astype(np.uint8)
    found, encoded = cv2.imencode(".pgm", np.flipud(image))
    assert found
    stem.with_suffix(".pgm").write_bytes(encoded.tobytes())
    np.savez_compressed(
        stem.with_suffix(".npz"),
        pathloss_db=radio_map.pathloss_db,
        resolution=grid.resolution,
        origin=np.array([grid.origin_x, grid.origin_y, grid.yaw]),
        frame_id=radio_map.frame_id,
        stamp_ns=radio_map.stamp_ns,
    )
    description = {
        "image": stem.with_suffix(".pgm").name,
        "mode": "raw",
        "resolution": grid.resolution,
        "origin": [grid.origin_x, grid.origin_y, grid.yaw],
        "negate": 1,
        "occupied_thresh": 0.65,
        "free_thresh": 0.25,
    }
    path = stem.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
    return path


def load_radio_map(path: Path) -> SavedMap:
    """Read what `save_radio_map` wrote, by its yaml or its npz.

    Raises
    ------
    InputError
        ``map_file``: the message names the file.
    """
    path = path.with_suffix(".npz")
    try:
        with np.load(path, allow_pickle=False) as content:
            pathloss = content["pathloss_db"]
            x, y, yaw = (float(value) for value in content["origin"])
            grid = Grid(pathloss.shape[1], pathloss.shape[0], float(content["resolution"]), x, y, yaw)
            return SavedMap(pathloss, grid, str(content["frame_id"]), int(content["stamp_ns"]))
    except OSError as error:
        raise InputError("map_file", f"{path}: {error.strerror or 'not a saved radio map'}") from error
    except (KeyError, ValueError, IndexError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError("map_file", f"{path}: not a saved radio map ({error})") from error
