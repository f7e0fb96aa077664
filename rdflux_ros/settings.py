"""Typed, documented, bounded settings: one frozen dataclass is the single source of defaults, docs and bounds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class SettingError(ValueError):
    """A setting is unknown, of the wrong type or out of range; the message names the key and the range."""


def setting(
    default: Any,
    doc: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[Any, ...] | None = None,
    words: tuple[str, ...] = (),
) -> Any:
    """A dataclass field with its one-line description, its bounds (inclusive) or choices, and words in their place."""
    metadata = {"doc": doc, "minimum": minimum, "maximum": maximum, "choices": choices, "words": words}
    return dataclasses.field(default=default, metadata=metadata)


def same(config: type[Any], name: str) -> Any:
    """A field as another dataclass has it."""
    field = next(field for field in dataclasses.fields(config) if field.name == name)
    return dataclasses.field(default=field.default, metadata=field.metadata)


def allowed(field: dataclasses.Field[Any]) -> str:
    """What a setting may be, in words: ``one of 'auto', 'cpu'``, ``0.1 to 10`` or ``0 to 1, or 'auto'``."""
    return ", or ".join([_allowed(field), *map(repr, field.metadata.get("words", ()))])


def _allowed(field: dataclasses.Field[Any]) -> str:
    if field.metadata.get("choices"):
        return "one of " + ", ".join(repr(choice) for choice in field.metadata["choices"])
    low, high = field.metadata.get("minimum"), field.metadata.get("maximum")
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    if low is not None:
        return f"at least {low:g}"
    if high is not None:
        return f"at most {high:g}"
    return f"a {type(field.default).__name__}"


def checked(field: dataclasses.Field[Any], value: Any) -> Any:
    """`value` as the field's type; raises `SettingError` with key and range where it does not fit."""
    if value in field.metadata.get("words", ()):
        return value
    kind = type(field.default)
    if kind is float and type(value) is int:
        value = float(value)
    fits = type(value) is kind
    if fits and kind is float:
        fits = math.isfinite(value)
    low, high = field.metadata.get("minimum"), field.metadata.get("maximum")
    if fits and field.metadata.get("choices"):
        fits = value in field.metadata["choices"]
    if fits and low is not None:
        fits = value >= low
    if fits and high is not None:
        fits = value <= high
    if not fits:
        raise SettingError(f"{field.name} = {value!r}: must be {allowed(field)} ({kind.__name__})")
    return value


def from_mapping(cls: type[T], values: Mapping[str, Any]) -> T:
    """Build a settings dataclass; an unknown key or a value that does not fit is a `SettingError`."""
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(str(key) for key in values if key not in fields)
    if unknown:
        raise SettingError(f"unknown setting {', '.join(unknown)}; known are {', '.join(sorted(fields))}")
    return cls(**{name: checked(fields[name], value) for name, value in values.items()})


def expanded(name: str, text: str) -> Path:
    """The path that a setting names, where ``~`` is a home; `SettingError` where there is no such home."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise SettingError(f"{name} = {text!r}: must be a path; there is no such home directory") from error


def checked_instance(settings: Any) -> None:
    """Check every field of a settings dataclass: its ``__post_init__``."""
    for field in dataclasses.fields(settings):
        checked(field, getattr(settings, field.name))
