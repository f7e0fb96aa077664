"""What comes in, checked: poses, occupancy grids, map files; and the one raster of streets made from them."""

from __future__ import annotations

import array
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import ArrayLike, NDArray

from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.propagation.sharpening import COARSE_M, finer_by, sharpened
from rdflux_ros.radio.grid import Grid
from rdflux_ros.settings import SettingError

MAX_CELLS_PER_METRE = 4
"""Walls are kept down to 0.25 m."""
MOST_STATIONS = 100
"""Servers are numbered in int8, moving ones included."""
HEIGHT_MAP_REACH_M = 200.0
"""How far beyond the occupancy grid a height map is used [m]: as far as a window and its margin reach."""
FARTHEST_M = 1e8
"""Coordinates beyond are refused: a cell's place would be lost in rounding [m]."""
_UNKNOWN, _FREE, _OCCUPIED = 0, 1, 2  # ordered so that the maximum is who wins
_MAX_TILT = math.radians(1.0)


class InputError(ValueError):
    """An input cannot be used; `reason` is a short key for counters, the message says what was wrong."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


# --- poses ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pose:
    """Position in the map frame [m], z as the pose says, and its stamp [ns]."""

    x: float
    y: float
    z: float
    stamp_ns: int = 0


def checked_pose(position: Sequence[float], orientation_xyzw: Sequence[float] | None, stamp_ns: int) -> Pose:
    """A pose of finite numbers.

    Raises
    ------
    InputError
        ``pose_not_finite``: NaN or Inf in position or orientation; ``pose_zero_quaternion``.
    """
    x, y, z = (float(value) for value in position)
    if not all(math.isfinite(value) for value in (x, y, z)):
        raise InputError("pose_not_finite", f"pose ({x}, {y}, {z}) is not finite")
    if orientation_xyzw is not None:
        if not all(math.isfinite(value) for value in orientation_xyzw):
            raise InputError("pose_not_finite", f"orientation {tuple(orientation_xyzw)} of the pose is not finite")
        if math.hypot(*orientation_xyzw) < 1e-6:
            raise InputError("pose_zero_quaternion", "orientation of the pose is a zero quaternion")
    return Pose(x, y, z, int(stamp_ns))


def parsed_stations(text: str) -> list[Pose]:
    """Fixed base stations out of the setting `stations`, ``x y z; x y z`` in the map frame [m].

    Raises
    ------
    SettingError
        The text is no such list.
    """
    found = []
    for entry in filter(str.strip, text.split(";")):
        try:
            x, y, z = (float(value) for value in entry.split())
        except ValueError:
            raise SettingError(f"stations = {text!r}: '{entry.strip()}' must be three numbers, x y z [m]") from None
        if not all(math.isfinite(value) for value in (x, y, z)):
            raise SettingError(f"stations = {text!r}: '{entry.strip()}' is not finite")
        found.append(Pose(x, y, z))
    if len(found) > MOST_STATIONS:
        raise SettingError(f"stations: {len(found)} of them; must be at most {MOST_STATIONS}")
    return found


# --- occupancy grids ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OccupancyInput:
    """An occupancy grid as it came: int8 [rows, cols], row 0 = south, -1 unknown, 0 free .. 100 occupied."""

    data: NDArray[np.int8]
    grid: Grid
    frame_id: str
    stamp_ns: int = 0
    """0: as old as a file."""


def checked_occupancy(
    data: bytes | bytearray | memoryview | array.array[int] | ArrayLike,
    width: int,
    height: int,
    resolution: float,
    origin_xyz: Sequence[float],
    origin_quaternion: Sequence[float],
    frame_id: str,
    max_cells: int,
    stamp_ns: int = 0,
) -> OccupancyInput:
    """An occupancy grid whose parts fit together.

    Parameters
    ----------
    data
        Row-major int8 cells from the south-west corner on, as bytes, ``array.array('b')`` or array-like.
    origin_xyz, origin_quaternion
        Pose of the corner of cell (0, 0) [m], (x, y, z, w); only its yaw may turn the map.

    Raises
    ------
    InputError
        ``map_malformed``, or ``map_too_large`` beyond `max_cells`; the message says what is wrong.
    """
    if not frame_id:
        raise _malformed("frame_id is empty")
    if width < 1 or height < 1:
        raise _malformed(f"{width} x {height} cells")
    if width * height > max_cells:
        raise InputError("map_too_large", f"map of {width} x {height} cells exceeds map_max_cells = {max_cells}")
    if not (math.isfinite(resolution) and resolution >= 1e-6):
        raise _malformed(f"resolution = {resolution}")
    if not all(math.isfinite(value) for value in (*origin_xyz, *origin_quaternion)):
        raise _malformed("origin is not finite")
    cells = _int8(data)
    if cells.size != width * height:
        raise _malformed(f"{cells.size} cells of data for {width} x {height}")
    grid = Grid(
        width, height, _decimal(resolution), float(origin_xyz[0]), float(origin_xyz[1]), _yaw(origin_quaternion)
    )
    if _too_far(grid):
        raise _malformed(f"it reaches beyond {FARTHEST_M:g} m")
    return OccupancyInput(cells.reshape(height, width), grid, frame_id, stamp_ns)


def obstacle_cells(obstacles: OccupancyInput, window: Grid, config: MapperConfig) -> NDArray[np.bool_]:
    """Cells of a window in which an obstacle stands; occupied wins, beyond the obstacles' grid there are none."""
    occupied = obstacles.data >= config.occupied_threshold
    return _resampled(occupied, obstacles.grid, window, np.False_)


