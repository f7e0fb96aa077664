"""Poses into the map's frame: by tf2 where tf2_ros is installed, else only those that are in it already."""

from __future__ import annotations

from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Quaternion
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header


class FrameError(ValueError):
    """A pose cannot be brought into the map's frame; the message names both frames."""


class Frames:
    """What is known of the frames' relations."""

    def __init__(self, node: Node) -> None:
        self._buffer: Any = None
        try:
            import tf2_ros
        except ImportError:
            return
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)

    def clear(self) -> None:
        """Forget all transforms: time has jumped back."""
        if self._buffer is not None:
            self._buffer.clear()

    def into(self, target: str, header: Header, position: Point) -> tuple[float, float, float]:
        """`position` in the frame `target` at the header's stamp [m].

        Raises
        ------
        FrameError
            The frames are not connected, or they differ and tf2_ros is not installed.
        """
        point = (position.x, position.y, position.z)
        if header.frame_id == target:
            return point
        if self._buffer is None:
            raise FrameError(f"pose in frame '{header.frame_id}', map in '{target}', and tf2_ros is not installed")
        try:
            found = self._buffer.lookup_transform(target, header.frame_id, Time.from_msg(header.stamp))
        except Exception as error:  # tf2's exceptions share no base class that is public
            raise FrameError(f"frame '{header.frame_id}' is not connected to '{target}': {error}") from error
        move = found.transform.translation
        x, y, z = rotated(point, found.transform.rotation) + np.array((move.x, move.y, move.z))
        return float(x), float(y), float(z)


def rotated(point: tuple[float, float, float], by: Quaternion) -> NDArray[np.float64]:
    """`point` turned by a unit quaternion, [3]."""
    axis = np.array((by.x, by.y, by.z))
    turn = 2.0 * np.cross(axis, point)
    return np.asarray(point) + by.w * turn + np.cross(axis, turn)
