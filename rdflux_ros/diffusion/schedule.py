"""The times at which a sampler stops, and how two stages share them. Imports no torch."""

from __future__ import annotations

Schedule = tuple[float, ...]
"""Falling times; a sampler steps from each to the next."""


def uniform_schedule(steps: int, start: float = 1.0, end: float = 0.0) -> Schedule:
    """`steps` equal steps from `start` to `end`: steps + 1 times.

    Raises
    ------
    ValueError
        The times do not fall from at most 1 to at least 0, or a positive number of steps is missing.
    """
    if not 0.0 <= end <= start <= 1.0 or steps < (end < start):
        raise ValueError(f"{steps} steps from t = {start:g} to {end:g}: times must fall within 1 to 0")
    inner = (start + (end - start) * k / steps for k in range(1, steps))
    return (start, *inner, end) if end < start else (start,)


def reused_steps(steps: int, ratio: float) -> int:
    """How many of `steps` the first stage takes at the reuse ratio R (F §IV): the whole number R T.

    Raises
    ------
    ValueError
        R is outside [0, 1) or R T is not whole.
    """
    count = round(ratio * steps) if 0.0 <= ratio < 1.0 else -1
    if count < 0 or abs(ratio * steps - count) > 1e-6:
        raise ValueError(f"reuse ratio {ratio:g} of {steps} steps: must be whole steps, fewer than all")
    return count


def split(schedule: Schedule, ratio: float) -> tuple[Schedule, Schedule]:
    """The two stages' schedules (F §IV); the midpoint's time ends the first and starts the second."""
    middle = reused_steps(len(schedule) - 1, ratio)
    return schedule[: middle + 1], schedule[middle:]
