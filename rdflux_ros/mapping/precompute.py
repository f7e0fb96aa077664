"""Fill a cache file before the flight, so that no pose ever waits for a region's first stage."""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rdflux_ros.console import guarded
from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.settings import SettingError, expanded, from_mapping

if TYPE_CHECKING:
    from rdflux_ros.mapping.inputs import StreetMap
    from rdflux_ros.mapping.regions import Region


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``precompute``."""
    parser = argparse.ArgumentParser(
        prog="precompute",
        description=__doc__,
        epilog="What shapes a region (heights, unknown_is, model, reuse_ratio ...) is part of its key: give the "
        "mapper's own parameter file. An interrupted run goes on where it was.",
    )
    parser.add_argument("map", type=Path, metavar="MAP", help="map_server map (yaml)")
    parser.add_argument(
        "--cache-file", type=Path, metavar="FILE", help="file to fill; else cache_file of the parameters"
    )
    parser.add_argument("--height-map", type=Path, metavar="YAML", help="building heights; else as in the parameters")
    parser.add_argument("--params-file", type=Path, metavar="YAML", help="the mapper's parameters; else the defaults")
    parser.add_argument(
        "--around", type=float, nargs=3, metavar=("X", "Y", "R"), help="only regions within R of (X, Y) [m]; else all"
    )
    return parser


def regions_of(streets: StreetMap) -> list[Region]:
    """The regions that are nearest to some point on the map, from south to north."""
    import numpy as np

    from rdflux_ros.mapping.regions import Region, nearest_region
    from rdflux_ros.radio.grid import LATTICE_M

    grid = streets.buildings_grid
    x, y = grid.centres(np.array([0, grid.height - 1]), np.array([0, grid.width - 1]))
    low, high = nearest_region(float(x[0]), float(y[0])), nearest_region(float(x[1]), float(y[1]))
    every = [Region(i, j) for j in range(low.j, high.j + 1) for i in range(low.i, high.i + 1)]
    steps = (np.arange(LATTICE_M) + 0.5) - LATTICE_M / 2

    def on_map(region: Region) -> bool:
        cx, cy = region.centre
        points = np.meshgrid(cx + steps, cy + steps)
        return bool(streets.extent.contains(*points).any())

    return [region for region in every if on_map(region)]


def parameters_of(path: Path) -> dict[str, Any]:
    """The values of a ROS parameter file: those of its one node, or of all nodes.

    Raises
    ------
    SettingError
        The file is no such file; the message names it.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"{path}: {' '.join(str(error).split())}") from error
    found: dict[str, Any] = {}
    for node in content.values() if isinstance(content, dict) else [None]:
        values = node.get("ros__parameters") if isinstance(node, dict) else None
        if not isinstance(values, dict):
            raise SettingError(f"{path}: expected nodes with ros__parameters")
        found |= values
    return found


def _config(values: dict[str, Any]) -> MapperConfig:
    own = {field.name for field in dataclasses.fields(MapperConfig)}
    return from_mapping(MapperConfig, {name: value for name, value in values.items() if name in own})


def _run(args: argparse.Namespace) -> int:
    values = parameters_of(args.params_file) if args.params_file else {}
    config = _config(values)
    if args.cache_file is not None:
        config = dataclasses.replace(config, cache_file=str(args.cache_file))
    if not config.cache_file:
        raise SettingError("cache_file: give --cache-file, or a parameter file that names one")
    from rdflux_ros.mapping.inputs import load_height_map, load_occupancy, street_map
    from rdflux_ros.mapping.mapper import RadioMapper

    heights = args.height_map or (expanded("height_map", values["height_map"]) if values.get("height_map") else None)
    streets = street_map(load_occupancy(args.map), config, None if heights is None else load_height_map(heights))
    regions = regions_of(streets)
    if args.around is not None:
        x, y, reach = args.around
        regions = [r for r in regions if _distance(r, x, y) <= reach]
        if not regions:
            raise SettingError(f"--around {x:g} {y:g} {reach:g}: no region of the map is so near")
    if len(regions) > config.cache_file_size:
        raise SettingError(
            f"cache_file_size = {config.cache_file_size}: there are {len(regions)} regions; raise it or give --around"
        )
    mapper = RadioMapper(dataclasses.replace(config, cache_size=1))
    mapper.set_streets(streets)
    start = time.monotonic()
    for region in _with_bar(regions):
        mapper.prepare(region)
        if mapper.cache_file_trouble:
            raise SettingError(mapper.cache_file_trouble)
    mapper.close()
    size = expanded("cache_file", config.cache_file).stat().st_size / 2**20
    print(
        f"{len(regions)} regions in {config.cache_file} ({size:.0f} MiB): {mapper.regions_prepared} prepared, "
        f"{mapper.regions_loaded} there before, {time.monotonic() - start:.0f} s on {mapper.device}"
    )
    return 0


def _distance(region: Region, x: float, y: float) -> float:
    """From a point to the places [m] whose nearest region this is."""
    from rdflux_ros.radio.grid import LATTICE_M

    cx, cy = region.centre
    return math.hypot(max(abs(x - cx) - LATTICE_M / 2, 0.0), max(abs(y - cy) - LATTICE_M / 2, 0.0))


def _with_bar(regions: Sequence[Region]) -> Iterator[Region]:
    try:
        from tqdm import tqdm
    except ImportError:  # only what evaluates and trains needs it
        yield from regions
    else:
        yield from tqdm(regions, desc="precompute", unit="region", dynamic_ncols=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``precompute``; exit code 2 with one line where something does not fit."""
    args = build_parser().parse_args(argv)
    return guarded("precompute", lambda: _run(args), "interrupted; the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
