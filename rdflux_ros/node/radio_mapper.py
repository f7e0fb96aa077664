"""The lifecycle node `radio_mapper`: pose and map in, radio maps out. It moves data; the worker computes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import OccupancyGrid, Odometry
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.event_handler import QoSRequestedIncompatibleQoSInfo, SubscriptionEventCallbacks
from rclpy.exceptions import InvalidHandle
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from sensor_msgs.msg import Image

from rdflux_ros.mapping.inputs import (
    HeightMap,
    InputError,
    OccupancyInput,
    Pose,
    StreetMap,
    checked_pose,
    load_height_map,
    load_occupancy,
    street_map,
)
from rdflux_ros.node import conversions, parameters, qos
from rdflux_ros.node.diagnostics import Health
from rdflux_ros.node.transforms import FrameError, Frames
from rdflux_ros.node.worker import WORK, Done, Job, Mailbox, Worker
from rdflux_ros.radio.grid import Grid
from rdflux_ros.radio.radio_map import RadioMap

STOP_S = 1.0
"""How long the job at hand is waited for when the worker has to stop [s]."""


@dataclass(frozen=True)
class Received:
    """A pose that is fit to be answered, and the steady time of its receipt [s]."""

    pose: Pose
    at: float


@dataclass
class Outputs:
    """The publishers that exist while the node is active."""

    radio_map: Publisher[OccupancyGrid]
    pathloss: Publisher[Image] | None
    color: Publisher[Image]
    status: Publisher[DiagnosticArray]


class RadioMapperNode(LifecycleNode):
    """Answers every pose with the radio map around it; interface and QoS are in the README's table.

    Everything but the computation happens in the executor, one callback at a time. The worker's results come back
    through a guard condition, and those of an older generation (deactivated or time gone back since) are forgotten.

    Raises
    ------
    rdflux_ros.settings.SettingError
        An unknown parameter was given, or a value out of its bounds.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(
            "radio_mapper",
            automatically_declare_parameters_from_overrides=True,
            allow_undeclared_parameters=True,  # rclpy's own refusal does not name them; parameters.refusal does
            **options,
        )
        parameters.declare(self)
        self._settings = parameters.read(self)
        self._state = "unconfigured"
        self._health = Health()
        self._generation = 0
        self._worker: Worker | None = None
        self._mapper: Any = None
        self._streets: StreetMap | None = None
        self._outputs: Outputs | None = None
        self._map_input: Subscription[OccupancyGrid] | None = None
        self._pose_input: Subscription[Any] | None = None
        self._last_stamp_ns: int | None = None
        self._frames = Frames(self)
        self._results = self.create_guard_condition(self._on_results)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._on_diagnostics, clock=steady)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self.add_post_set_parameters_callback(self._on_parameters_set)
        self._autostart_timer: Timer | None = None
        if self._settings.node.autostart:
            self._autostart_timer = self.create_timer(0.0, self._on_autostart, clock=steady)

    def nudge(self) -> None:
        """Let a waiting executor return from `spin_once`; may be called from any thread, even after the node's end."""
        with contextlib.suppress(InvalidHandle):
            self._results.trigger()

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the files, start the worker, listen to the map."""
        self._settings = parameters.read(self)
        try:
            self._start()
        except Exception as error:  # whatever stops it, the node says why in one line and can be configured again
            self._stop()
            self._health.trouble("configure", "failed", f"configure failed: {_line(error)}")
            self.get_logger().error(f"configure failed: {_line(error)}")
            return TransitionCallbackReturn.FAILURE
        self._health.well("configure")
        self._state = "inactive"
        self.get_logger().info(f"configured on {self._mapper.device}")
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the outputs and listen to poses."""
        node = self._settings.node
        self._outputs = Outputs(
            self.create_publisher(OccupancyGrid, "radio_map", qos.LATCHED),
            None,
            self.create_publisher(Image, "radio_map/color", qos.LATEST),
            self.create_publisher(DiagnosticArray, "radio_map/status", qos.LATEST),
        )
        self._open_or_close_pathloss(self._outputs)
        message_type, topic = (Odometry, "odom") if node.pose_source == "odom" else (PoseStamped, "pose")
        self._pose_input = self.create_subscription(message_type, topic, self._on_pose, qos.POSE)
        self._health.last_pose = time.monotonic()
        self._state = "active"
        self.get_logger().info(f"active: waiting for poses on {self._pose_input.topic_name}")
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Fall silent at once; no late joiner finds a latched map."""
        self._close_outputs()
        self._state = "inactive"
        self.get_logger().info("inactive")
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back the model and forget the map."""
        self._stop()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End, from whatever state."""
        self._stop()
        self._state = "finalized"
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition failed half-way: back to unconfigured."""
        self._stop()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """The process ends: fall silent and stop the worker."""
        self._stop()

    def _on_autostart(self) -> None:
        if self._autostart_timer is not None:
            self.destroy_timer(self._autostart_timer)
            self._autostart_timer = None
        if self._state == "unconfigured" and self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def _start(self) -> None:
        node = self._settings.node
        heights = load_height_map(Path(node.height_map).expanduser()) if node.height_map else None
        occupancy = load_occupancy(Path(node.map_yaml).expanduser()) if node.map_yaml else None
        mailbox = Mailbox({"reset": 1, "map": 1, "pose": 1})
        self._worker = Worker(lambda: self._build(mailbox, heights), mailbox, self.nudge)
        self._worker.start()
        if occupancy is not None:
            mailbox.put(Job("map", occupancy))
        else:
            self._map_input = self.create_subscription(
                OccupancyGrid,
                "map",
                self._on_map,
                qos.map_input(node.map_durability),
                event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible_map),
            )

    def _build(
        self, mailbox: Mailbox, heights: HeightMap | None
    ) -> tuple[Mapping[str, Callable[[Any], Any]], Callable[[], bool]]:
        """Runs in the worker's thread, as does what it returns."""
        from rdflux_ros.mapping.mapper import RadioMapper

        config = self._settings.mapper
        mapper = RadioMapper(config)
        mapper.warm_up()
        self._mapper = mapper

        def use_map(occupancy: OccupancyInput) -> StreetMap:
            start = time.monotonic()
            streets = street_map(occupancy, config, heights)
            mapper.set_streets(streets)
            mailbox.hold("map", time.monotonic() - start)  # half of the time is the poses', however fast maps come
            return streets

        def answer(received: Received) -> RadioMap:
            mailbox.hold("pose", 1.0 / self._settings.node.max_rate_hz)
            return mapper.answer(received.pose, wait=False)

        return {"reset": lambda _: mapper.reset_track(), "map": use_map, "pose": answer}, mapper.work

    def _stop(self) -> None:
        self._close_outputs()
        if self._map_input is not None:
            self.destroy_subscription(self._map_input)
            self._map_input = None
        if self._worker is not None:
            self._worker.stop(STOP_S)
        self._worker = self._mapper = self._streets = None
        self._health.troubles.clear()
        self._state = "unconfigured"

    def _close_outputs(self) -> None:
        self._start_over()
        if self._pose_input is not None:
            self.destroy_subscription(self._pose_input)
            self._pose_input = None
        if self._outputs is not None:
            for publisher in vars(self._outputs).values():
                if publisher is not None:
                    self.destroy_publisher(publisher)
            self._outputs = None

    def _start_over(self) -> None:
        """Nothing that was asked before now will be published; the caches stay."""
        self._generation += 1
        self._last_stamp_ns = None
        self._health.well("pose")
        if self._worker is not None:
            self._health.counts["poses_dropped.outdated"] += self._worker.mailbox.clear("pose")
            self._worker.mailbox.put(Job("reset"))

    # Inputs

    def _on_map(self, message: OccupancyGrid) -> None:
        self._health.counts["maps_received"] += 1
        try:
            occupancy = conversions.occupancy_from_message(message, self._settings.mapper.map_max_cells)
        except InputError as error:
            self._refuse_map(error)
            return
        if self._worker is not None:
            self._worker.mailbox.put(Job("map", occupancy))

    def _refuse_map(self, error: InputError) -> None:
        self._health.counts[f"maps_refused.{error.reason}"] += 1
        kept = "the last good one stays in use" if self._streets is not None else "no map yet"
        if self._health.trouble("map", error.reason, f"map refused ({error}); {kept}"):
            self.get_logger().warning(f"map refused ({error}); {kept}")

    def _on_incompatible_map(self, event: QoSRequestedIncompatibleQoSInfo) -> None:
        self.get_logger().warning(
            "a publisher of map offers an incompatible QoS, so its maps do not arrive: "
            "if it does not latch them, set map_durability to volatile"
        )

    def _on_pose(self, message: PoseStamped | Odometry) -> None:
        arrived = time.monotonic()
        self._health.counts["poses_received"] += 1
        self._health.poses.tick()
        self._health.last_pose = arrived
        stamp_ns = conversions.ns_from_stamp(message.header.stamp)
        if self._last_stamp_ns is not None and stamp_ns < self._last_stamp_ns:
            self.get_logger().info("stamps jumped back: starting over with this pose")
            self._health.counts["time_jumps"] += 1
            self._start_over()
            self._frames.clear()
        self._last_stamp_ns = stamp_ns
        if self._streets is None or self._worker is None:
            self._health.counts["poses_dropped.no_map"] += 1
            return
        position, orientation = conversions.position_and_orientation(message)
        turn = (orientation.x, orientation.y, orientation.z, orientation.w)
        try:
            xyz = self._frames.into(self._streets.frame_id, message.header, position)
            pose = checked_pose(xyz, turn, stamp_ns)
        except FrameError as error:
            self._drop_pose("frame_not_connected", error)
        except InputError as error:
            self._drop_pose(error.reason, error)
        else:
            if self._worker.mailbox.put(Job("pose", Received(pose, arrived), self._generation)):
                self._health.counts["poses_dropped.replaced"] += 1

    def _drop_pose(self, reason: str, error: Exception) -> None:
        self._health.counts[f"poses_dropped.{reason}"] += 1
        if self._health.trouble("pose", reason, f"pose dropped: {error}"):
            self.get_logger().warning(f"pose dropped: {error}")

    def _on_set_parameters(self, changes: list[Parameter[Any]]) -> SetParametersResult:
        reason = parameters.refusal(changes, configured=self._worker is not None)
        return SetParametersResult(successful=not reason, reason=reason)

    def _on_parameters_set(self, changes: list[Parameter[Any]]) -> None:
        self._settings = parameters.read(self)
        if self._worker is not None:
            self._worker.mailbox.hold("pose", 0.0)  # what waits for a slower rate waits no longer
        if self._outputs is not None:
            self._open_or_close_pathloss(self._outputs)

    # Outputs

    def _open_or_close_pathloss(self, outputs: Outputs) -> None:
        """As `publish_pathloss` says; a publisher that only fell silent would leave a stale latched image."""
        wanted = self._settings.node.publish_pathloss
        if wanted and outputs.pathloss is None:
            outputs.pathloss = self.create_publisher(Image, "radio_map/pathloss", qos.LATCHED)
        elif not wanted and outputs.pathloss is not None:
            self.destroy_publisher(outputs.pathloss)
            outputs.pathloss = None

    def _on_results(self) -> None:
        for done in self._worker.finished() if self._worker is not None else ():
            if done.job.kind == "map":
                self._on_map_done(done)
            elif done.job.kind == WORK and done.error is not None:
                self._fail(done.error)
            elif done.job.kind == "pose" and done.job.generation == self._generation:
                self._on_pose_done(done)
            elif done.job.kind == "pose":
                self._health.counts["poses_dropped.outdated"] += 1

    def _on_map_done(self, done: Done) -> None:
        if isinstance(done.error, InputError):
            self._refuse_map(done.error)
        elif done.error is not None:
            self._fail(done.error)
        else:
            before, self._streets = self._streets, done.result
            self._health.well("map")
            self._health.well("worker")
            grid, frame_id = done.result.grid, done.result.frame_id
            if before is None or (before.grid, before.frame_id) != (grid, frame_id):  # a mapping robot sends many
                self.get_logger().info(f"map in use: {_size(grid)} m at {grid.resolution:g} m in frame '{frame_id}'")

    def _on_pose_done(self, done: Done) -> None:
        if isinstance(done.error, InputError):
            self._drop_pose(done.error.reason, done.error)
        elif done.error is not None:
            self._health.counts["poses_dropped.failed"] += 1
            self._fail(done.error)
        else:
            self._health.well("pose")
            self._health.well("worker")
            self._publish(done.result, done.job.payload.at)

    def _fail(self, error: Exception) -> None:
        if self._health.trouble("worker", type(error).__name__, _line(error)):
            self.get_logger().error(f"computation failed: {_line(error)}")

    def _publish(self, answer: RadioMap, received_at: float) -> None:
        outputs = self._outputs
        if outputs is None:
            return
        outputs.radio_map.publish(conversions.occupancy_message(answer))
        if outputs.pathloss is not None:
            outputs.pathloss.publish(conversions.pathloss_message(answer))
        if self._settings.node.publish_color and outputs.color.get_subscription_count() > 0:
            outputs.color.publish(conversions.color_message(answer))
        latency = f"{1e3 * (time.monotonic() - received_at):.3f}"
        outputs.status.publish(conversions.status_message(answer, **{"latency_ms.receipt_to_message": latency}))
        self._health.counts["poses_answered"] += 1
        self._health.answers.tick()

    def _on_diagnostics(self) -> None:
        values: dict[str, object] = {"model": self._settings.mapper.model}
        device = ""
        if self._mapper is not None:
            device = str(self._mapper.device)
            values["regions_prepared"] = self._mapper.regions_prepared
            values["region_hits"] = self._mapper.region_hits
        if self._streets is not None:
            values["map_frame"] = self._streets.frame_id
            values["map_size_m"] = _size(self._streets.grid)
        name = f"{self.get_fully_qualified_name()}: radio map"
        status = self._health.status(
            name, self._state, self._streets is not None, self._settings.node.pose_timeout_s, values
        )
        status.hardware_id = device
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def _size(grid: Grid) -> str:
    return f"{grid.width * grid.resolution:.0f} x {grid.height * grid.resolution:.0f}"


def _line(error: Exception) -> str:
    """An exception in one line; what nobody foresaw with its type."""
    text = " ".join(str(error).split())
    foreseen = isinstance(error, OSError) or type(error).__module__.startswith("rdflux_ros.")
    return text if foreseen else f"{type(error).__name__}: {text}"
