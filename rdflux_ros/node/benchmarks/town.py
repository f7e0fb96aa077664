"""A town to measure in: blocks of houses along streets, a track over their roofs, and messages of both."""

from __future__ import annotations

import array
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from geometry_msgs.msg import PoseStamped
    from nav_msgs.msg import OccupancyGrid

FRAME = "map"
SIDE_M = 640
"""Edge of the town; its corner is the map frame's origin [m]."""
BLOCK_M, STREET_M = 24, 16
FLIGHT_M = 40.0
"""Height of the track [m]; the roofs are at 25 m, the default of `building_height_m`."""
RADIUS_M = 160.0
"""Of the track, a circle around the town's centre: it crosses a region's border every 60 m or so."""
INSIDE_A_BLOCK = (STREET_M + BLOCK_M / 2, STREET_M + BLOCK_M / 2, 10.0)
"""A place that cannot be answered [m]."""


def map_message(missing: int = -1) -> OccupancyGrid:
    """The town at 1 m, without the block of this number (modulo their count; -1: with all of them)."""
    from nav_msgs.msg import OccupancyGrid

    cells = np.zeros((SIDE_M, SIDE_M), np.int8)
    corners = range(STREET_M, SIDE_M - BLOCK_M, BLOCK_M + STREET_M)
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
