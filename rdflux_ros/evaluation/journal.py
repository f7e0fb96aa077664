"""Results kept line by line as they come, so that a command that was stopped goes on where it was."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rdflux_ros.code_digest import STREETS, code_digest
from rdflux_ros.evaluation.benchmark import hardware, hardware_line


class Journal:
    """A file of JSON lines: what the results depend on, then a result in each, by name.

    A line that was cut off is dropped. Results that depend on anything else are dropped, too.

    Parameters
    ----------
    path
        None keeps the results in memory alone.
    settings
        All that the results depend on; anything JSON can hold.
    """

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.results: dict[str, dict[str, Any]] = {}
        self.changed: list[str] = []
        """Names of the settings by which results in the file were dropped."""
        header = json.loads(json.dumps(settings))
        if path is not None:
            before, lines = _read(path)
            if before is not None:
                self.changed = sorted(k for k in {*before, *header} if before.get(k) != header.get(k))
            if not self.changed:
                self.results = {line["name"]: line for line in lines}
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(line) + "\n" for line in [header, *self.results.values()]))

    def add(self, name: str, result: Mapping[str, Any]) -> None:
        """Keep a result: numbers, texts, lists and mappings of them."""
        line = self.results[name] = {"name": name, **result}
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")


def opened(path: Path | None, settings: Mapping[str, Any]) -> Journal:
    """The journal of a command; says on stderr what becomes of results that were there.

    Results depend on the code of what is answered and on the hardware, too; `settings` name the ``device``.
    """
    made_by = {"code": code_digest(*STREETS), "hardware": hardware_line(hardware(settings["device"]))}
    journal = Journal(path, {**settings, **made_by})
    if journal.changed:
        print(f"evaluate: {path}: other {', '.join(journal.changed)}, so all starts anew", file=sys.stderr)
    elif journal.results:
        print(f"evaluate: {path}: goes on after {len(journal.results)} results", file=sys.stderr)
    return journal


def _read(path: Path) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """Settings and whole results of a file; None where it holds none."""
    if not path.is_file():
        return None, []
    found: list[dict[str, Any]] = []
    with suppress(ValueError):
        found += map(json.loads, path.read_text().splitlines())  # as far as it goes
    return (found[0], found[1:]) if found and isinstance(found[0], dict) else (None, [])
