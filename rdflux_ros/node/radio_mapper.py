"""The lifecycle node `radio_mapper`: pose and map in, radio maps out. It moves data; the worker computes."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.srv import GetMap
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidHandle
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.service import Service
from rclpy.timer import Timer
from std_srvs.srv import Trigger

from rdflux_ros.mapping.inputs import InputError, StreetMap, load_height_map, load_occupancy, parsed_stations
from rdflux_ros.mapping.path import AlongPath
from rdflux_ros.mapping.saved_maps import save_radio_map
from rdflux_ros.mapping.servers import Served
from rdflux_ros.node import conversions, parameters
from rdflux_ros.node.computing import Answered, Computing
from rdflux_ros.node.diagnostics import Health, give_back_memory
from rdflux_ros.node.inputs import MAIN, Inputs
from rdflux_ros.node.outputs import Outputs
from rdflux_ros.node.worker import WORK, Done, Job, Worker
from rdflux_ros.radio.grid import Grid
from rdflux_ros.radio.radio_map import MIDPOINT_PENDING, RadioMap
from rdflux_ros.settings import expanded

STOP_S = 1.0
"""How long the job at hand is waited for when the worker has to stop [s]."""


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
        self._inputs: Inputs | None = None
        self._computing: Computing | None = None
        self._worker: Worker | None = None
        self._outputs: Outputs | None = None
        self._own_services: list[Service[Any, Any]] = []
        self._streets: StreetMap | None = None
        self._map_stamp_ns = 0
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
        assert self._computing is not None
        self.get_logger().info(f"configured on {self._computing.mapper.device}")
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the outputs and listen to poses."""
        assert self._inputs is not None
        self._outputs = Outputs(self, self._settings)
        topic = self._inputs.listen()
        self._health.posed = False
        self._state = "active"
        self._serve_stations()
        self.get_logger().info(f"active: waiting for poses on {topic}")
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
        heights = load_height_map(expanded("height_map", node.height_map)) if node.height_map else None
        occupancy = load_occupancy(expanded("map_yaml", node.map_yaml)) if node.map_yaml else None
        self._inputs = inputs = Inputs(self, self._settings, self._health)
        self._computing = Computing(self._settings, heights, inputs.mailbox, inputs.poses, inputs.names)
        self._worker = Worker(self._computing.build, inputs.mailbox, self.nudge)
        self._worker.start()
        if occupancy is not None:
            inputs.mailbox.put(Job("map", occupancy))
        inputs.listen_to_map()
        self._own_services = [
            self.create_service(GetMap, "~/get_radio_map", self._on_get_radio_map),
            self.create_service(Trigger, "~/clear_cache", self._on_clear_cache),
            self.create_service(Trigger, "~/save_map", self._on_save_map),
        ]

    def _stop(self) -> None:
        self._close_outputs()
        for service in self._own_services:
            self.destroy_service(service)
        self._own_services = []
        if self._inputs is not None:
            self._inputs.close()
        if self._worker is not None:
            self._worker.stop(STOP_S)
        if self._computing is not None and self._computing.mapper is not None:
            self._computing.mapper.close()
        self._inputs = self._computing = self._worker = self._streets = None
        self._health.troubles.clear()
        self._state = "unconfigured"

    def _close_outputs(self) -> None:
        if self._inputs is not None:
            self._inputs.stop_listening()
        if self._outputs is not None:
            self._outputs.close()
            self._outputs = None

    # Parameters

    def _on_set_parameters(self, changes: list[Parameter[Any]]) -> SetParametersResult:
        reason = parameters.refusal(changes, configured=self._worker is not None)
        if not reason:
            settings = parameters.changed(self._settings, changes)
            try:
                parsed_stations(settings.mapper.stations)
                if self._computing is not None:
                    self._computing.mapper.check(settings.mapper)
            except ValueError as error:
                reason = _line(error)
        return SetParametersResult(successful=not reason, reason=reason)

    def _on_parameters_set(self, changes: list[Parameter[Any]]) -> None:
        before, self._settings = self._settings, parameters.read(self)
        for name in [name for name in self._health.troubles if name.startswith("station")]:
            self._health.well(name)
        if self._inputs is None:
            return
        self._inputs.use(self._settings)
        self._inputs.mailbox.put(Job("settings", self._settings))
        if self._outputs is not None:
            self._outputs.use(self._settings)
            self._serve_stations(new=before.mapper != self._settings.mapper)

    # Services

    def _on_get_radio_map(self, request: GetMap.Request, response: GetMap.Response) -> GetMap.Response:
        if self._outputs is not None and self._outputs.last is not None:
            response.map = conversions.occupancy_message(self._outputs.last)
        return response

    def _on_clear_cache(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._inputs is not None:
            self._inputs.mailbox.put(Job("clear"))
            self._serve_stations()
        response.success, response.message = True, "every region will be prepared anew"
        return response

    def _on_save_map(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        directory = self._settings.node.save_directory
        if self._outputs is None or self._outputs.last is None:
            response.success, response.message = False, "no map yet"
            return response
        try:
            response.message = str(save_radio_map(self._outputs.last, Path(directory).expanduser().resolve()))
            response.success = True
        except (OSError, RuntimeError) as error:  # RuntimeError: there is no such home
            reason = getattr(error, "strerror", None) or error
            response.success, response.message = False, f"save_directory = '{directory}': {reason}"
        return response

    # Results

    def _on_results(self) -> None:
        handlers: Mapping[str, Callable[[Done], None]] = {
            "map": self._on_map_done,
            "settings": self._on_settings_done,
            "obstacles": self._on_obstacles_done,
            "rssi": self._on_rssi_done,
            "pose": self._on_pose_done,
            "again": self._on_pose_done,
            "query": self._on_query_done,
            "path": self._on_path_done,
        }
        asked = ("pose", "again", "query", "path")
        for done in self._worker.finished() if self._worker is not None else ():
            kind = done.job.kind
            if kind in asked and (self._inputs is None or done.job.generation != self._inputs.generation):
                if not _is_counted(done):
                    self._health.counts[f"{_ANSWERED[kind]}_dropped.outdated"] += 1
            elif kind in handlers and not _failed(done):
                handlers[kind](done)
            elif done.error is not None:
                if kind in asked:
                    self._health.counts[f"{_ANSWERED[kind]}_dropped.failed"] += 1
                self._fail(done.error)

    def _on_map_done(self, done: Done) -> None:
        assert self._inputs is not None
        if isinstance(done.error, InputError):
            self._inputs.refuse_map(done.error)
            return
        self._health.well("map")
        self._health.well("worker")
        self._map_stamp_ns = done.job.payload.stamp_ns
        self._use_streets(done.result)

    def _on_settings_done(self, done: Done) -> None:
        if isinstance(done.error, InputError):
            assert self._inputs is not None
            self._inputs.refuse_map(done.error)
        elif done.result is not None:
            self._health.well("map")
            self._use_streets(done.result)

    def _use_streets(self, streets: StreetMap) -> None:
        assert self._inputs is not None
        before, self._streets = self._streets, streets
        if before is None or (before.grid, before.frame_id) != (streets.grid, streets.frame_id):
            grid = streets.grid  # a mapping robot sends many: only another size or frame is news
            self.get_logger().info(
                f"map in use: {_size(grid)} m at {grid.resolution:g} m in frame '{streets.frame_id}'"
            )
        self._inputs.map_used(streets.frame_id)
        self._serve_stations()

    def _serve_stations(self, *, new: bool = True) -> None:
        """Fixed stations are answered whenever something changes, without any pose."""
        ready = self._outputs is not None and self._streets is not None and self._inputs is not None
        if new and ready and self._settings.mapper.stations.strip():
            assert self._inputs is not None
            self._inputs.ask_again(self._map_stamp_ns)

    def _look_after_stations(self) -> None:
        """No pose has them answered again once obstacles are outdated, or the model works again."""
        heard = self._health.received.get("obstacles")
        outdated = heard is not None and time.monotonic() - heard > self._settings.node.dynamic_timeout_s
        if outdated or "model" in self._health.troubles:
            self._serve_stations()

    def _on_obstacles_done(self, done: Done) -> None:
        assert self._inputs is not None
        if self._outputs is not None:
            self._inputs.ask_again(done.result.occupancy.stamp_ns)

    def _on_rssi_done(self, done: Done) -> None:
        assert self._inputs is not None
        counts: Counter[str] = done.result
        self._health.counts["rssi_measurements_used"] += counts.pop("used", 0)
        for reason, count in counts.items():
            self._health.counts[f"rssi_measurements_refused.{reason}"] += count
        if self._outputs is not None:
            self._inputs.ask_again(done.job.payload.stamp_ns)

    def _on_pose_done(self, done: Done) -> None:
        assert self._inputs is not None
        if done.error is not None:
            self._health.counts["poses_dropped.failed"] += 1
            self._fail(done.error)
            return
        answered: Answered = done.result
        for name, error in answered.served.refused.items():
            self._refuse_server(name, error)
        for name in answered.served.asked - answered.served.refused.keys():
            self._health.well(name)
        if answered.served.asked:
            self._health.well("worker")
        if answered.served.radio_map is not None and self._outputs is not None:
            self._outputs.publish(answered.served.radio_map, answered.at)
            self._health.counts["poses_answered"] += 1
            self._health.answers.tick()
            self._judge(answered.served.radio_map)

    def _refuse_server(self, name: str, error: InputError) -> None:
        """A transmitter cannot be answered; the others are."""
        assert self._inputs is not None
        if name == MAIN:
            self._inputs.drop_pose(error)
            return
        if name in self._inputs.names:
            self._health.counts[f"poses_dropped.{error.reason}"] += 1
        if self._health.trouble(name, error.reason, f"{name} is left out: {error}"):
            self.get_logger().warning(f"{name} is left out: {error}")

    def _judge(self, answer: RadioMap) -> None:
        """The physics layer in the model's place is an error, unless a region was entered just now."""
        if answer.fallback in ("", MIDPOINT_PENDING):
            self._health.well("model")
        elif self._health.trouble("model", answer.fallback, f"the physics layer answers alone: {answer.fallback}"):
            self.get_logger().error(f"the physics layer answers alone: {answer.fallback}")

    def _on_query_done(self, done: Done) -> None:
        assert self._inputs is not None
        if isinstance(done.error, InputError):
            self._inputs.drop_query(done.error)
        elif self._outputs is not None:
            self._health.well("query")
            self._health.well("worker")
            self._judge(done.result.served.radio_map)
            self._health.counts["queries_answered"] += 1
            self._outputs.publish_query(done.result.served.radio_map)

    def _on_path_done(self, done: Done) -> None:
        assert self._inputs is not None
        if isinstance(done.error, InputError):  # the map has changed under it
            self._inputs.drop_path(done.error)
            return
        if self._outputs is None:
            return
        found: AlongPath = done.result
        self._health.well("path")
        self._health.well("worker")
        self._health.counts["paths_answered"] += 1
        self._health.counts["users_outside"] = found.users_outside
        for reason, count in found.refused.items():
            self._health.counts[f"path_poses_dropped.{reason}"] += count
        if len(found.poses) < found.of:
            self._health.counts["paths_thinned"] += 1
            self.get_logger().info(f"planned_path of {found.of} poses thinned to {len(found.poses)}: path_max_poses")
        self._outputs.publish_path(found, done.job.payload.header)

    def _fail(self, error: Exception) -> None:
        if self._health.trouble("worker", type(error).__name__, _line(error)):
            self.get_logger().error(f"computation failed: {_line(error)}")

    def _on_diagnostics(self) -> None:
        self._look_after_stations()
        give_back_memory()  # once a second: at every answer it would cost too much
        values: dict[str, object] = {"model": self._settings.mapper.model}
        device = ""
        if self._computing is not None and self._computing.mapper is not None:
            mapper = self._computing.mapper
            device = str(mapper.device)
            values["regions_prepared"] = mapper.regions_prepared
            values["regions_loaded"] = mapper.regions_loaded
            values["region_hits"] = mapper.region_hits
            if mapper.cache_file_trouble:
                self._health.trouble("cache_file", "cache_file", f"without the cache file: {mapper.cache_file_trouble}")
        if self._streets is not None:
            values["map_frame"] = self._streets.frame_id
            values["map_size_m"] = _size(self._streets.grid)
        status = self._health.status(
            f"{self.get_fully_qualified_name()}: radio map",
            self._state,
            self._streets is not None,
            self._settings.node.pose_timeout_s,
            values,
            stations=bool(self._settings.mapper.stations.strip()),
        )
        status.hardware_id = device
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


_ANSWERED = {"pose": "poses", "again": "poses", "query": "queries", "path": "paths", WORK: "steps"}


def _is_counted(done: Done) -> bool:
    """No pose is lost with this one: it was an old pose's other answer, or what it was left for went before it."""
    return done.job.kind == "again" or (isinstance(done.result, Answered) and done.result.served == Served(None))


def _failed(done: Done) -> bool:
    """The job ended in an error that is no input's."""
    return done.error is not None and not isinstance(done.error, InputError)


def _size(grid: Grid) -> str:
    return f"{grid.width * grid.resolution:.0f} x {grid.height * grid.resolution:.0f}"


def _line(error: Exception) -> str:
    """An exception in one line; what nobody foresaw with its type."""
    text = " ".join(str(error).split())
    foreseen = isinstance(error, OSError) or type(error).__module__.startswith("rdflux_ros.")
    return text if foreseen else f"{type(error).__name__}: {text}"
