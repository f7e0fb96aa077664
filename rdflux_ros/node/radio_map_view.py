"""The node `radio_map_view`: hears what the mapper hears and says, and gives the latest of it to the view's server."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseArray, PoseStamped
from nav_msgs.msg import OccupancyGrid, Odometry
from nav_msgs.msg import Path as PathMessage
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidHandle
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.mapping.inputs import InputError, OccupancyInput, Pose, checked_pose, load_occupancy, parsed_stations
from rdflux_ros.node import conversions, parameters, qos, view_layers
from rdflux_ros.node.parameters import NodeConfig, ViewConfig
from rdflux_ros.node.transforms import Frames, Move
from rdflux_ros.node.view_server import Layer, ViewServer
from rdflux_ros.settings import SettingError, expanded

TRACK_STEP_M = 1.0
"""Distance of a track's points [m]."""


@dataclass
class Track:
    """Where a transmitter was."""

    points: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=view_layers.MAX_POINTS))
    last_stamp_ns: int = 0

    def follow(self, pose: Pose) -> bool:
        """It is here now; whether stamps jumped back, as of a bag that starts again: the track begins anew then."""
        jumped, self.last_stamp_ns = pose.stamp_ns < self.last_stamp_ns, pose.stamp_ns
        if jumped:
            self.points.clear()
        if not self.points or math.dist(self.points[-1], (pose.x, pose.y)) >= TRACK_STEP_M:
            self.points.append((round(pose.x, 2), round(pose.y, 2)))
        return jumped


class RadioMapViewNode(Node):
    """Keeps the latest message of everything; `rate_hz` times a second those that are new become layers.

    Raises
    ------
    rdflux_ros.settings.SettingError
        An unknown parameter was given, a value out of its bounds, a map that cannot be read, a port that is taken.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("radio_map_view", automatically_declare_parameters_from_overrides=True, **options)
        of_mapper = {field.name for field in parameters.fields(NodeConfig, MapperConfig)}
        parameters.declare(self, ViewConfig, passed_over=of_mapper)
        settings = parameters.read_as(ViewConfig, self)
        self._frames = Frames(self)
        self._frame_id = ""
        self._tracks: dict[str, Track] = {}
        self._came: dict[str, tuple[Callable[[], Layer], float]] = {}
        self._streets: Layer | None = None
        self._troubles: dict[str, str] = {}
        self._woken = self.create_guard_condition(lambda: None)
        stations = parsed_stations(settings.stations)
        try:
            occupancy = load_occupancy(expanded("map_yaml", settings.map_yaml)) if settings.map_yaml else None
            self._server = ViewServer(settings.host, settings.port)
        except InputError as error:
            raise SettingError(f"map_yaml: {error}") from error
        except OSError as error:
            raise SettingError(f"cannot listen on host {settings.host}, port {settings.port}: {error}") from error
        self._server.show(view_layers.about(self.get_namespace(), stations))
        if occupancy is not None:
            self._server.show(self._streets_layer(occupancy))
        self._listen(settings)
        self.create_timer(1.0 / settings.rate_hz, self._on_tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.get_logger().info(f"open {self._server.url}")

    def nudge(self) -> None:
        """Let a waiting executor return from `spin_once`; may be called from any thread, even after the node's end."""
        with contextlib.suppress(InvalidHandle):
            self._woken.trigger()

    def close(self) -> None:
        """The process ends: let the browsers go."""
        self._server.stop()

    # Messages

    def _listen(self, settings: ViewConfig) -> None:
        def hear(message_type: type, topic: str, profile: Any, draw: Callable[[Any], Layer]) -> None:
            self.create_subscription(message_type, topic, lambda message: self._keep(topic, draw, message), profile)

        def in_map(draw: Callable[[Any, Move | None], Layer]) -> Callable[[Any], Layer]:
            return lambda message: draw(message, self._move(message.header))

        if not settings.map_yaml:
            hear(OccupancyGrid, "map", qos.map_input(settings.map_durability), self._map_layer)
        hear(OccupancyGrid, "radio_map", qos.LATCHED, self._radio_map_layer)
        hear(DiagnosticArray, "radio_map/status", qos.LATEST, view_layers.status)
        hear(PathMessage, "planned_path", qos.LATEST, in_map(view_layers.path))
        hear(PointCloud2, "radio_map/along_path", qos.LATCHED, in_map(view_layers.along_path))
        hear(PoseArray, "users", qos.LATCHED, in_map(view_layers.users))
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        if settings.pose_source == "px4":  # its local frame is the mapper's business
            self.create_subscription(DiagnosticArray, "radio_map/status", self._on_answered, qos.LATEST)
        else:
            pose_type = Odometry if settings.pose_source == "odom" else PoseStamped
            self.create_subscription(pose_type, settings.pose_source, partial(self._on_pose, "pose"), qos.POSE)
        for drone in settings.drones.split():
            self.create_subscription(PoseStamped, drone, partial(self._on_pose, drone), qos.POSE)

    def _keep(self, name: str, draw: Callable[[Any], Layer], message: Any) -> None:
        self._came[name] = (partial(draw, message), time.monotonic())

    def _on_pose(self, name: str, message: PoseStamped | Odometry) -> None:
        with self._noting(name):
            self._follow(name, conversions.pose_from_message(message, self._move(message.header)))

    def _on_answered(self, message: DiagnosticArray) -> None:
        """The transmitter where the mapper says that it was."""
        for place in (pair.value for status in message.status for pair in status.values if pair.key == "transmitter"):
            with self._noting("transmitter"):
                position = [float(value) for value in place.split(",")]
                self._follow("pose", checked_pose(position, None, conversions.ns_from_stamp(message.header.stamp)))

    def _follow(self, name: str, pose: Pose) -> None:
        track = self._tracks.setdefault(name, Track())
        if track.follow(pose):
            self._frames.clear()
        self._came[f"pose {name}"] = (partial(view_layers.transmitter, name, pose, track.points), time.monotonic())

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        """Others publish here too, so the mapper's line is taken at once."""
        own = self.get_namespace().rstrip("/")
        for status in message.status:
            if status.name.endswith(": radio map") and status.name.rpartition("/")[0] == own:
                self._keep("/diagnostics", view_layers.health, status)

    def _on_tick(self) -> None:
        came, self._came = self._came, {}
        for name, (draw, at) in came.items():
            with self._noting(name):
                layer = draw()
                if layer != self._streets:  # a mapping robot sends the same again and again
                    self._server.show(replace(layer, at=at))
                if layer.name == "streets":
                    self._streets = layer

    @contextlib.contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        """Say once what is wrong with what came; what was shown before stays."""
        try:
            yield
        except ValueError as error:  # InputError and FrameError are
            if self._troubles.get(name) != str(error):
                self.get_logger().warning(f"{name} is not shown: {error}")
            self._troubles[name] = str(error)
        else:
            self._troubles.pop(name, None)

    # Layers that say what the frame is

    def _map_layer(self, message: OccupancyGrid) -> Layer:
        return self._streets_layer(conversions.occupancy_from_message(message, sys.maxsize))

    def _streets_layer(self, occupancy: OccupancyInput) -> Layer:
        self._frame_id = occupancy.frame_id
        return view_layers.streets(occupancy)

    def _radio_map_layer(self, message: OccupancyGrid) -> Layer:
        self._frame_id = self._frame_id or message.header.frame_id
        return view_layers.radio_map(message)

    def _move(self, header: Header) -> Move | None:
        return self._frames.into(self._frame_id or header.frame_id, header)
