"""A flight over the town that never ends: poses, all that disturbs them, and what becomes of the mapper's process."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdflux_ros.node.benchmarks import town
from rdflux_ros.node.graph import GraphError, check_alive

if TYPE_CHECKING:
    from rclpy.client import Client
    from rclpy.node import Node

    from rdflux_ros.node.benchmarks.listener import Listener

WARM_UP = 1000
"""Answers heard before memory is looked at: every event has happened by then, the cache of regions is full, and what
the allocator keeps of freed memory has settled, which takes answers, not poses."""
MAP_EVERY, BAD_EVERY, JUMP_EVERY, DEACTIVATE_EVERY = 200, 97, 500, 1000
"""Poses between two events of a kind."""
STEP_M, STEP_NS = 0.5, 50_000_000
"""Between two poses: 10 m/s at 20 Hz."""
ANSWER_S = 60.0
"""Silence after which the mapper counts as hung [s]."""
RESEND_S = 2.0
"""An unanswered pose is followed by the next one after so long [s]: best effort may lose one."""
SAMPLE_S, KEEP_S = 1.0, 10.0
"""Between two looks at the process, and between two that are kept [s]."""
LOOKS = 60
"""Looks that a figure is the median of: what a new map needs for a moment is several per cent of the memory."""


@dataclass
class Run:
    """What one process of the mapper went through; memory in KiB."""

    sent: int = 0
    seconds: float = 0.0
    methods: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    counts: dict[str, int] = field(default_factory=dict)
    """The mapper's own, from its diagnostics."""
    warm: dict[str, int] = field(default_factory=dict)
    """memory, threads and handles, medians of the first `LOOKS` after the warm-up; empty before."""
    end: dict[str, int] = field(default_factory=dict)
    """The same of the last `LOOKS`."""
    samples: list[list[int]] = field(default_factory=list)
    """[seconds, answers heard, memory] every `KEEP_S`."""

    @property
    def answered(self) -> int:
        """Answers heard."""
        return sum(self.methods.values())

    @property
    def dropped(self) -> dict[str, int]:
        """Poses by why the mapper dropped them."""
        return {k.removeprefix("poses_dropped."): v for k, v in self.counts.items() if k.startswith("poses_dropped")}

    @property
    def unaccounted(self) -> int:
        """Poses that the mapper received and has neither answered nor dropped, by its own counters."""
        return self.counts.get("poses_received", 0) - self.counts.get("poses_answered", 0) - sum(self.dropped.values())

    def as_dict(self) -> dict[str, Any]:
        """For the JSON file."""
        return {
            "sent": self.sent,
            "heard": self.answered,
            "seconds": round(self.seconds, 1),
            "methods": dict(self.methods),
            "events": dict(self.events),
            "received": self.counts.get("poses_received", 0),
            "answered": self.counts.get("poses_answered", 0),
            "dropped": self.dropped,
            "unaccounted": self.unaccounted,
            "warm": self.warm,
            "end": self.end,
            "growth": self.end["memory_kib"] / self.warm["memory_kib"] - 1.0 if self.warm and self.end else None,
            "counts": self.counts,
            "samples": self.samples,
        }


