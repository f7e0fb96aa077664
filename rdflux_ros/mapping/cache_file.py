"""The static parts of regions in a file, so that a restart is warm: one row each, written as soon as it is made."""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from rdflux_ros.flux.pipeline import StreetsPart
from rdflux_ros.mapping.inputs import InputError
from rdflux_ros.networks.condition import Condition
from rdflux_ros.propagation.edges import Corners, RoofEdges
from rdflux_ros.propagation.facades import Facades

TABLE = "static_parts"
COMPRESSION = 1
"""Of zlib: rasters of streets shrink to a fifth at once, and more effort would keep poses waiting."""
BUSY_S = 1.0
"""How long another process's write is waited for [s]."""

Content = tuple[Facades, NDArray[np.bool_], StreetsPart | None]
"""Walls, cells without value, the method's part."""


class CacheFile:
    """A SQLite file of static parts by content key; the least recently used go first.

    A key holds all that shaped a part, the code too, so nothing stale is ever found. A process may be killed at any
    time.

    Parameters
    ----------
    capacity
        Parts kept.

    Raises
    ------
    InputError
        ``cache_file``: the file cannot be opened or written; the message names it.
    """

    def __init__(self, path: Path, capacity: int) -> None:
        self._path, self._capacity = path, capacity
        try:
            self._database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute(
                f"CREATE TABLE IF NOT EXISTS {TABLE} (key TEXT PRIMARY KEY, used INTEGER, content BLOB)"
            )
        except sqlite3.Error as error:
            raise self._refusal(error) from error

    def __contains__(self, key: str) -> bool:
        return bool(self._run(f"SELECT 1 FROM {TABLE} WHERE key = ?", key))

    def get(self, key: str) -> Content | None:
        """A part on the CPU; None where there is none. One that cannot be read is forgotten."""
        rows = self._run(f"SELECT content FROM {TABLE} WHERE key = ?", key)
        if not rows:
            return None
        try:
            found = _content(load(zlib.decompress(rows[0][0])))
        except (zlib.error, SafetensorError, KeyError, TypeError):
            self._run(f"DELETE FROM {TABLE} WHERE key = ?", key)
            return None
        with contextlib.suppress(InputError):  # found all the same where that cannot be noted
            self._run(f"UPDATE {TABLE} SET used = {_NEXT} WHERE key = ?", key)
        return found

    def put(self, key: str, facades: Facades, buildings: NDArray[np.bool_], streets: StreetsPart | None) -> None:
        """Keep a part; what is too much goes."""
        content = zlib.compress(save(_tensors(facades, buildings, streets)), COMPRESSION)
        self._run(f"INSERT OR REPLACE INTO {TABLE} VALUES (?, {_NEXT}, ?)", key, content)
        kept = f"SELECT key FROM {TABLE} ORDER BY used DESC LIMIT ?"
        self._run(f"DELETE FROM {TABLE} WHERE key NOT IN ({kept})", self._capacity)

    def clear(self) -> None:
        """Forget all parts."""
        self._run(f"DELETE FROM {TABLE}")

    def close(self) -> None:
        """Close the file; a closed one is not used any more."""
        with contextlib.suppress(sqlite3.Error):
            self._database.close()

    def _run(self, statement: str, *values: object) -> list[tuple]:
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._refusal(error) from error

    def _refusal(self, error: sqlite3.Error) -> InputError:
        return InputError("cache_file", f"cache_file = '{self._path}': {error}")


_NEXT = f"(SELECT COALESCE(MAX(used), 0) + 1 FROM {TABLE})"
"""A number above all that were used before."""


def _tensors(facades: Facades, buildings: NDArray[np.bool_], streets: StreetsPart | None) -> dict[str, Tensor]:
    found = {
        "resolution": torch.tensor(facades.resolution, dtype=torch.float64),
        "buildings": torch.from_numpy(buildings),
        **{f"facades.{f.name}": getattr(facades, f.name) for f in fields(facades) if f.name not in _APART},
        **{f"corners.{f.name}": getattr(facades.corners, f.name) for f in fields(Corners)},
        **{f"roof_edges.{f.name}": getattr(facades.roof_edges, f.name) for f in fields(RoofEdges)},
    }
    if streets is not None:
        condition = streets.condition
        found |= {"midpoint": streets.midpoint, "stem": condition.stem}
        found |= {f"keys.{level}": tensor for level, tensor in enumerate(condition.keys)}
        found |= {f"values.{level}": tensor for level, tensor in enumerate(condition.values)}
        found |= {} if condition.fine is None else {"fine": condition.fine}
    return {name: tensor.cpu().contiguous() for name, tensor in found.items()}


def _content(tensors: dict[str, Tensor]) -> Content:
    corners = Corners(**{f.name: tensors[f"corners.{f.name}"] for f in fields(Corners)})
    roof_edges = RoofEdges(**{f.name: tensors[f"roof_edges.{f.name}"] for f in fields(RoofEdges)})
    own = {f.name: tensors[f"facades.{f.name}"] for f in fields(Facades) if f.name not in _APART}
    facades = Facades(resolution=float(tensors["resolution"]), corners=corners, roof_edges=roof_edges, **own)
    streets = None
    if "midpoint" in tensors:
        levels = range(sum(name.startswith("keys.") for name in tensors))
        condition = Condition(
            tensors["stem"],
            tuple(tensors[f"keys.{level}"] for level in levels),
            tuple(tensors[f"values.{level}"] for level in levels),
            tensors.get("fine"),
        )
        streets = StreetsPart(tensors["midpoint"], condition)
    return facades, tensors["buildings"].numpy(), streets


_APART = ("resolution", "corners", "roof_edges")
"""Fields of `Facades` that are no tensors."""
