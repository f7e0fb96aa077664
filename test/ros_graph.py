"""A planner on a real graph: sends maps and poses to a mapper, keeps what it hears."""

from __future__ import annotations

import contextlib
import pathlib
import re
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Pose, PoseArray, PoseStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import OccupancyGrid, Odometry, Path
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, PointCloud2
from std_srvs.srv import Trigger

from rdflux_ros.node import conversions, qos

OUTPUTS = {
    "radio_map": (OccupancyGrid, qos.LATCHED),
    "radio_map/pathloss": (Image, qos.LATCHED),
    "radio_map/status": (DiagnosticArray, qos.LATEST),
    "radio_map/query": (OccupancyGrid, qos.QUERIES),
    "radio_map/along_path": (PointCloud2, qos.LATCHED),
    "/diagnostics": (DiagnosticArray, qos.LATEST),
}
TIMEOUT_S = 30.0
STOP_S = 2.0
"""How long a mapper may take to end [s]."""
START_S = 90.0
"""How long a mapper may take to start on a busy machine [s]."""


def streets(width: int = 512, height: int = 400, resolution: float = 1.0) -> OccupancyGrid:
    """A map with one building: x 100..120, y 60..90 m."""
    cells = np.zeros((height, width), np.int8)
    scale = 1 / resolution
    cells[int(60 * scale) : int(90 * scale), int(100 * scale) : int(120 * scale)] = 100
    message = OccupancyGrid()
    message.header.frame_id = "map"
    message.info.width, message.info.height, message.info.resolution = width, height, resolution
    message.info.origin.orientation.w = 1.0
    message.data = cells.ravel().tolist()
    return message


def pose(x: float, y: float, z: float = 40.0, stamp_ns: int = 1_000_000_000, frame: str = "map") -> PoseStamped:
    message = PoseStamped()
    message.header.frame_id = frame
    message.header.stamp = conversions.stamp_from_ns(stamp_ns)
    message.pose.position.x, message.pose.position.y, message.pose.position.z = x, y, z
    message.pose.orientation.w = 1.0
    return message


def grid(
    cells: np.ndarray, x: float = 0.0, y: float = 0.0, resolution: float = 1.0, stamp_ns: int = 0
) -> OccupancyGrid:
    """An occupancy grid with its south-west corner at (x, y) [m]."""
    message = OccupancyGrid()
    message.header.frame_id = "map"
    message.header.stamp = conversions.stamp_from_ns(stamp_ns)
    message.info.height, message.info.width = cells.shape
    message.info.resolution = resolution
    message.info.origin.position.x, message.info.origin.position.y = x, y
    message.info.origin.orientation.w = 1.0
    message.data = cells.astype(np.int8).ravel().tolist()
    return message


def path(*points: tuple[float, float, float], stamp_ns: int = 1_000_000_000) -> Path:
    """A path whose poses have no orientation, as planners leave them."""
    message = Path()
    message.header.frame_id = "map"
    message.header.stamp = conversions.stamp_from_ns(stamp_ns)
    for x, y, z in points:
        one = pose(x, y, z, stamp_ns)
        one.pose.orientation.w = 0.0
        message.poses.append(one)
    return message


def users(*points: tuple[float, float]) -> PoseArray:
    message = PoseArray()
    message.header.frame_id = "map"
    for x, y in points:
        one = Pose()
        one.position.x, one.position.y = x, y
        message.poses.append(one)
    return message


def points(message: PointCloud2) -> dict[str, np.ndarray]:
    """The fields of a cloud of float32."""
    table = np.frombuffer(message.data, "<f4").reshape(message.width, len(message.fields))
    return {field.name: table[:, k] for k, field in enumerate(message.fields)}


def values(status: DiagnosticStatus) -> dict[str, str]:
    return {item.key: item.value for item in status.values}


def stamp_ns(message: Any) -> int:
    return conversions.ns_from_stamp(message.header.stamp)


