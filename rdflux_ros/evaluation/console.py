"""What is printed and written: tables and JSON files."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON with numbers as they are and null where there is none (NaN, infinity)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_finite(content), indent=2) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A markdown table; floats to four significant digits."""
    cells = [[_cell(value) for value in row] for row in [list(header), *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def model_name(model: dict[str, Any]) -> str:
    """What a report calls the model of a summary: its file and the first 12 digits of its digest."""
    return f"{model['file']} (digest {model['digest'][:12]})"


def with_interval(value: float, low: float, high: float, *, spec: str = "+.5f") -> str:
    """A figure and its interval, like ``+0.10000 [+0.05000, +0.15000]``; ``-`` where there is no such number."""
    if not math.isfinite(value):
        return "-"
    if not math.isfinite(low + high):
        return f"{value:{spec}} [-]"
    return f"{value:{spec}} [{low:{spec}}, {high:{spec}}]"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "-"
    return str(value)
