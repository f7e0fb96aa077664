"""ROS parameters, declared from the settings that are their only source of names, defaults, descriptions and bounds."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.settings import SettingError, allowed, checked, from_mapping, same, setting

if TYPE_CHECKING:
    from rcl_interfaces.msg import ParameterDescriptor
    from rclpy.node import Node

T = TypeVar("T")
BUILT_IN = ("use_sim_time", "start_type_description_service", "qos_overrides.")
"""What every ROS node accepts beside its own (names or prefixes)."""
FIXED = frozenset(
    {
        *("pose_source", "drones", "map_durability", "map_yaml", "height_map", "autostart", "threads"),
        *("model", "device", "cache_size", "cache_file", "cache_file_size", "reflection_order"),
    }
)
"""What is read when the node is configured; all else may change at any time."""


@dataclass(frozen=True)
class InputConfig:
    """Where poses and map come from: the same for the mapper and for who looks on."""

    pose_source: str = setting(
        "pose",
        "where poses come from: topic pose (PoseStamped), odom (Odometry), or vehicle_odometry (px4_msgs)",
        choices=("pose", "odom", "px4"),
    )
    drones: str = setting(
        "", "topics of further transmitters' poses (PoseStamped), separated by blanks; served together with the first"
    )
    map_durability: str = setting(
        "transient_local",
        "durability asked of the publisher of map; volatile for one that does not latch",
        choices=("transient_local", "volatile"),
    )
    map_yaml: str = setting("", "a map_server map to load instead of listening to map; empty: listen")


@dataclass(frozen=True)
class NodeConfig(InputConfig):
    """What concerns the mapper's node alone: files, rates, outputs."""

    height_map: str = setting("", "a yaml with the buildings' heights (image, resolution, origin, height_scale)")
    max_rate_hz: float = setting(
        20.0, "answers a second at most; of poses that come faster the latest wins [Hz]", minimum=0.01, maximum=1000.0
    )
    pose_timeout_s: float = setting(
        2.0, "silence after which the diagnostics call the pose stale [s]", minimum=0.05, maximum=3600.0
    )
    dynamic_timeout_s: float = setting(
        3.0, "dynamic_obstacles that were received longer ago are left out [s]", minimum=0.05, maximum=3600.0
    )
    threads: int = setting(
        0,
        "CPU threads of the computation; 0: all cores but one (8 at most), since threads that share a core with other "
        "processes wait for one another",
        minimum=0,
        maximum=256,
    )
    save_directory: str = setting(".", "where the service save_map writes, made if missing")
    publish_pathloss: bool = setting(True, "publish radio_map/pathloss (32FC1, dB)")
    publish_color: bool = setting(True, "publish radio_map/color (rgb8) while somebody subscribes")
    publish_coverage: bool = setting(True, "publish radio_map/coverage while somebody subscribes")
    autostart: bool = setting(True, "configure and activate without a lifecycle manager")


@dataclass(frozen=True)
class ViewConfig(InputConfig):
    """The parameters of the browser view."""

    stations: str = same(MapperConfig, "stations")
    host: str = setting("127.0.0.1", "address to listen on; 0.0.0.0: every network of this machine, without a password")
    port: int = setting(8080, "port to listen on; 0: any that is free", minimum=0, maximum=65535)
    rate_hz: float = setting(5.0, "updates a second to each browser at most [Hz]", minimum=1.0, maximum=60.0)


@dataclass(frozen=True)
class Settings:
    """All parameters of the mapper."""

    node: NodeConfig
    mapper: MapperConfig


def fields(*configs: type[Any]) -> Iterator[dataclasses.Field[Any]]:
    """All settings of these dataclasses (none: the mapper's), in the order of documentation."""
    for config in configs or (NodeConfig, MapperConfig):
        yield from dataclasses.fields(config)