def _too_far(grid: Grid) -> bool:
    reach = max(abs(grid.origin_x), abs(grid.origin_y)) + max(grid.width, grid.height) * grid.resolution
    return not reach <= FARTHEST_M


def _malformed(what: str) -> InputError:
    return InputError("map_malformed", f"malformed map: {what}")


def _int8(data: Any) -> NDArray[np.int8]:
    if isinstance(data, (bytes, bytearray, memoryview, array.array)):
        return np.frombuffer(data, np.int8).copy()  # the caller may reuse its buffer
    try:
        return np.array(data, np.int8).ravel()
    except (OverflowError, TypeError, ValueError):
        raise _malformed("data does not fit int8") from None


def _decimal(resolution: float) -> float:
    """MapMetaData carries float32: 0.05 arrives as 0.05000000075, which shifts the far end of a map."""
    single = np.float32(resolution)
    return float(str(single)) if float(single) == resolution else float(resolution)


def _yaw(quaternion: Sequence[float]) -> float:
    norm = math.hypot(*quaternion)
    if norm < 1e-6:
        raise _malformed("origin has a zero quaternion")
    x, y, z, w = (value / norm for value in quaternion)
    if math.acos(max(-1.0, min(1.0, 1.0 - 2.0 * (x * x + y * y)))) > _MAX_TILT:
        raise _malformed("origin is tilted out of the ground plane")
    return math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


# --- map files ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HeightMap:
    """Building heights above ground [m], float32 [rows, cols], row 0 = south, 0 = free."""

    heights_m: NDArray[np.float32]
    grid: Grid