def handles(process: subprocess.Popen[str], number: signal.Signals) -> bool:
    """Whether a process's own handler of a signal is there, before which it is Python that starts."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    blocked = int(re.findall(r"SigBlk:\s*(\w+)", status)[0], 16)
    return bool(blocked >> (number - 1) & 1)


def wait_until_it_handles(process: subprocess.Popen[str], number: signal.Signals) -> None:
    end = time.monotonic() + START_S
    while not handles(process, number):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)


class Planner:
    """A node on the graph that sends maps and poses and keeps what it hears, by topic."""

    def __init__(self, domain: int, namespace: str = "") -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = Node("planner", context=self.context, namespace=namespace)
        self.heard: dict[str, list[Any]] = defaultdict(list)
        self.maps = self.node.create_publisher(OccupancyGrid, "map", qos.LATCHED)
        self.poses = self.node.create_publisher(PoseStamped, "pose", qos.POSE)
        self.odometry = self.node.create_publisher(Odometry, "odom", qos.POSE)
        self.obstacles = self.node.create_publisher(OccupancyGrid, "dynamic_obstacles", qos.LATEST)
        self.queries = self.node.create_publisher(PoseStamped, "query", qos.QUERIES)
        self.paths = self.node.create_publisher(Path, "planned_path", qos.LATEST)
        self.users = self.node.create_publisher(PoseArray, "users", qos.LATCHED)
        for topic, (message_type, profile) in OUTPUTS.items():
            self.listen(topic, message_type, profile)
        self.transitions = self.node.create_client(ChangeState, "radio_mapper/change_state")
        self._spinning = [spin_in_thread(self.node, self.context)]

    def listen(self, topic: str, message_type: type, profile: Any, key: str | None = None) -> None:
        """Keep all that comes, also what comes while this process is held up."""
        kept = QoSProfile(depth=100, reliability=profile.reliability, durability=profile.durability)
        self.node.create_subscription(message_type, topic, self.heard[key or topic].append, kept)

    def start_mapper(self, **parameters: Any) -> Any:
        """The mapper, in a thread of its own on the same graph."""
        from rdflux_ros.node.radio_mapper import RadioMapperNode

        defaults = {
            "device": "cpu",
            "model": "physics",
            "pose_timeout_s": 60.0,
        }  # a slow machine must not look like silence
        given = [Parameter(name, value=value) for name, value in {**defaults, **parameters}.items()]
        mapper = RadioMapperNode(context=self.context, parameter_overrides=given)
        self._spinning.append(spin_in_thread(mapper, self.context))
        return mapper

    def wait(self, condition: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> Any:
        end = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < end, f"waited {timeout_s} s for {what}; heard {self.counts()}"
            time.sleep(0.005)
        return found

    def counts(self) -> dict[str, int]:
        return {topic: len(messages) for topic, messages in self.heard.items()}

    def health(self) -> DiagnosticStatus:
        """The next line of the mapper in /diagnostics."""
        before = len(self.heard["/diagnostics"])
        self.wait(lambda: len(self.heard["/diagnostics"]) > before, "diagnostics")
        return self.heard["/diagnostics"][-1].status[0]

    def wait_for_level(self, level: bytes, message: str) -> DiagnosticStatus:
        def found() -> DiagnosticStatus | None:
            status = self.heard["/diagnostics"][-1].status[0] if self.heard["/diagnostics"] else None
            return status if status and status.level == level and message in status.message else None

        return self.wait(found, f"diagnostics of level {level!r} with '{message}'")

    def send_map(self, message: OccupancyGrid) -> None:
        self.maps.publish(message)

    def ready(self, message: OccupancyGrid | None = None, listeners: int = 1) -> None:
        """Wait until the mapper has the map and listens; `listeners` is 2 where a view does, too."""
        if message is not None:
            self.send_map(message)
        self.wait(
            lambda: (
                self.poses.get_subscription_count() + self.odometry.get_subscription_count() >= listeners
                and self.paths.get_subscription_count() >= listeners
                and self.obstacles.get_subscription_count()
                and self.queries.get_subscription_count()
            ),
            "activation",
            START_S,
        )
        self.wait(
            lambda: self.heard["/diagnostics"] and "map_frame" in values(self.heard["/diagnostics"][-1].status[0]),
            "the map to be in use",
        )

    def fly(self, *poses: PoseStamped) -> list[OccupancyGrid]:
        """Send poses one after the other, each when the last is answered; their maps."""
        answers = []
        for message in poses:
            self.poses.publish(message)
            wanted = stamp_ns(message)
            answers.append(self.wait(lambda wanted=wanted: self.answer(wanted), f"the answer to {wanted}"))
        return answers

    def answer(self, wanted_ns: int, topic: str = "radio_map") -> Any:
        return next((message for message in list(self.heard[topic]) if stamp_ns(message) == wanted_ns), None)

    def layers(self, wanted_ns: int) -> tuple[OccupancyGrid, Image, DiagnosticStatus]:
        """All layers of one answer, joined by its stamp."""
        joined = [
            self.wait(lambda t=topic: self.answer(wanted_ns, t), topic)
            for topic in ("radio_map", "radio_map/pathloss", "radio_map/status")
        ]
        return joined[0], joined[1], joined[2].status[0]

    def count(self, name: str) -> int:
        """A counter of the mapper in its next diagnostics."""
        return int(values(self.health()).get(name, 0))

    def wait_for_count(self, name: str, least: int = 1) -> None:
        """Wait until a counter of the mapper has reached a number."""

        def reached() -> bool:
            heard = self.heard["/diagnostics"]
            return bool(heard) and int(values(heard[-1].status[0]).get(name, 0)) >= least

        self.wait(reached, f"{name} >= {least}")

    def cells(self, wanted_ns: int) -> tuple[np.ndarray, Any]:
        """Values [rows, cols] and grid of the map of a stamp."""
        return conversions.grid_from_message(self.wait(lambda: self.answer(wanted_ns), f"the map of {wanted_ns}"))

    def cells_of(self, message: PoseStamped) -> tuple[np.ndarray, Any]:
        """Send a pose; values [rows, cols] and grid of its map."""
        return conversions.grid_from_message(self.fly(message)[0])

    def stopped(self, process: Any) -> str:
        """Stop a mapper's process by SIGTERM; what it has written. It must end well and soon."""
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        written, _ = process.communicate(timeout=TIMEOUT_S)
        assert (process.returncode, "Traceback" in written) == (0, False), written
        assert time.monotonic() - begun < STOP_S, written
        return str(written)

    def set_parameters(self, **changes: Any) -> Any:
        """Set the mapper's parameters at once; the result."""
        client = self.node.create_client(SetParametersAtomically, "radio_mapper/set_parameters_atomically")
        assert client.wait_for_service(TIMEOUT_S)
        request = SetParametersAtomically.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg() for name, value in changes.items()]
        )
        return self._call(client, request).result

    def trigger(self, service: str) -> Trigger.Response:
        """Call one of the mapper's own services."""
        return self.call(Trigger, service, Trigger.Request())

    def call(self, service_type: type, service: str, request: Any) -> Any:
        client = self.node.create_client(service_type, f"radio_mapper/{service}")
        assert client.wait_for_service(TIMEOUT_S)
        return self._call(client, request)

    def _call(self, client: Any, request: Any) -> Any:
        future = client.call_async(request)
        self.wait(future.done, "the service")
        return future.result()

    def change_state(self, transition: int) -> bool:
        assert self.transitions.wait_for_service(TIMEOUT_S)
        future = self.transitions.call_async(ChangeState.Request(transition=Transition(id=transition)))
        self.wait(future.done, "the transition")
        return bool(future.result().success)

    def close(self) -> None:
        for stop in reversed(self._spinning):
            stop()
        rclpy.try_shutdown(context=self.context)


def spin_in_thread(node: Node, context: Context) -> Callable[[], None]:
    """Spin a node until the returned function is called."""
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    stopping = threading.Event()

    def spin() -> None:
        with contextlib.suppress(ExternalShutdownException, ShutdownException):
            while not stopping.is_set():
                executor.spin_once(timeout_sec=0.5)

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()

    def stop() -> None:
        stopping.set()
        executor.wake()
        thread.join()  # first: nothing may be taken away that a waiting thread still looks at
        executor.shutdown()
        if hasattr(node, "close"):
            node.close()
        node.destroy_node()

    return stop
