"""Places to measure in: blocks of houses along streets, a track over their roofs, and messages of both."""

from __future__ import annotations

import array
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from geometry_msgs.msg import PoseStamped
    from nav_msgs.msg import OccupancyGrid

FRAME = "map"
SIDE_M = 640
"""Edge of the map; its corner is the map frame's origin [m]."""
BLOCK_M = 24
FLIGHT_M = 40.0
"""Height of the track [m]; the roofs are at 25 m, the default of `building_height_m`."""
RADIUS_M = 160.0
"""Of the track, a circle around the centre: it crosses a region's border every 60 m or so."""


@dataclass(frozen=True)
class Town:
    """Square blocks of houses with streets of this width between them [m]."""

    street_m: int

    @property
    def inside_a_block(self) -> tuple[float, float, float]:
        """A place that cannot be answered [m]."""
        middle = self.street_m + BLOCK_M / 2
        return middle, middle, 10.0

    def map_message(self, missing: int = -1) -> OccupancyGrid:
        """The town at 1 m, without the block of this number (modulo their count; -1: with all of them)."""
        from nav_msgs.msg import OccupancyGrid

        cells = np.zeros((SIDE_M, SIDE_M), np.int8)
        corners = range(self.street_m, SIDE_M - BLOCK_M, BLOCK_M + self.street_m)
        blocks = [(row, col) for row in corners for col in corners]
        left_out = blocks[missing % len(blocks)] if missing >= 0 else None
        for row, col in blocks:
            if (row, col) != left_out:
                cells[row : row + BLOCK_M, col : col + BLOCK_M] = 100
        message = OccupancyGrid()
        message.header.frame_id = FRAME
        message.info.width = message.info.height = SIDE_M
        message.info.resolution = 1.0
        message.info.origin.orientation.w = 1.0
        message.data = array.array("b", cells.tobytes())
        return message


TOWN = Town(street_m=16)
HAMLET = Town(street_m=168)
"""So few houses that the physics layer has little to do: a mapper goes through more poses in an hour."""


def pose_message(position: tuple[float, float, float], stamp_ns: int) -> PoseStamped:
    """A pose at a position [m]."""
    from geometry_msgs.msg import PoseStamped

    from rdflux_ros.node.conversions import stamp_from_ns

    message = PoseStamped()
    message.header.frame_id = FRAME
    message.header.stamp = stamp_from_ns(stamp_ns)
    point = message.pose.position
    point.x, point.y, point.z = position
    message.pose.orientation.w = 1.0
    return message


def on_track(way_m: float) -> tuple[float, float, float]:
    """Where the track is after so many metres [m]."""
    angle = way_m / RADIUS_M
    centre = SIDE_M / 2
    return centre + RADIUS_M * math.cos(angle), centre + RADIUS_M * math.sin(angle), FLIGHT_M
