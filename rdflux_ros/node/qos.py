"""Quality of service of every topic (the README's table says the same)."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

POSE = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Matches best-effort publishers (mavros) and reliable ones."""
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""Who subscribes late gets the last answer."""
LATEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
QUERIES = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
"""Every one counts."""


def map_input(durability: str) -> QoSProfile:
    """QoS of the `map` subscription: ``transient_local`` (map_server, SLAM) or ``volatile``."""
    policy = DurabilityPolicy.TRANSIENT_LOCAL if durability == "transient_local" else DurabilityPolicy.VOLATILE
    return QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=policy)
