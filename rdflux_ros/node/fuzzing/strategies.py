"""Numbers, turns, frames, stamps, grids: what inputs and answers are made of."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from rdflux_ros.radio.grid import Grid

Quaternion = tuple[float, float, float, float]

ANY_FLOAT = st.floats()
"""Any double: NaN, infinities, denormals, 1e308."""
ANY_SINGLE = st.floats(width=32)
FRAMES = st.just("map") | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
"""Names of frames; the empty one too."""
STAMPS = st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(0, 10**9 - 1))
"""(sec, nanosec) of a Time message."""
STAMPS_NS = st.integers(0, (2**31 - 1) * 10**9)
YAWS = st.sampled_from([0.0, math.pi / 2, math.pi, -math.pi / 2, math.pi / 4]) | st.floats(-math.pi, math.pi)
RESOLUTIONS = st.sampled_from([0.05, 0.1, 0.2, 0.25, 0.3, 0.5, 1.0, 1.5, 2.0]) | st.floats(0.04, 3.0)
COORDINATES = st.integers(-1000, 1000).map(float) | st.floats(-1e4, 1e4)


def upright(yaw: float, length: float = 1.0) -> Quaternion:
    """The quaternion (x, y, z, w) of a yaw."""
    return (0.0, 0.0, length * math.sin(yaw / 2), length * math.cos(yaw / 2))


ANY_QUATERNIONS: st.SearchStrategy[Quaternion] = st.one_of(
    st.builds(upright, YAWS, st.floats(1e-3, 10.0)), st.just((0.0, 0.0, 0.0, 0.0)), st.tuples(*[ANY_FLOAT] * 4)
)
"""Good ones, zero, and any numbers."""


def grids(side: int = 12, resolutions: st.SearchStrategy[float] = RESOLUTIONS) -> st.SearchStrategy[Grid]:
    """Grids of up to `side` x `side` cells anywhere within 10 km, turned anyhow."""
    sides = st.integers(1, side)
    return st.builds(Grid, sides, sides, resolutions, COORDINATES, COORDINATES, YAWS)