def declare(node: Node, *configs: type[Any], passed_over: Collection[str] = ()) -> None:
    """Declare every setting on `node` with what was given on the command line or in a file.

    The node must have been created with ``automatically_declare_parameters_from_overrides=True``. Names that are
    `passed_over` may be given without being the node's: those of another node that reads the same file.

    Raises
    ------
    SettingError
        An unknown parameter was given, or a value that does not fit; the message names it and its bounds.
    """
    known = {field.name: field for field in fields(*configs)}
    given = {name: parameter.value for name, parameter in node.get_parameters_by_prefix("").items()}
    for name in given.keys() & set(passed_over) - known.keys():
        node.undeclare_parameter(name)
        del given[name]
    unknown = sorted(name for name in given if name not in known and not name.startswith(BUILT_IN))
    if unknown:
        raise SettingError(f"unknown parameter {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    for name, field in known.items():
        value = checked(field, given.get(name, field.default))
        if name in given:  # was declared untyped and undescribed
            node.undeclare_parameter(name)
        node.declare_parameter(name, value, descriptor(field), ignore_override=True)


def descriptor(field: dataclasses.Field[Any]) -> ParameterDescriptor:
    """Description and bounds as `ros2 param describe` shows them."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    low, high = field.metadata["minimum"], field.metadata["maximum"]
    described = ParameterDescriptor(
        name=field.name, description=field.metadata["doc"], additional_constraints=allowed(field),
        dynamic_typing=bool(field.metadata["words"]),
    )  # fmt: skip
    if low is None or high is None:
        return described
    if isinstance(field.default, float):
        described.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
    else:
        described.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    return described


def read(node: Node) -> Settings:
    """The parameters of `node` as they are now."""
    return Settings(read_as(NodeConfig, node), read_as(MapperConfig, node))


def read_as(config: type[T], node: Node) -> T:
    """The parameters of `node` that are fields of this dataclass, as they are now."""
    return from_mapping(config, {field.name: node.get_parameter(field.name).value for field in fields(config)})


def changed(settings: Settings, changes: Sequence[Any]) -> Settings:
    """Settings with other values (each with ``name`` and ``value``); those that are none of ours are left out."""
    values = {change.name: change.value for change in changes}

    def with_own(part: T) -> T:
        own = {field.name: field for field in dataclasses.fields(part)}  # type: ignore[arg-type]
        given = {name: checked(field, values[name]) for name, field in own.items() if name in values}
        return dataclasses.replace(part, **given)  # type: ignore[type-var]

    return Settings(with_own(settings.node), with_own(settings.mapper))


def refusal(changes: Sequence[Any], configured: bool) -> str:
    """Why these parameters (each with ``name`` and ``value``) cannot be set now; empty if they can."""
    known = {field.name: field for field in fields()}
    for change in changes:
        if change.name.startswith(BUILT_IN):
            continue
        if change.name not in known:
            return f"unknown parameter {change.name}; known are {', '.join(sorted(known))}"
        try:
            checked(known[change.name], change.value)
        except SettingError as error:
            return str(error)
        if configured and change.name in FIXED:
            return f"{change.name} is read when the node is configured: clean it up, set it, configure it again"
    return ""


def as_help(*configs: type[Any]) -> str:
    """One line for each parameter, for `--help`."""
    return "".join(f"  {field.name:<20}{_described(field)}\n" for field in fields(*configs))


def as_yaml() -> str:
    """The parameter file that lists every parameter with its description, its bounds and its default."""
    lines = [
        "# Every parameter of the mapper, with its default. Values outside the bounds and unknown names are refused.",
        "# Those marked * may change while the node runs; the others are read when it is configured.",
        "/**:",
        "  ros__parameters:",
    ]
    for field in fields():
        mark = "*" if field.name not in FIXED else " "
        lines += textwrap.wrap(_described(field), 112, initial_indent=f"    #{mark} ", subsequent_indent="    #    ")
        lines.append(f"    {field.name}: {_yaml_value(field.default)}")
    return "\n".join(lines) + "\n"


def _described(field: dataclasses.Field[Any]) -> str:
    bounds = {"a bool": "true or false", "a str": "text"}.get(allowed(field), allowed(field))
    return f"{field.metadata['doc']} ({bounds})"


def _yaml_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)