def load_occupancy(map_yaml: Path, frame_id: str = "map") -> OccupancyInput:
    """Read a map_server map (yaml and image), as nav2_map_server does: modes trinary, scale and raw.

    Raises
    ------
    InputError
        ``map_file``: the message names the file and the key.
    """
    description = _MapFile(map_yaml)
    mode = description.choice("mode", ("trinary", "scale", "raw"), "trinary")
    occupied = description.number("occupied_thresh", 0.65)
    free = description.number("free_thresh", 0.25)
    if not 0.0 <= free < occupied <= 1.0:
        raise description.error("free_thresh", f"{free} must be below occupied_thresh = {occupied}, both in 0 to 1")
    negate = bool(description.number("negate", 0))
    image = description.image()
    shade, opaque = _shade(image, with_alpha=mode == "trinary")
    occupancy = shade if negate else 1.0 - shade
    if mode == "raw":
        raw = np.rint(shade * 255.0)
        cells = np.where(raw <= 100, raw, -1)
    else:
        between = np.rint((occupancy - free) / (occupied - free) * 100.0) if mode == "scale" else -1
        cells = np.where(occupancy > occupied, 100, np.where(occupancy < free, 0, between))
        if mode == "scale":
            cells = np.where(opaque, cells, -1)
    return OccupancyInput(np.flipud(cells).astype(np.int8), description.grid(image), frame_id)


def load_height_map(height_yaml: Path) -> HeightMap:
    """Read a height map: a map_server-style yaml with `height_scale`, image value times `height_scale` is metres.

    Raises
    ------
    InputError
        ``map_file``: the message names the file and the key.
    """
    description = _MapFile(height_yaml)
    scale = description.number("height_scale")
    if scale <= 0:
        raise description.error("height_scale", f"{scale} must be above 0 [m]")
    image = description.image()
    if image.ndim != 2:
        raise description.error("image", f"{image.shape[2]} channels, expected one")
    heights = np.flipud(image).astype(np.float32) * np.float32(scale)
    if not (np.isfinite(heights).all() and (heights >= 0).all()):
        raise description.error("image", "heights must be finite and not negative")
    return HeightMap(heights, description.grid(image))


class _MapFile:
    """A map_server-style yaml whose errors name file and key."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            values = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError("map_file", f"{self.path}: {error.strerror or error}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError("map_file", f"{self.path}: not a yaml file ({' '.join(str(error).split())})") from error
        if not isinstance(values, dict):
            raise InputError("map_file", f"{self.path}: expected keys like image, resolution, origin")
        self.values = values

    def error(self, key: str, what: str) -> InputError:
        return InputError("map_file", f"{self.path}: {key}: {what}")

    def _get(self, key: str, default: Any) -> Any:
        value = self.values.get(key, default)
        if value is None:
            raise self.error(key, "missing")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        return self._finite(key, self._get(key, default))

    def _finite(self, key: str, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise self.error(key, f"{value!r} is not a number") from None
        if not math.isfinite(number):
            raise self.error(key, f"{value!r} is not finite")
        return number

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str:
        value = self._get(key, default)
        if value not in choices:
            raise self.error(key, f"{value!r} must be one of {', '.join(choices)}")
        return str(value)

    def image(self) -> NDArray[Any]:
        name = self._get("image", None)
        if not isinstance(name, str):
            raise self.error("image", f"{name!r} is not a file name")
        path = self.path.parent / name
        if not path.is_file():
            raise self.error("image", f"{path} does not exist")
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is None:
            raise self.error("image", f"{path} cannot be read as an image")
        return np.asarray(image)

    def grid(self, image: NDArray[Any]) -> Grid:
        resolution = self.number("resolution")
        if resolution < 1e-6:
            raise self.error("resolution", f"{resolution} must be above 0 [m]")
        origin = self._get("origin", None)
        if not isinstance(origin, list) or len(origin) not in (2, 3):
            raise self.error("origin", f"{origin!r} must be [x, y, yaw]")
        x, y, yaw = (self._finite("origin", value) for value in [*origin, 0.0][:3])
        grid = Grid(image.shape[1], image.shape[0], resolution, x, y, yaw)
        if _too_far(grid):
            raise self.error("origin", f"the map reaches beyond {FARTHEST_M:g} m")
        return grid


def _shade(image: NDArray[Any], with_alpha: bool) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Brightness in 0 to 1 and where the image is opaque; map_server averages alpha in for trinary maps."""
    full = float(np.iinfo(image.dtype).max) if np.issubdtype(image.dtype, np.integer) else 1.0
    channels = (image[..., None] if image.ndim == 2 else image) / full
    has_alpha = channels.shape[2] in (2, 4)
    opaque = channels[..., -1] == 1.0 if has_alpha else np.ones(channels.shape[:2], bool)
    return channels[..., : None if with_alpha or not has_alpha else -1].mean(-1), opaque


