"""Dynamic obstacles: on any grid, every cell of a window in which one stands, and no other."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.mapping.inputs import OccupancyInput, obstacle_cells
from rdflux_ros.mapping.regions import Region
from rdflux_ros.node.fuzzing import rasters
from rdflux_ros.node.fuzzing.maps import CONFIGS, occupancies
from rdflux_ros.node.fuzzing.property import Property
from rdflux_ros.radio.grid import Grid


@st.composite
def obstacles(draw: st.DrawFn) -> tuple[OccupancyInput, MapperConfig, Grid]:
    """Obstacles, settings, and a part of a region's window near them."""
    found = draw(occupancies())
    window = Region(round(found.grid.origin_x / 64), round(found.grid.origin_y / 64)).grid
    south = int(np.clip(found.grid.origin_y - window.origin_y - 12 + draw(st.integers(-6, 6)), 0, 232))
    west = int(np.clip(found.grid.origin_x - window.origin_x - 12 + draw(st.integers(-6, 6)), 0, 232))
    return found, draw(CONFIGS), Grid(24, 24, 1.0, window.origin_x + west, window.origin_y + south)


def every_cell_is_as_the_obstacles_have_it(drawn: tuple[OccupancyInput, MapperConfig, Grid]) -> None:
    """`obstacle_cells` against `rasters`."""
    found, config, window = drawn
    occupied = found.data.astype(int) >= config.occupied_threshold
    expected, doubtful = rasters.resampled(occupied, found.grid, window, False)
    cells = obstacle_cells(found, window, config)
    np.testing.assert_array_equal(cells[~doubtful], expected[~doubtful])


PROPERTIES = (Property("every cell is as the obstacles have it", obstacles(), every_cell_is_as_the_obstacles_have_it),)
