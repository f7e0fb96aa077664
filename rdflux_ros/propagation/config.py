"""The physics layer's settings. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from rdflux_ros.settings import checked_instance, setting


@dataclass(frozen=True)
class PhysicsConfig:
    """How far the physics layer looks."""

    reflection_order: int = setting(
        4,
        "walls that a reflected ray may meet, the ground counted as one; 0: the ground alone reflects",
        minimum=0,
        maximum=6,
    )

    def __post_init__(self) -> None:
        checked_instance(self)
