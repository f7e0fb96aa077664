"""Accuracy of every method on a dataset; the physics layer's parts against the truth's."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rdflux_ros.evaluation.console import guarded, table, write_json


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``evaluate``; each subcommand sets `run`."""
    parser = argparse.ArgumentParser(prog="evaluate", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    accuracy = commands.add_parser("accuracy", help="score methods on a split of a dataset")
    accuracy.add_argument("--data", type=Path, required=True, help="dataset in RadioMapSeer's layout")
    accuracy.add_argument("--split", choices=("train", "val", "test"), default="test")
    accuracy.add_argument("--methods", type=_names, help="comma-separated; all that there are by default")
    accuracy.add_argument(
        "--map-resolution",
        type=float,
        choices=(0.25, 0.5, 1.0),
        help="walls as a map of this resolution [m] shows them",
    )
    accuracy.add_argument("--cars", action="store_true", help="score the maps with cars on the streets")
    accuracy.add_argument("--report", type=Path, help="folder for pictures and where the error sits")
    _add_common(accuracy)
    accuracy.set_defaults(run=_run_accuracy)

    physics = commands.add_parser("physics", help="compare reflections and diffraction, each apart, with the truth's")
    physics.add_argument("--data", type=Path, required=True, help="folder with city/ and parts/, or city/ itself")
    physics.add_argument("--map-resolution", type=float, choices=(0.25, 0.5, 1.0), help="as for accuracy [m]")
    _add_common(physics)
    physics.set_defaults(run=_run_physics)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=int, help="only this many maps, evenly spread")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--json", type=Path, help="file for the figures")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _run_accuracy(args: argparse.Namespace) -> int:
    from rdflux_ros.evaluation.accuracy import evaluate_accuracy
    from rdflux_ros.evaluation.report import accuracy_tables

    result = evaluate_accuracy(
        args.data, args.split, methods=args.methods, map_resolution=args.map_resolution, cars=args.cars,
        device=args.device, limit=args.limit, report=args.report,
    )  # fmt: skip
    print("\n".join(accuracy_tables(result)))
    return _finish(args, result)


def _run_physics(args: argparse.Namespace) -> int:
    from rdflux_ros.evaluation.physics import evaluate_physics

    result = evaluate_physics(args.data, map_resolution=args.map_resolution, device=args.device, limit=args.limit)
    parts: list[list[Any]] = []
    whole: list[list[Any]] = []
    for label, found in (("all", result), ("z >= 25 m", result["above_25m"]), ("z < 25 m", result["below_25m"])):
        parts += [[part, label, *values.values()] for part, values in found["parts"].items()]
        whole.append([label, *found["nmse"].values()])
    print(table(["part", "transmitters", *result["parts"]["diffraction"]], parts))
    print()
    print(table(["NMSE", *result["nmse"]], whole))
    return _finish(args, result)


def _finish(args: argparse.Namespace, result: dict[str, Any]) -> int:
    if args.json is not None:
        write_json(args.json, result)
        print(f"\nwrote {args.json}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``evaluate``; returns its exit code."""
    args = build_parser().parse_args(argv)
    return guarded("evaluate", lambda: args.run(args))


if __name__ == "__main__":
    raise SystemExit(main())
