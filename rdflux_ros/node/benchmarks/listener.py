"""What the benchmarks hear of the mapper: when each map came, how it was found, and the mapper's own counters."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdflux_ros.node.graph import GraphError, check_alive

if TYPE_CHECKING:
    from diagnostic_msgs.msg import DiagnosticArray
    from geometry_msgs.msg import PoseStamped
    from nav_msgs.msg import OccupancyGrid
    from rclpy.node import Node
    from rclpy.publisher import Publisher

READY_S = 90.0
"""How long the mapper may take until it uses the map [s]."""


@dataclass
class Heard:
    """Of one pose's answer: steady time of the map's receipt [s], and its status."""

    at: float | None = None
    status: dict[str, str] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Map and status have come."""
        return self.at is not None and bool(self.status)


class Listener:
    """Subscribes in the node's namespace to `radio_map` and its status, and to what the mapper there says of itself.

    An answer is kept until it is taken.
    """

    def __init__(self, node: Node) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from nav_msgs.msg import OccupancyGrid

        from rdflux_ros.node.qos import LATCHED, LATEST

        self._mapper = f"{node.get_namespace().rstrip('/')}/radio_mapper:"
        self._changed = threading.Condition()
        self._answers: dict[int, Heard] = {}
        self._health: dict[str, str] = {}
        self._reports = 0
        node.create_subscription(OccupancyGrid, "radio_map", self._on_map, LATCHED)
        node.create_subscription(DiagnosticArray, "radio_map/status", self._on_status, LATEST)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def take(self) -> dict[int, Heard]:
        """The whole answers since the last call, by stamp [ns]."""
        with self._changed:
            whole = {stamp: heard for stamp, heard in self._answers.items() if heard.whole}
            for stamp in whole:
                del self._answers[stamp]
            return whole

    def wait(self, timeout_s: float) -> bool:
        """Wait for a whole answer; whether there is one to `take`."""
        return self._wait(lambda: any(heard.whole for heard in self._answers.values()), timeout_s)

    def forget(self) -> None:
        """Drop what has come."""
        with self._changed:
            self._answers.clear()

    def health(self) -> dict[str, str]:
        """The mapper's last line of diagnostics: `level`, `message` and its values; empty before the first."""
        with self._changed:
            return dict(self._health)

    def next_health(self, timeout_s: float = 10.0) -> dict[str, str]:
        """The next line of diagnostics; the last one where none comes in time."""
        with self._changed:
            before = self._reports
        self._wait(lambda: self._reports > before, timeout_s)
        return self.health()

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, timeout_s)

    def _heard(self, stamp: Any) -> Heard:
        from rdflux_ros.node.conversions import ns_from_stamp

        return self._answers.setdefault(ns_from_stamp(stamp), Heard())

    def _on_map(self, message: OccupancyGrid) -> None:
        now = time.monotonic()
        with self._changed:
            self._heard(message.header.stamp).at = now
            self._changed.notify_all()

    def _on_status(self, message: DiagnosticArray) -> None:
        with self._changed:
            self._heard(message.header.stamp).status = {pair.key: pair.value for pair in message.status[0].values}
            self._changed.notify_all()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        status = message.status[0]
        if not status.name.startswith(self._mapper):
            return
        with self._changed:
            self._health = {"message": status.message, **{pair.key: pair.value for pair in status.values}}
            self._health["level"] = str(ord(status.level))
            self._reports += 1
            self._changed.notify_all()


def wait_until_ready(
    process: subprocess.Popen[bytes], poses: Publisher[PoseStamped], listener: Listener, log: Path
) -> None:
    """Wait until the mapper uses the map and listens to poses; `GraphError` where it does not."""
    deadline = time.monotonic() + READY_S
    while not (poses.get_subscription_count() and "map_frame" in listener.health()):
        check_alive(process, log)
        if listener.health().get("level") == "2":
            raise GraphError(f"the mapper does not start: {listener.health()['message']}")
        if time.monotonic() > deadline:
            raise GraphError(f"the mapper did not take the map within {READY_S:.0f} s, see {log}")
        time.sleep(0.05)
