"""Parameters and settings: a value within its bounds is taken, any other is refused by name, nothing is raised."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from hypothesis import strategies as st
from rclpy.parameter import Parameter

from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.mapping.inputs import parsed_stations
from rdflux_ros.node import parameters
from rdflux_ros.node.fuzzing.property import Property
from rdflux_ros.settings import SettingError, from_mapping

FIELDS = {field.name: field for field in parameters.fields()}
MAPPER_FIELDS = {field.name: field for field in dataclasses.fields(MapperConfig)}
CHOICES = sorted({choice for field in FIELDS.values() for choice in field.metadata["choices"] or ()})
VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-2, 200),
    st.floats(),
    st.floats(-1.0, 200.0),
    st.text(max_size=8),
    st.sampled_from(CHOICES),
    st.lists(st.integers(0, 9), min_size=1, max_size=3),
    st.lists(st.text(max_size=3), min_size=1, max_size=3),
)
"""What a parameter message can carry, and what lies near the bounds."""
CHANGES = st.tuples(
    st.lists(st.tuples(st.sampled_from(sorted(FIELDS)) | st.text(min_size=1, max_size=12), VALUES), max_size=4),
    st.booleans(),
)
STATIONS = st.text("0123456789.-+e ;nanif\t\n", max_size=30) | st.lists(
    st.tuples(*[st.floats(-1e6, 1e6)] * 3).map(lambda xyz: " ".join(map(str, xyz))), max_size=3
).map("; ".join)
SETTINGS = st.dictionaries(
    st.sampled_from(sorted(MAPPER_FIELDS)) | st.text(max_size=12), VALUES | st.none(), max_size=4
)


def fits(field: dataclasses.Field[Any], value: Any) -> bool:
    """Whether a value may be this setting's, said anew."""
    if isinstance(value, str) and value in field.metadata["words"]:
        return True
    if field.metadata["choices"]:
        return isinstance(value, str) and value in field.metadata["choices"]
    if isinstance(field.default, bool) or isinstance(value, bool):
        return isinstance(field.default, bool) and isinstance(value, bool)
    if isinstance(field.default, str):
        return isinstance(value, str)
    if not isinstance(value, int | float if isinstance(field.default, float) else int) or not math.isfinite(value):
        return False
    low, high = field.metadata["minimum"], field.metadata["maximum"]
    return bool((low is None or value >= low) and (high is None or value <= high))


def refused_by_name_or_taken(drawn: tuple[list[tuple[str, Any]], bool]) -> None:
    """What a node says to a call of its service set_parameters."""
    asked, configured = drawn
    reason = parameters.refusal([Parameter(name, value=value) for name, value in asked], configured)
    own = [(name, value) for name, value in asked if not name.startswith(parameters.BUILT_IN)]
    wrong = [
        name
        for name, value in own
        if name not in FIELDS or not fits(FIELDS[name], value) or (configured and name in parameters.FIXED)
    ]
    assert bool(reason) == bool(wrong), (reason, wrong)
    if wrong:
        assert wrong[0] in reason


def settings_hold_or_are_refused(values: dict[str, Any]) -> None:
    """`from_mapping` gives what it was given, or a `SettingError` that names a key."""
    wrong = [
        name for name, value in values.items() if name not in MAPPER_FIELDS or not fits(MAPPER_FIELDS[name], value)
    ]
    try:
        found = from_mapping(MapperConfig, values)
    except SettingError as error:
        assert any(name in str(error) for name in wrong), (str(error), wrong)
    else:
        assert not wrong
        assert all(getattr(found, name) == value for name, value in values.items())


def stations_are_read_or_refused(text: str) -> None:
    """As many stations as there are groups of three finite numbers, or a `SettingError` that names the key."""
    try:
        found = parsed_stations(text)
    except SettingError as error:
        assert "stations" in str(error)
    else:
        entries = [entry for entry in text.split(";") if entry.strip()]
        assert len(found) == len(entries)
        assert all(math.isfinite(value) for pose in found for value in (pose.x, pose.y, pose.z))


PROPERTIES = (
    Property("parameters are refused by name or taken", CHANGES, refused_by_name_or_taken),
    Property("settings hold or are refused", SETTINGS, settings_hold_or_are_refused),
    Property("stations are read or refused", STATIONS, stations_are_read_or_refused),
)
