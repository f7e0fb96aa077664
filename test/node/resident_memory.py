"""How much memory this process has."""

from __future__ import annotations

import resource
from pathlib import Path


def resident_bytes() -> int:
    return resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[1])