# --- the raster of streets ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StreetMap:
    """Buildings on rasters along the map frame's axes; row 0 = south.

    Parameters
    ----------
    heights_m
        float32 [R, C] building heights above ground [m] on `grid`, 0 = free; what the walls are traced on.
    grid
        Cells of 1, 1/2, 1/3 or 1/4 m whose lines include the whole metres of the map frame.
    covered
        bool [R, C] on `grid`; False where the map says nothing.
    buildings, buildings_covered
        bool [r, c] on `buildings_grid`: 1 m cells in which a building stands, and those the map says something of.
    extent
        The occupancy grid as it came: what is "on the map".
    """

    heights_m: NDArray[np.float32]
    grid: Grid
    covered: NDArray[np.bool_]
    buildings: NDArray[np.bool_]
    buildings_covered: NDArray[np.bool_]
    buildings_grid: Grid
    extent: Grid
    frame_id: str

    def differs_from(self, other: StreetMap) -> NDArray[np.bool_]:
        """Cells of `grid` whose height is another one in a map of the same frame; beyond that map all is free."""
        same = self.grid == other.grid
        known = other.heights_m if same else _resampled(other.heights_m, other.grid, self.grid, np.float32(0))
        return np.asarray(known != self.heights_m)


def street_map(occupancy: OccupancyInput, config: MapperConfig, height_map: HeightMap | None = None) -> StreetMap:
    """Turn and resample a map onto the axes of the map frame.

    The walls keep the resolution of the height map, or else of the occupancy grid, within 0.25 to 1 m, and their place
    (`_built`). Where the height map covers, its outline and heights rule; occupied cells outside it, and connected
    occupied cells none of which has a height, are `building_height_m` high. The 1 m cells without value follow the
    occupancy grid where it says something; what is occupied wins there.

    Raises
    ------
    InputError
        ``map_too_large``: the map or the raster exceeds `map_max_cells`.
    """
    _check_cells("has", occupancy.grid, config)
    own_state = _state(occupancy, config)
    grid = _raster_grid(occupancy.grid, height_map.grid if height_map else None)
    _check_cells("needs", grid, config)
    state = _resampled(own_state, occupancy.grid, grid, np.uint8(_UNKNOWN))
    occupied = state == _OCCUPIED
    covered = state != _UNKNOWN
    built = _built(own_state == _OCCUPIED, occupied, occupancy.grid, grid, config)
    heights = np.where(built & covered, np.float32(config.building_height_m), np.float32(0))
    building_cells, covered_cells = _per_metre(occupied, grid), _per_metre(covered, grid)
    if height_map is not None:
        known = _resampled(height_map.heights_m, height_map.grid, grid, np.float32(-1))
        heights = _with_known_heights(heights, known)
        building_cells |= _per_metre(known > 0, grid) & ~covered_cells
        covered |= known >= 0
        covered_cells |= _per_metre(known >= 0, grid)
    per_metre = round(1 / grid.resolution)
    cells_grid = Grid(grid.width // per_metre, grid.height // per_metre, 1.0, grid.origin_x, grid.origin_y)
    return StreetMap(
        heights, grid, covered, building_cells, covered_cells, cells_grid, occupancy.grid, occupancy.frame_id
    )


def _check_cells(has_or_needs: str, grid: Grid, config: MapperConfig) -> None:
    if grid.width * grid.height > config.map_max_cells:
        raise InputError(
            "map_too_large",
            f"map {has_or_needs} {grid.width} x {grid.height} cells of {grid.resolution:g} m, "
            f"which exceeds map_max_cells = {config.map_max_cells}",
        )


def _state(occupancy: OccupancyInput, config: MapperConfig) -> NDArray[np.uint8]:
    data = occupancy.data
    unknown, occupied, free = (np.uint8(value) for value in (_UNKNOWN, _OCCUPIED, _FREE))
    state = np.where(data < 0, unknown, np.where(data >= config.occupied_threshold, occupied, free))
    if config.fill_enclosed and (state == _FREE).any():
        state[_unreached(state)] = _OCCUPIED
    return state


def _unreached(state: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Cells from which no way of unknown and free cells leads to a free one (walls too); walls hold diagonally."""
    count, labels = cv2.connectedComponents((state != _OCCUPIED).astype(np.uint8), connectivity=4)
    reached = np.zeros(count, bool)
    reached[labels[state == _FREE]] = True
    return ~reached[labels]


def _with_known_heights(heights: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """Heights of a height map (`known`, -1 outside it) over those of the occupancy grid."""
    _, labels = cv2.connectedComponents((heights > 0).astype(np.uint8), connectivity=8)
    has_height = np.zeros(labels.max() + 1, bool)
    has_height[labels[known > 0]] = True
    has_height[0] = True
    return np.where((known < 0) | ~has_height[labels], heights, known)


def _raster_grid(source: Grid, height_grid: Grid | None) -> Grid:
    """The raster of whole metres around the map (and around the height map as far as windows reach)."""
    west, south, east, north = _bounds(source)
    per_metre = _cells_per_metre(source)
    if height_grid is not None:
        h_west, h_south, h_east, h_north = _bounds(height_grid)
        reach = HEIGHT_MAP_REACH_M
        if h_west < east + reach and h_east > west - reach and h_south < north + reach and h_north > south - reach:
            per_metre = _cells_per_metre(height_grid)
            west, east = min(west, max(h_west, west - reach)), max(east, min(h_east, east + reach))
            south, north = min(south, max(h_south, south - reach)), max(north, min(h_north, north + reach))
    tolerance = min(1e-3, 0.1 * source.resolution)  # an edge that is whole but for rounding; no cell is as small
    west, south = math.floor(west + tolerance), math.floor(south + tolerance)
    east, north = math.ceil(east - tolerance), math.ceil(north - tolerance)
    width, height = max(east - west, 1) * per_metre, max(north - south, 1) * per_metre
    return Grid(width, height, 1 / per_metre, west, south)


def _bounds(grid: Grid) -> tuple[float, float, float, float]:
    """(west, south, east, north) of a grid [m]."""
    x, y = grid.centres([-0.5, -0.5, grid.height - 0.5, grid.height - 0.5], [-0.5, grid.width - 0.5] * 2)
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def _cells_per_metre(source: Grid) -> int:
    """As fine as the source within 1 to 4; 4 where its cells do not fit the metres of the map frame."""
    own = min(max(math.ceil(1 / source.resolution - 1e-6), 1), MAX_CELLS_PER_METRE)
    west, south, _, _ = _bounds(source)
    fits = all(_whole(length * own) for length in (source.resolution, west, south))
    return own if fits and not _turned(source) else MAX_CELLS_PER_METRE


def _turned(source: Grid) -> bool:
    """By more than a twentieth of a cell at its far end, quarter turns aside."""
    return abs(math.remainder(source.yaw, math.pi / 2)) * max(source.width, source.height) > 0.05


def _whole(value: float) -> bool:
    return abs(value - round(value)) < 1e-3


def _built(
    occupied: NDArray[np.bool_], touched: NDArray[np.bool_], source: Grid, target: Grid, config: MapperConfig
) -> NDArray[np.bool_]:
    """Cells of `target` that walls are traced round, where `occupied` ones of the source touch those `touched`.

    Where the rasters differ, a cell is built if its centre is: if all that are touched were, walls would stand out.
    Nothing vanishes: what is thinner than a cell stays whole. Cells too coarse for their walls to be seen in `target`
    are drawn again first; where `target` is as coarse, `trace_facades` does it.
    """
    if source.resolution >= COARSE_M > target.resolution:
        factor = finer_by(source.resolution)
        occupied = sharpened(occupied.astype(np.int16), source.resolution, touched=config.touched) > 0
        width, height = source.width * factor, source.height * factor
        source = replace(source, width=width, height=height, resolution=source.resolution / factor)
        return _sampled(occupied, source, target, np.False_)
    if not _turned(source) and source.resolution > target.resolution * (1 - 1e-6):
        return touched
    built = _sampled(occupied, source, target, np.False_)
    _, labels = cv2.connectedComponents(touched.astype(np.uint8), connectivity=4)
    seen = np.zeros(labels.max() + 1, bool)
    seen[labels[built]] = True
    built |= touched & ~seen[labels]
    return built | (touched & _grown(touched & ~_grown(built)))


def _grown(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cells, and those beside them."""
    return cv2.dilate(cells.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def _sampled(values: NDArray, source: Grid, target: Grid, outside: np.generic) -> NDArray:
    """The source's value at each target cell's centre."""
    result = np.full(target.shape, outside, values.dtype)
    if source.yaw == target.yaw == 0:  # many times as fast
        row, col = _rows_and_cols(source, target, np.arange(target.height), np.arange(target.width))
        in_row, in_col = (row >= 0) & (row < source.height), (col >= 0) & (col < source.width)
        result[np.ix_(in_row, in_col)] = values[row[in_row]].take(col[in_col], axis=1)
        return result
    for rows in _strips(target.height):
        row, col, inside = _cells_of(source, target, rows)
        result[rows][inside] = values[row[inside], col[inside]]
    return result


def _resampled(values: NDArray, source: Grid, target: Grid, outside: np.generic) -> NDArray:
    """The source's value at each target cell's centre, and no less than those whose centres lie in the cell."""
    result = _sampled(values, source, target, outside)
    # A source cell of this size has a target's centre in it; a turned one is narrower along the target's axes.
    if source.resolution < target.resolution * (math.sqrt(2) if _turned(source) else 1 - 1e-6):
        for rows in _strips(source.height):
            row, col, inside = _cells_of(target, source, rows)
            np.maximum.at(result.ravel(), row[inside] * target.width + col[inside], values[rows][inside])
    return result


def _strips(height: int, rows: int = 256) -> list[slice]:
    """Slices of rows, so that index arrays stay small."""
    return [slice(start, min(start + rows, height)) for start in range(0, height, rows)]


def _cells_of(holder: Grid, grid: Grid, rows: slice) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """(row, col) on `holder` of the centres of some rows of `grid`, and which of them lie on it."""
    index, cols = np.arange(rows.start, rows.stop)[:, None], np.arange(grid.width)[None, :]
    if holder.yaw == grid.yaw == 0:
        row, col = _rows_and_cols(holder, grid, index, cols)
    else:
        row, col = holder.cells(*grid.centres(index, cols))
    inside = (row >= 0) & (row < holder.height) & (col >= 0) & (col < holder.width)
    row, col = np.broadcast_arrays(row, col)
    return row, col, inside


def _rows_and_cols(
    holder: Grid, grid: Grid, rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns on `holder` of those of `grid`, each on their own: both lie along the axes."""
    return holder.cells(*grid.centres(rows, 0))[0], holder.cells(*grid.centres(0, cols))[1]


def _per_metre(cells: NDArray[np.bool_], grid: Grid) -> NDArray[np.bool_]:
    """1 m cells in which any cell is set."""
    step = round(1 / grid.resolution)
    rows, cols = cells.shape
    bands = cells.reshape(rows // step, step, cols).any(axis=1)  # one axis at a time: four times as fast as both
    return np.asarray(bands.reshape(rows // step, cols // step, step).any(axis=2))
