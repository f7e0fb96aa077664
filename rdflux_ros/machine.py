"""What the machine has for this process."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """How many cores this process may run on; 1 where the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
