"""What the node listens to: messages, checked and in the map's frame, into the worker's mailbox."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseArray, PoseStamped
from nav_msgs.msg import OccupancyGrid, Odometry, Path
from rclpy.event_handler import QoSRequestedIncompatibleQoSInfo, SubscriptionEventCallbacks
from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.subscription import Subscription
from rclpy.validate_topic_name import validate_topic_name
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from rdflux_ros.mapping.inputs import InputError, Pose
from rdflux_ros.node import computing, conversions, qos
from rdflux_ros.node.computing import LatestPoses, Obstacles, Received
from rdflux_ros.node.diagnostics import Health
from rdflux_ros.node.parameters import Settings
from rdflux_ros.node.transforms import FrameError, Frames, Move
from rdflux_ros.node.worker import Job, Mailbox
from rdflux_ros.settings import SettingError

MAIN = "pose"
"""Name of the first transmitter; the others are named after their topics."""
MOST_DRONES = 20
"""Moving transmitters at most: servers are numbered in int8, and each takes its share of the time."""
WAITING = ("pose", "again", "query", "path", "rssi")
"""Kinds of jobs whose answers nobody wants after a new start."""


class Inputs:
    """The subscriptions and what becomes of their messages; every callback runs in the executor and never waits.

    Raises
    ------
    SettingError
        `pose_source` is px4 and px4_msgs is not installed.
    """

    def __init__(self, node: Node, settings: Settings, health: Health) -> None:
        self._node, self._health = node, health
        self._settings = settings
        self.names = (MAIN, *settings.node.drones.split())
        """Of the moving transmitters."""
        self._check_names()
        self._px4_type = _px4_type() if settings.node.pose_source == "px4" else None
        self._frames = Frames(node)
        self._lasting: list[Subscription[Any]] = []
        self._active: list[Subscription[Any]] = []
        self._last_stamps_ns: dict[str, int] = {}
        self._resets: int | None = None
        self._users: PoseArray | None = None
        self._path: Path | None = None
        self.mailbox = Mailbox(computing.CAPACITIES)
        self.poses = LatestPoses()
        self.generation = 0
        """Of the jobs whose results are wanted."""
        self.map_frame: str | None = None
        """Frame of the map in use; None before the first."""

    def _check_names(self) -> None:
        drones = self._settings.node.drones
        try:
            for name in self.names[1:]:
                validate_topic_name(name)
        except InvalidTopicNameException as error:
            raise SettingError(f"drones = '{drones}': {' '.join(str(error).split())}") from None
        if len(set(self.names)) < len(self.names) or len(self.names) > MOST_DRONES:
            raise SettingError(
                f"drones = '{drones}': must be at most {MOST_DRONES - 1} different topics, none '{MAIN}'"
            )

    def use(self, settings: Settings) -> None:
        """Follow the settings from now on."""
        self._settings = settings
        for kind in ("pose", "again"):
            self.mailbox.hold(kind, 0.0)  # what waits for a slower rate waits no longer

    def listen_to_map(self) -> None:
        """Subscribe to what is latched: map and users."""
        profile = qos.map_input(self._settings.node.map_durability)
        callbacks = SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible_map)
        if not self._settings.node.map_yaml:
            self._lasting.append(
                self._node.create_subscription(OccupancyGrid, "map", self._on_map, profile, event_callbacks=callbacks)
            )
        self._lasting.append(self._node.create_subscription(PoseArray, "users", self._on_users, qos.LATCHED))

    def listen(self) -> str:
        """Subscribe to what asks for answers; the topic of the poses."""
        source = {
            "pose": (PoseStamped, "pose"),
            "odom": (Odometry, "odom"),
            "px4": (self._px4_type, "vehicle_odometry"),
        }
        message_type, topic = source[self._settings.node.pose_source]
        on_pose = self._on_px4 if self._px4_type is not None else partial(self._on_pose, MAIN)
        create = self._node.create_subscription
        self._active = [
            create(message_type, topic, on_pose, qos.POSE),
            *(create(PoseStamped, name, partial(self._on_pose, name), qos.POSE) for name in self.names[1:]),
            create(OccupancyGrid, "dynamic_obstacles", self._on_obstacles, qos.LATEST),
            create(PoseStamped, "query", self._on_query, qos.QUERIES),
            create(Path, "planned_path", self._on_path, qos.LATEST),
            create(PointCloud2, "rssi", self._on_rssi, qos.QUERIES),
        ]
        self._health.last_pose = time.monotonic()
        return str(self._active[0].topic_name)

    def stop_listening(self) -> None:
        """Ask for nothing any more, and forget what was asked."""
        self.start_over()
        for subscription in self._active:
            self._node.destroy_subscription(subscription)
        self._active = []
        self._path = None

    def close(self) -> None:
        """Listen to nothing any more."""
        self.stop_listening()
        for subscription in self._lasting:
            self._node.destroy_subscription(subscription)
        self._lasting = []
        self._frames.close()
        self.mailbox.close()

    def start_over(self) -> None:
        """Nothing that was asked before now will be published; the caches stay."""
        self.generation += 1
        self._last_stamps_ns.clear()
        for name in self.names:
            self._health.well(name)
        self._health.counts["poses_dropped.outdated"] += self.poses.clear()
        for kind in WAITING:
            lost = self.mailbox.clear(kind)
            if lost and kind in ("query", "path", "rssi"):
                self._health.counts[f"{_PLURALS[kind]}_dropped.outdated"] += lost
        self.mailbox.put(Job("reset"))

    def map_used(self, frame_id: str) -> None:
        """A map is in use; a path that came before it is answered now."""
        before, self.map_frame = self.map_frame, frame_id
        if before not in (None, frame_id):  # nothing that came in the old frame holds
            self.start_over()
        if before != frame_id:
            self._ask_path()

    def ask_again(self, stamp_ns: int) -> None:
        """Have what hovers or stands answered again, for something new of this stamp."""
        self.mailbox.put(Job("again", computing.Again(stamp_ns), self.generation))

    # Messages

    def _on_map(self, message: OccupancyGrid) -> None:
        self._health.counts["maps_received"] += 1
        self._health.received["map"] = time.monotonic()
        try:
            occupancy = conversions.occupancy_from_message(message, self._settings.mapper.map_max_cells)
        except InputError as error:
            self.refuse_map(error)
            return
        self.mailbox.put(Job("map", occupancy))

    def refuse_map(self, error: InputError) -> None:
        """A map cannot be used."""
        self._health.counts[f"maps_refused.{error.reason}"] += 1
        kept = "the last good one stays in use" if self.map_frame is not None else "no map yet"
        self._tell("map", error.reason, f"map refused ({error}); {kept}")

    def _on_incompatible_map(self, event: QoSRequestedIncompatibleQoSInfo) -> None:
        self._node.get_logger().warning(
            "a publisher of map offers an incompatible QoS, so its maps do not arrive: "
            "if it does not latch them, set map_durability to volatile"
        )

    def _on_pose(self, name: str, message: PoseStamped | Odometry) -> None:
        self._receive(name, conversions.ns_from_stamp(message.header.stamp))
        if (move := self._move(name, message.header)) is None:
            return
        try:
            self._leave(name, conversions.pose_from_message(message, *move))
        except InputError as error:
            self._drop(name, error.reason, error)

    def _on_px4(self, message: Any) -> None:
        self._receive(MAIN, 1000 * int(message.timestamp_sample))
        if self.map_frame is None:
            self._health.counts["poses_dropped.no_map"] += 1
            return
        try:
            pose, resets = conversions.pose_from_px4(message, self.map_frame)
        except InputError as error:
            self.drop_pose(error)
            return
        if self._resets not in (None, resets):  # the estimate has jumped: it is not the same track any more
            self._health.counts["estimator_resets"] += 1
            self.start_over()
        self._resets = resets
        self._leave(MAIN, pose)

    def _receive(self, name: str, stamp_ns: int) -> None:
        """Count a pose; start over where its stamp jumps back."""
        self._health.counts["poses_received"] += 1
        self._health.poses.tick()
        self._health.last_pose = time.monotonic()
        self._health.posed = True
        if stamp_ns < self._last_stamps_ns.get(name, stamp_ns):
            self._node.get_logger().info("stamps jumped back: starting over with this pose")
            self._health.counts["time_jumps"] += 1
            self.start_over()
            self._frames.clear()
        self._last_stamps_ns[name] = stamp_ns

    def _leave(self, name: str, pose: Pose) -> None:
        if self.poses.put(name, Received(pose, time.monotonic())):
            self._health.counts["poses_dropped.replaced"] += 1
        self.mailbox.put(Job("pose", None, self.generation))
        time.sleep(0)  # lets the worker, which waits for the interpreter's lock, take it at once

    def drop_pose(self, error: InputError) -> None:
        """A pose cannot be answered."""
        self._drop("pose", error.reason, error)

    def _on_obstacles(self, message: OccupancyGrid) -> None:
        self._health.counts["obstacles_received"] += 1
        self._health.received["obstacles"] = time.monotonic()
        if (move := self._move("obstacles", message.header)) is None:
            return
        try:
            occupancy = conversions.occupancy_from_message(message, self._settings.mapper.map_max_cells, *move)
        except InputError as error:
            self._drop("obstacles", error.reason, error)
            return
        self._health.well("obstacles")
        assert self.map_frame is not None
        occupancy = replace(occupancy, frame_id=self.map_frame)
        self.mailbox.put(Job("obstacles", Obstacles(occupancy, time.monotonic())))

    def _on_rssi(self, message: PointCloud2) -> None:
        if not self._settings.mapper.rssi_correction:
            return
        self._health.counts["rssi_received"] += 1
        if (move := self._move("rssi", message.header)) is None:
            return
        try:
            points, dbm = conversions.rssi_from_message(message, *move)
        except InputError as error:
            self._drop("rssi", error.reason, error)
            return
        self._health.well("rssi")
        stamp_ns = conversions.ns_from_stamp(message.header.stamp)
        if self.mailbox.put(Job("rssi", computing.Rssi(points, dbm, stamp_ns), self.generation)):
            self._health.counts["rssi_dropped.replaced"] += 1

    def _on_users(self, message: PoseArray) -> None:
        self._users = message
        self._ask_path()

    def _on_query(self, message: PoseStamped) -> None:
        self._health.counts["queries_received"] += 1
        if (move := self._move("query", message.header)) is None:
            return
        try:
            pose = conversions.pose_from_message(message, *move)
        except InputError as error:
            self.drop_query(error)
            return
        if self.mailbox.put(Job("query", Received(pose, time.monotonic()), self.generation)):
            self._health.counts["queries_dropped.replaced"] += 1

    def drop_query(self, error: InputError) -> None:
        """A query cannot be answered."""
        self._drop("query", error.reason, error)

    def _on_path(self, message: Path) -> None:
        self._health.counts["paths_received"] += 1
        self._path = message
        self._ask_path()

    def drop_path(self, error: InputError) -> None:
        """A path cannot be answered."""
        self._drop("path", error.reason, error)

    def _ask_path(self) -> None:
        """Have the last path answered for the users of now; without a map, once there is one."""
        message = self._path
        if message is None or self.map_frame is None or (move := self._move("path", message.header)) is None:
            return
        poses: list[Pose | InputError] = [conversions.path_pose(pose, *move) for pose in message.poses]
        users = np.zeros((0, 2))
        if self._users is not None and (users_move := self._move("users", self._users.header)) is not None:
            users = conversions.users_from_message(self._users, *users_move)
            self._health.well("users")
        header = Header(stamp=message.header.stamp, frame_id=self.map_frame)
        if self.mailbox.put(Job("path", computing.Path(poses, users, header), self.generation)):
            self._health.counts["paths_dropped.replaced"] += 1

    # Helpers

    def _move(self, about: str, header: Header) -> tuple[Move | None] | None:
        """How something (the name of a transmitter: its pose) moves into the map's frame, as an argument.

        None where it cannot, which is counted.
        """
        if self.map_frame is None:
            self._health.counts[f"{_PLURALS.get(about, 'poses')}_dropped.no_map"] += 1
            return None
        try:
            return (self._frames.into(self.map_frame, header),)
        except FrameError as error:
            self._drop(about, "frame_not_connected", error)
            return None

    def _drop(self, about: str, reason: str, error: Exception) -> None:
        self._health.counts[f"{_PLURALS.get(about, 'poses')}_dropped.{reason}"] += 1
        self._tell(about, reason, f"{about} dropped: {error}")

    def _tell(self, about: str, reason: str, text: str) -> None:
        if self._health.trouble(about, reason, text):
            self._node.get_logger().warning(text)


_PLURALS = {
    "obstacles": "obstacles",
    "users": "users",
    "query": "queries",
    "path": "paths",
    "rssi": "rssi",
}


def _px4_type() -> Callable[..., Any]:
    try:
        return importlib.import_module("px4_msgs.msg").VehicleOdometry
    except ImportError:
        raise SettingError("pose_source = 'px4': px4_msgs is not installed") from None
