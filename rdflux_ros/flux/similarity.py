"""How alike two environments are to the network: the reuse criterion of RadioDiff-Flux (F)."""

from __future__ import annotations

import math

from rdflux_ros.networks.condition import Condition


def environment_distance(one: Condition, other: Condition) -> float:
    """D_env(A, B) = √((|K_A - K_B|² + |V_A - V_B|²) / (tokens · channels)) (F eq. 16), at the finest attention layer.

    Parameters
    ----------
    one, other
        Batches of one; what the streets alone tell a stage (`StreetsPart.condition`, since the midpoint depends on
        nothing else), or all that it is told, as in the paper. The division makes a threshold independent of the
        layer's size.

    Raises
    ------
    ValueError
        A batch is larger than one.
    """
    pairs = [(one.keys[0], other.keys[0]), (one.values[0], other.values[0])]
    if any(len(tensor) != 1 for pair in pairs for tensor in pair):
        raise ValueError("conditions of one environment each are compared, not of a batch")
    squares = sum(float((a.float() - b.float()).square().sum()) for a, b in pairs)
    return math.sqrt(squares / pairs[0][0].numel())
