"""What comes in into the map's frame: by tf2 where tf2_ros is installed, else only what is in it already."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from geometry_msgs.msg import Pose
from numpy.typing import ArrayLike, NDArray
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header

LAG_S = 0.5
"""A transform that is so much older or newer than what it moves is taken where there is none of the very time [s]."""


class FrameError(ValueError):
    """Something cannot be brought into the map's frame; the message names both frames."""


class Move:
    """A rigid motion from one frame into another: a unit quaternion (x, y, z, w), then a translation [m]."""

    def __init__(self, rotation: ArrayLike = (0.0, 0.0, 0.0, 1.0), translation: ArrayLike = (0.0, 0.0, 0.0)) -> None:
        self.rotation, self.translation = np.asarray(rotation, float), np.asarray(translation, float)

    def points(self, points: ArrayLike) -> NDArray[np.float64]:
        """Points [..., 3] moved."""
        axis, w = self.rotation[:3], self.rotation[3]
        turn = 2.0 * np.cross(axis, np.asarray(points, float))
        return np.asarray(points, float) + w * turn + np.cross(axis, turn) + self.translation

    def orientation(self, quaternion: ArrayLike) -> NDArray[np.float64]:
        """An orientation (x, y, z, w) turned."""
        (x1, y1, z1, w1), (x2, y2, z2, w2) = self.rotation, np.asarray(quaternion, float)
        return np.array(
            [
                w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
                w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
                w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
                w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
            ]
        )

    def pose(self, pose: Pose) -> Pose:
        """A pose message moved."""
        at, turn = pose.position, pose.orientation
        moved = Pose()
        x, y, z = self.points((at.x, at.y, at.z))
        moved.position.x, moved.position.y, moved.position.z = float(x), float(y), float(z)
        x, y, z, w = self.orientation((turn.x, turn.y, turn.z, turn.w))
        moved.orientation.x, moved.orientation.y = float(x), float(y)
        moved.orientation.z, moved.orientation.w = float(z), float(w)
        return moved


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

    def close(self) -> None:
        """Listen to no transforms any more."""
        if self._buffer is not None:
            self._listener.unregister()

    def clear(self) -> None:
        """Forget all transforms: time has jumped back."""
        if self._buffer is not None:
            self._buffer.clear()

    def into(self, target: str, header: Header) -> Move | None:
        """How what has this header moves into the frame `target` at its stamp; None: it is there already.

        Raises
        ------
        FrameError
            The frames are not connected, or they differ and tf2_ros is not installed.
        """
        source = header.frame_id
        if source == target:
            return None
        if self._buffer is None:
            raise FrameError(f"it is in frame '{source}', the map in '{target}', and tf2_ros is not installed")
        try:
            found = self._found(target, source, Time.from_msg(header.stamp))
        except Exception as error:  # tf2's exceptions share no base class that is public
            raise FrameError(f"frame '{source}' is not connected to '{target}': {error}") from error
        move, turn = found.transform.translation, found.transform.rotation
        return Move((turn.x, turn.y, turn.z, turn.w), (move.x, move.y, move.z))

    def _found(self, target: str, source: str, time: Time) -> Any:
        """The transform at a time, or the newest where that is near: TF often lags a little behind the poses."""
        try:
            return self._buffer.lookup_transform(target, source, time)
        except Exception:
            newest = self._buffer.lookup_transform(target, source, Time())
            apart_s = abs(Time.from_msg(newest.header.stamp).nanoseconds - time.nanoseconds) * 1e-9
            if not math.isfinite(apart_s) or apart_s > LAG_S:
                raise
            return newest
