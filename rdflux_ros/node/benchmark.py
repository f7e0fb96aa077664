"""Executable `benchmark`: one door to all measurements; those on a ROS graph are in `benchmarks`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from rdflux_ros.console import guarded
from rdflux_ros.evaluation import benchmark as timings

OTHERS = {
    "--node": ("overhead", "what a pose takes beside the mapper's computation, between two processes"),
    "--soak": ("soak", "the mapper's process for hours: answers, drops by cause, memory, threads, file handles"),
    "--fuzz": ("fuzz", "everything that comes in, drawn by hypothesis: no uncaught exception, no wrong cell"),
}
"""The measurements beside the timings: module in `benchmarks`, and what it measures."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the first option names, the timings where it names none; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    asked = [name for name in OTHERS if name in arguments]
    if not asked:
        args = _timings_parser().parse_args(arguments)
        return guarded("benchmark", lambda: timings.run(args))
    if len(asked) > 1:
        print(f"benchmark: {' and '.join(asked)}: one measurement at a time", file=sys.stderr)
        return 2
    arguments.remove(asked[0])
    module = import_module(f"rdflux_ros.node.benchmarks.{OTHERS[asked[0]][0]}")
    return int(module.main(arguments))


def _timings_parser() -> argparse.ArgumentParser:
    parser = timings.build_parser()
    group = parser.add_argument_group("other measurements, each with options of its own (like --soak --help)")
    for name, (_, what) in OTHERS.items():
        group.add_argument(name, action="store_true", help=what)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
