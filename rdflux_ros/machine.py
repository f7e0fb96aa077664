"""What the machine has for this process."""

from __future__ import annotations

import os
from pathlib import Path

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""What a container may take (cgroup v2): CPU time and the period in which it may, both [µs]; or ``max``."""


def usable_cores(quota: Path = CPU_QUOTA) -> int:
    """How many cores this process may keep busy, by its affinity and its quota; 1 where the system does not say."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        time, period = map(int, quota.read_text().split())
    except (OSError, ValueError):  # no such file, or no bound
        return cores
    return max(1, min(cores, time // period))
