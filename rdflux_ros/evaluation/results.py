"""Reports of several commands on one page, each with the command, the day and the hardware that made it."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from rdflux_ros.data.radiomapseer import DataError
from rdflux_ros.evaluation.benchmark import hardware_line

REPORT = "report.md"
FIRST = ("accuracy", "transmitter", "dynamic", "static", "similarity", "movement")
"""Reports that come first on the page, in this order; the others follow by name."""
_UNSHAPING = ("--json", "--report")
"""Options that shape no figure."""
_DIGEST = re.compile(r"\(digest ([0-9a-f]+)\)")
"""What `model_name` says."""


def sign(folder: Path, argv: Sequence[str], hardware: dict[str, Any]) -> None:
    """Append to a folder's report by which command it was made, when, on what; files are called by their names."""
    shown: list[str] = []
    skip = False
    for word in argv:
        if skip or word.split("=")[0] in _UNSHAPING:
            skip = not skip and "=" not in word
            continue
        shown.append(Path(word).name if "/" in word else word)
    made = f"`evaluate {shlex.join(shown)}`, {date.today()}, {hardware_line(hardware)}"
    with (folder / REPORT).open("a", encoding="utf-8") as file:
        file.write(f"\nMade by {made}.\n")


def write_results(folder: Path, out: Path) -> list[str]:
    """Put the reports of a folder's folders on one page; returns their names.

    Where they are not all of one model, stderr has a line that says which is of which.

    Raises
    ------
    DataError
        None of the folders holds a report.
    """
    names = [path.parent.name for path in folder.glob(f"*/{REPORT}")]
    if not names:
        raise DataError(f"{folder}: none of its folders holds a {REPORT}; `evaluate ... --report` writes them")
    names.sort(key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
    lines = ["# Results", "", "Each section was written by the command that stands at its end.", ""]
    models: dict[str, list[str]] = {}
    out.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        beside = os.path.relpath(folder / name, out.parent)
        text = (folder / name / REPORT).read_text(encoding="utf-8")
        for digest in _DIGEST.findall(text)[:1]:
            models.setdefault(digest, []).append(name)
        text = re.sub(r"^#", "##", text, flags=re.MULTILINE)
        lines += [re.sub(r"\]\((?!https?:)([^)]+)\)", rf"]({beside}/\1)", text).rstrip(), ""]
    out.write_text("\n".join(lines), encoding="utf-8")
    if len(models) > 1:
        found = "; ".join(f"{digest}: {', '.join(sections)}" for digest, sections in models.items())
        print(f"evaluate: {out}: sections are of different models: {found}", file=sys.stderr)
    return names
