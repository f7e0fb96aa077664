"""Messages as a subscriber gets them."""

from __future__ import annotations

from typing import Any, TypeVar

from rclpy.serialization import deserialize_message, serialize_message

M = TypeVar("M")


def over_the_wire(message: M) -> M:
    """The message, serialised and read again: float32 fields are rounded, sequences become arrays."""
    received: Any = deserialize_message(serialize_message(message), type(message))
    return received