class Flight:
    """Sends poses along the track and what disturbs them; listens to what comes back; looks at the process."""

    def __init__(
        self, node: Node, process: subprocess.Popen[bytes], log: Path, run: Run, over: town.Town = town.TOWN
    ) -> None:
        from geometry_msgs.msg import PoseStamped
        from lifecycle_msgs.srv import ChangeState
        from nav_msgs.msg import OccupancyGrid

        from rdflux_ros.node import qos
        from rdflux_ros.node.benchmarks.listener import Listener

        self.run, self._over = run, over
        self.listener: Listener = Listener(node)
        self._process, self._log = process, log
        self._poses = node.create_publisher(PoseStamped, "pose", qos.POSE)
        self._maps = node.create_publisher(OccupancyGrid, "map", qos.LATCHED)
        self._transitions: Client[Any, Any] = node.create_client(ChangeState, "radio_mapper/change_state")
        self._step = self._jumps = 0
        self._first: list[dict[str, int]] = []
        self._last: deque[dict[str, int]] = deque(maxlen=LOOKS)
        self._began = self._heard_at = self._sampled_at = time.monotonic()

    def start(self) -> None:
        """Send the map; wait until the mapper uses it."""
        from rdflux_ros.node.benchmarks.listener import wait_until_ready

        self._maps.publish(self._over.map_message())
        wait_until_ready(self._process, self._poses, self.listener, self._log)
        self._began = self._heard_at = time.monotonic()

    def send(self) -> bool:
        """Send the next pose, and an event where one is due; whether the pose can be answered."""
        run = self.run
        self._step += 1
        if self._step % DEACTIVATE_EVERY == 0:
            self._publish(town.on_track(STEP_M * self._step))  # in flight when the node falls silent
            self._deactivate_and_activate()
        if self._step % MAP_EVERY == 0:
            run.events["map updates"] += 1
            self._maps.publish(self._over.map_message(self._step // MAP_EVERY * 7))
        if self._step % JUMP_EVERY == 0:
            run.events["time jumps"] += 1
            self._jumps += 1
        if self._step % BAD_EVERY == 0:
            run.events["poses inside a building"] += 1
            self._publish(self._over.inside_a_block)
            return False
        self._publish(town.on_track(STEP_M * self._step))
        return True

    def receive(self, timeout_s: float) -> bool:
        """Count what has come, waiting for something for so long; look at the process. Whether something came."""
        came = self.listener.wait(timeout_s)
        now = time.monotonic()
        for heard in self.listener.take().values():
            self.run.methods[heard.status["method"]] += 1
            self._heard_at = now
        if now - self._heard_at > ANSWER_S:
            raise GraphError(f"no answer for {ANSWER_S:.0f} s: {self.listener.health().get('message')}")
        self._look(now)
        return came

    def finish(self) -> None:
        """Wait for what is on its way and for the mapper's counters."""
        while self.receive(RESEND_S):
            pass
        deadline = time.monotonic() + ANSWER_S
        self.listener.next_health()
        self._note(self.listener.next_health())
        while self.run.unaccounted and time.monotonic() < deadline:  # a last one may wait for a new region
            self._note(self.listener.next_health())

    def _publish(self, position: tuple[float, float, float]) -> None:
        # Each jump goes back a thousand seconds, more than lie between two jumps, so that no stamp comes twice.
        stamp_ns = 2_000_000_000 * 10**9 - self._jumps * 1000 * 10**9 + self._step % JUMP_EVERY * STEP_NS
        self.run.sent += 1
        self._poses.publish(town.pose_message(position, stamp_ns))

    def _deactivate_and_activate(self) -> None:
        from lifecycle_msgs.msg import Transition

        self.run.events["deactivations"] += 1
        for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
            self._change_state(transition)
        self._until(lambda: self._poses.get_subscription_count() > 0, "the mapper does not listen to poses again")

    def _change_state(self, transition: int) -> None:
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        self._until(self._transitions.service_is_ready, "the service change_state is not there")
        future = self._transitions.call_async(ChangeState.Request(transition=Transition(id=transition)))
        self._until(future.done, f"transition {transition} does not end")
        answer = future.result()
        if answer is None or not answer.success:
            raise GraphError(f"transition {transition} failed")

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + ANSWER_S
        while not condition():
            check_alive(self._process, self._log)
            if time.monotonic() > deadline:
                raise GraphError(f"{what} ({ANSWER_S:.0f} s)")
            time.sleep(0.01)

    def _look(self, now: float) -> None:
        if now - self._sampled_at < SAMPLE_S:
            return
        check_alive(self._process, self._log)
        self._sampled_at = now
        seen = look(self._process.pid)
        self._last.append(seen)
        self.run.end = _middle(self._last)
        if self.run.answered >= WARM_UP and len(self._first) < LOOKS:
            self._first.append(seen)
            self.run.warm = _middle(self._first)
        self.run.seconds = now - self._began
        self._note(self.listener.health())
        if not self.run.samples or self.run.seconds - self.run.samples[-1][0] >= KEEP_S:
            self.run.samples.append([round(self.run.seconds), self.run.answered, seen["memory_kib"]])

    def _note(self, health: dict[str, str]) -> None:
        """What the mapper says of itself."""
        counters = ("poses_", "maps_", "time_jumps", "regions_prepared", "region_hits")
        self.run.counts = {k: int(v) for k, v in health.items() if k.startswith(counters)}


def _middle(looks: Sequence[dict[str, int]]) -> dict[str, int]:
    return {key: int(statistics.median(one[key] for one in looks)) for key in looks[0]}


def look(pid: int) -> dict[str, int]:
    """Resident memory [KiB], threads and file handles of a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {
        "memory_kib": int(status["VmRSS"].split()[0]),
        "threads": int(status["Threads"]),
        "handles": sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
    }
