"""How alike two environments are to the network: the reuse criterion of RadioDiff-Flux (F)."""

from __future__ import annotations

import math

from rdflux_ros.networks.condition import Condition


def environment_distance(one: Condition, other: Condition, layer: int = 0) -> float:
    """D_env(A, B) = √((|K_A - K_B|² + |V_A - V_B|²) / (tokens · channels)) (F eq. 16).

    Parameters
    ----------
    one, other
        Batches of one; what the streets alone tell a stage (`StreetsPart.condition`, since the midpoint depends on
        nothing else), or all that it is told, as in the paper.
    layer
        Which attention layer's keys and values, counted from the finest. The division makes a threshold independent
        of its size.

    Raises
    ------
    ValueError
        A batch is larger than one, or there is no such layer.
    """
    if not 0 <= layer < len(one.keys):
        raise ValueError(f"layer {layer}: the condition has {len(one.keys)}")
    pairs = [(one.keys[layer], other.keys[layer]), (one.values[layer], other.values[layer])]
    if any(len(tensor) != 1 for pair in pairs for tensor in pair):
        raise ValueError("conditions of one environment each are compared, not of a batch")
    squares = sum(float((a.float() - b.float()).square().sum()) for a, b in pairs)
    return math.sqrt(squares / pairs[0][0].numel())
