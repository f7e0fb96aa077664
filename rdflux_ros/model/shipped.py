"""Where the model is that comes with the package. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from rdflux_ros.settings import expanded

SHIPPED = "shipped"
"""Names the model in ``models/``."""
PHYSICS = "physics"
"""Names no model: the physics layer answers alone."""
FILE = Path("models", "flux.safetensors")


class MissingModelError(ValueError):
    """There is no such model file; the message names it."""


def model_path(name: str) -> Path:
    """The file of a model: `SHIPPED`, or a path.

    Raises
    ------
    MissingModelError
        There is no such file.
    SettingError
        There is no such home directory.
    """
    if name != SHIPPED:
        path = expanded("model", name)
        if not path.is_file():
            raise MissingModelError(f"{path}: no such model file")
        return path
    package = Path(__file__).resolve().parents[1]
    places = [package.parent / FILE, *(parent / "share" / package.name / FILE for parent in package.parents)]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise MissingModelError(f"{places[0]}: the shipped model is not there; give a file, or '{PHYSICS}'")
    return found
