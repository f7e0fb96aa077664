"""Messages to the layers that the browser view draws; whatever a message has wrong is a `ValueError`."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseArray
from nav_msgs.msg import OccupancyGrid, Path
from numpy.typing import ArrayLike, NDArray
from sensor_msgs.msg import PointCloud2

from rdflux_ros.mapping.inputs import OccupancyInput, Pose
from rdflux_ros.node import conversions
from rdflux_ros.node.transforms import Move
from rdflux_ros.node.view_server import Layer
from rdflux_ros.radio.grid import Grid
from rdflux_ros.radio.units import pathloss_from_occupancy

MAX_PIXELS = 2_000_000
"""Most pixels of a raster in the browser; larger ones are shrunk."""
MAX_POINTS = 1000
"""Most points of a path, a track or the users; longer paths are thinned evenly."""
UNKNOWN_INK = 40
"""How dark a cell is drawn of which the map says nothing, of 255."""


def about(namespace: str, stations: Sequence[Pose]) -> Layer:
    """What stays: namespace, fixed stations, pathloss [dB] of the values 0 to 100 and their colours as rgb cells."""
    pathloss = pathloss_from_occupancy(np.arange(101))
    values = {
        "namespace": namespace,
        "stations": [_numbers((pose.x, pose.y, pose.z)) for pose in stations],
        "pathloss_db": _numbers(pathloss),
    }
    return Layer("about", values, conversions.colors(pathloss).tobytes())


def streets(occupancy: OccupancyInput) -> Layer:
    """How much of each cell is built on, 0 to 255."""
    ink = np.full(256, UNKNOWN_INK, np.uint8)
    ink[:101] = np.rint(np.arange(101) * 2.55)
    cells, step = ink[occupancy.data.view(np.uint8)], _shrinking(occupancy.grid)
    if step > 1:
        cells = np.pad(cells, [(0, -size % step) for size in cells.shape], mode="edge")
        size = cells.shape[1] // step, cells.shape[0] // step
        cells = np.asarray(cv2.resize(cells, size, interpolation=cv2.INTER_AREA), np.uint8)
    return Layer("streets", _raster(occupancy.grid, cells, step), cells.tobytes())


def radio_map(message: OccupancyGrid) -> Layer:
    """The values as they are, 255 where there is none."""
    grid = conversions.occupancy_from_message(message, sys.maxsize)
    step = _shrinking(grid.grid)
    cells = grid.data[::step, ::step]
    return Layer("radio_map", {**_stamp(message), **_raster(grid.grid, cells, step)}, cells.tobytes())


def transmitter(name: str, pose: Pose, track: Iterable[tuple[float, float]]) -> Layer:
    """Where one is and was; each is a layer of its own."""
    return Layer(f"pose {name}", {"position": _numbers((pose.x, pose.y, pose.z)), "track": list(track)})


def status(message: DiagnosticArray) -> Layer:
    """How the answer was found."""
    if len(message.status) != 1:
        raise ValueError(f"{len(message.status)} statuses in one message")
    return Layer("status", {**_stamp(message), **_diagnosis(message.status[0])})


def health(status: DiagnosticStatus) -> Layer:
    """How the mapper is."""
    return Layer("health", _diagnosis(status))


def path(message: Path, move: Move | None) -> Layer:
    """The planned path's points."""
    chosen = [message.poses[number].pose.position for number in _thinned(len(message.poses))]
    return Layer("path", {**_stamp(message), "points": _points([(at.x, at.y, at.z) for at in chosen], move)})


def along_path(message: PointCloud2, move: Move | None) -> Layer:
    """Figures along a path."""
    columns = conversions.points_from_message(message)
    if missing := sorted(set(conversions.ALONG_PATH) - columns.keys()):
        raise ValueError(f"no float32 field {', '.join(missing)}")
    chosen = _thinned(len(columns["x"]))
    values = {name: _numbers(columns[name][chosen]) for name in conversions.ALONG_PATH[3:]}
    points = np.stack([columns[axis][chosen] for axis in "xyz"], axis=1)
    return Layer("along_path", {**_stamp(message), "points": _points(points, move), **values})


def users(message: PoseArray, move: Move | None) -> Layer:
    """Ground users, and how many there are where not all are drawn."""
    chosen = [message.poses[number].position for number in _thinned(len(message.poses))]
    points = _points([(at.x, at.y, at.z) for at in chosen], move)
    return Layer("users", {"count": len(message.poses), "points": points})


def _shrinking(grid: Grid) -> int:
    """Cells that become one along an edge, so that a raster keeps to `MAX_PIXELS`."""
    return math.ceil(math.sqrt(grid.width * grid.height / MAX_PIXELS))


def _raster(grid: Grid, cells: NDArray[Any], step: int) -> dict[str, Any]:
    """Where cells lie of which each is `step` x `step` of the grid's."""
    return {
        "width": cells.shape[1],
        "height": cells.shape[0],
        "resolution": grid.resolution * step,
        "origin": [grid.origin_x, grid.origin_y],
        "yaw": grid.yaw,
    }


def _thinned(count: int) -> NDArray[np.int64]:
    """Indices of at most `MAX_POINTS`, evenly spread, first and last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, MAX_POINTS)).round().astype(np.int64))


def _points(points: ArrayLike, move: Move | None) -> list[list[float | None]]:
    found = np.asarray(points, float).reshape(-1, 3)
    return [_numbers(point) for point in (found if move is None else move.points(found))]


def _numbers(values: Iterable[float]) -> list[float | None]:
    """For JSON, which knows no NaN."""
    return [round(float(value), 3) if math.isfinite(value) else None for value in values]


def _stamp(message: Any) -> dict[str, float]:
    return {"stamp": conversions.ns_from_stamp(message.header.stamp) / conversions.NANOSECONDS}


def _diagnosis(status: DiagnosticStatus) -> dict[str, Any]:
    return {
        "level": status.level[0],
        "device": status.hardware_id,
        "message": status.message,
        "values": {pair.key: pair.value for pair in status.values},
    }
