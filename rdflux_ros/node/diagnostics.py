"""What the node knows of its own health, and how it says so on /diagnostics."""

from __future__ import annotations

import ctypes
import math
import os
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticStatus

from rdflux_ros.node.conversions import key_values

RATE_WINDOW_S = 10.0
"""Rates are those of the last so many seconds."""

ERRORS = ("configure", "worker", "model")
"""Troubles that are errors; the others are warnings."""
TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""What gives freed memory back to the system, where the allocator is glibc's."""


class Rate:
    """Events a second over the last `RATE_WINDOW_S`, by the steady clock."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=100_000)

    def tick(self) -> None:
        """An event, now."""
        self._times.append(time.monotonic())

    def hz(self) -> float:
        """[1/s]"""
        since = time.monotonic() - RATE_WINDOW_S
        while self._times and self._times[0] < since:
            self._times.popleft()
        return len(self._times) / RATE_WINDOW_S


@dataclass
class Health:
    """Counters and the latest troubles; troubles stay until what they concern works again."""

    counts: Counter[str] = field(default_factory=Counter)
    troubles: dict[str, tuple[str, str]] = field(default_factory=dict)
    """(reason, text) by what they concern: `ERRORS`, and what comes in (WARN)."""
    poses: Rate = field(default_factory=Rate)
    answers: Rate = field(default_factory=Rate)
    last_pose: float | None = None
    """Steady time of the last receipt of a pose, or of activation before the first [s]."""
    posed: bool = False
    """A pose has come since activation."""
    received: dict[str, float] = field(default_factory=dict)
    """Steady time of the last receipt of other inputs [s]."""

    def trouble(self, about: str, reason: str, text: str) -> bool:
        """Note a trouble; whether its reason is news (so that the log says it once)."""
        news = self.troubles.get(about, ("", ""))[0] != reason
        self.troubles[about] = (reason, text)
        return news

    def well(self, about: str) -> None:
        """What this concerns works again."""
        self.troubles.pop(about, None)

    def status(
        self,
        name: str,
        state: str,
        has_map: bool,
        pose_timeout_s: float,
        values: dict[str, object],
        *,
        stations: bool = False,
    ) -> DiagnosticStatus:
        """The node's line in /diagnostics; with fixed `stations` it may do without poses."""
        level, message = self._verdict(state, has_map, math.inf if stations and not self.posed else pose_timeout_s)
        shown = {
            "state": state,
            "pose_rate_hz": f"{self.poses.hz():.2f}",
            "answer_rate_hz": f"{self.answers.hz():.2f}",
            "pose_age_s": "" if self.last_pose is None else f"{time.monotonic() - self.last_pose:.2f}",
            **{f"{name}_age_s": f"{time.monotonic() - at:.2f}" for name, at in self.received.items()},
            **memory(),
            **values,
            **dict(sorted(self.counts.items())),
        }
        return DiagnosticStatus(level=level, name=name, message=message, values=key_values(shown))

    def _verdict(self, state: str, has_map: bool, pose_timeout_s: float) -> tuple[bytes, str]:
        for about in ERRORS:
            if about in self.troubles:
                return DiagnosticStatus.ERROR, self.troubles[about][1]
        if state != "active":
            return DiagnosticStatus.OK, state
        if not has_map:
            return DiagnosticStatus.WARN, self.troubles.get("map", ("", "no map"))[1]
        silent = 0.0 if self.last_pose is None else time.monotonic() - self.last_pose
        if silent > pose_timeout_s:
            return DiagnosticStatus.STALE, f"no pose for {silent:.1f} s"
        for _, text in self.troubles.values():
            return DiagnosticStatus.WARN, text
        return DiagnosticStatus.OK, "mapping"


def give_back_memory() -> None:
    """What jobs needed for a moment goes back to the system; glibc would keep it, a little more each time."""
    if TRIM is not None:
        TRIM(0)


def memory() -> dict[str, object]:
    """Resident memory of this process and, where torch uses one, memory on the GPU [MiB]."""
    found: dict[str, object] = {}
    try:
        with open("/proc/self/statm") as file:
            found["memory_mib"] = round(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20)
    except OSError:  # not on Linux
        pass
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        found["gpu_memory_mib"] = round(torch.cuda.memory_allocated() / 2**20)
    return found
