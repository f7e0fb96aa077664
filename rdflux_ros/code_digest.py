"""What the package's own code was, for files of results that another code would make otherwise."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

GEOMETRY = ("radio", "propagation", "flux.conditions")
"""What the physics layer and the condition images come from."""
STREETS = (*GEOMETRY, "diffusion", "networks", "flux")
"""What all that is kept of a region comes from, but for weights and settings."""


@cache
def code_digest(*parts: str) -> str:
    """16 hex digits for the source of packages and modules, named from this package on like ``flux.conditions``."""
    digest = hashlib.sha256()
    for part in sorted(parts):
        place = Path(__file__).parent.joinpath(*part.split("."))
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
        for file in files:
            digest.update(f"{part} {file.name} ".encode() + file.read_bytes())
    return digest.hexdigest()[:16]
