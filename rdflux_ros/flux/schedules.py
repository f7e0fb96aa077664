"""When the two stages stop, by a model's method. Imports no torch."""

from __future__ import annotations

from rdflux_ros.diffusion.schedule import Schedule, reused_steps, split, uniform_schedule
from rdflux_ros.model.config import MethodConfig


def midpoint_time(method: MethodConfig) -> float:
    """t_m = 1 - R: where the first stage ends and the second starts."""
    return second_schedule(method)[0]


def first_schedule(method: MethodConfig) -> Schedule:
    """Times of the first stage: its own `static_steps`, or its share of the chain (F §IV)."""
    if method.static_steps and reused_steps(method.steps, method.reuse_ratio):
        return uniform_schedule(method.static_steps, 1.0, midpoint_time(method))
    return split(uniform_schedule(method.steps), method.reuse_ratio)[0]


def second_schedule(method: MethodConfig) -> Schedule:
    """Times of the second stage: the last (1 - R) T steps of the chain."""
    return split(uniform_schedule(method.steps), method.reuse_ratio)[1]


def relative(schedule: Schedule) -> Schedule:
    """Times as shares of the first: what the aligned stage is told, 1 at the midpoint.

    The midpoint knows no transmitter, so that it is to this stage what pure noise is to the full chain; told 0.02, a
    network may move it by a seventh of its output only.
    """
    return tuple(t / schedule[0] for t in schedule)
