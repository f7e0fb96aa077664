"""The answer: pathloss on a grid, and how it was found."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rdflux_ros.radio.grid import Grid

MIDPOINT_PENDING = "midpoint not ready"
"""The one fallback that is no trouble: a region was entered just now."""


@dataclass(frozen=True)
class Transmitter:
    """Where the antenna is: map frame, z above ground [m]."""

    x: float
    y: float
    z: float


@dataclass(frozen=True)
class RadioMap:
    """Pathloss around one transmitter.

    Parameters
    ----------
    pathloss_db
        [rows, cols] float32, positive [dB]; NaN where there is no value. Row 0 = south.
    grid
        Where the cells lie in the frame `frame_id`.
    transmitter
        What the map answers.
    stamp_ns
        Stamp of the pose that it answers [ns]; never the time of computation.
    method
        Who answered: ``physics``, ``flux``, ``physics_fallback``.
    region
        (i, j) of the window on the lattice of regions.
    cache
        ``hit``, ``miss`` or ``approximate``: whether what the streets alone decide was ready.
    extrapolated
        The transmitter's height was outside the range that the method answers and was clamped.
    fallback
        Why the physics layer answered in the network's place; empty where it did not.
    reuse_ratio
        Share of the denoising that the midpoint spared; None where no network answered.
    obstacles
        Of dynamic obstacles: ``none`` known, ``used``, or ``outdated`` and left out.
    server
        [rows, cols] int8 number of the strongest transmitter in `servers`, -1 where there is no value; None where one
        transmitter alone is answered.
    servers
        Names of the transmitters, in the order of their numbers.
    stddev_db
        [rows, cols] float32 standard deviation of the error [dB], NaN where there is no value; None where it is not
        asked for.
    rssi_measurements
        How many measurements of received power have shifted the map.
    latency_ms
        Time of each part [ms], by name; ``total`` is the whole answer.
    """

    pathloss_db: NDArray[np.float32]
    grid: Grid
    transmitter: Transmitter
    stamp_ns: int
    frame_id: str = "map"
    method: str = "physics"
    region: tuple[int, int] = (0, 0)
    cache: str = "miss"
    extrapolated: bool = False
    fallback: str = ""
    reuse_ratio: float | None = None
    obstacles: str = "none"
    server: NDArray[np.int8] | None = None
    servers: tuple[str, ...] = ()
    stddev_db: NDArray[np.float32] | None = None
    rssi_measurements: int = 0
    latency_ms: dict[str, float] = field(default_factory=dict)
