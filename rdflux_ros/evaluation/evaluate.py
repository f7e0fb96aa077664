"""Accuracy of every method on a dataset; what reuse costs, how alike streets must be for it, and how far a transmitter
may move; how far off answers may be; the physics layer's parts against the truth's; error against training; the card of
a model; reports on one page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rdflux_ros.console import guarded, natural, positive
from rdflux_ros.evaluation.console import table, write_json
from rdflux_ros.model.shipped import PHYSICS, SHIPPED


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``evaluate``; each subcommand sets `run`."""
    parser = argparse.ArgumentParser(prog="evaluate", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    accuracy = commands.add_parser("accuracy", help="score methods on a split of a dataset")
    accuracy.add_argument("--data", type=Path, required=True, help="dataset in RadioMapSeer's layout")
    accuracy.add_argument("--split", choices=("train", "val", "test"), default="test")
    accuracy.add_argument(
        "--methods", type=_names, help="comma-separated; all that the model has by default; full_N: in N steps"
    )
    accuracy.add_argument(
        "--radiounet",
        type=Path,
        nargs="*",
        default=[],
        metavar="FILE",
        help="baselines that `train radiounet` made: each gets a row",
    )
    accuracy.add_argument(
        "--model", default=SHIPPED, metavar="FILE", help=f"model file; {PHYSICS!r}: none ({SHIPPED!r}, in models/)"
    )
    accuracy.add_argument("--reuse-ratio", type=float, metavar="R", help="in place of the model's own")
    accuracy.add_argument("--static-steps", type=int, metavar="N", help="of the first stage, in place of the model's")
    accuracy.add_argument("--temperature", type=float, help="scale of all noise, in place of the model's own")
    accuracy.add_argument("--steps", type=positive, metavar="N", help="of the full chain, in place of the model's T")
    accuracy.add_argument("--seed", type=natural, default=0, help="of the draws of donors and other midpoints (0)")
    accuracy.add_argument(
        "--map-resolution",
        type=float,
        choices=(0.25, 0.5, 1.0),
        help="walls as a map of this resolution [m] shows them",
    )
    accuracy.add_argument("--cars", action="store_true", help="score the maps with cars on the streets")
    accuracy.add_argument("--report", type=Path, help="folder for tables, where the error sits, and pictures")
    accuracy.add_argument("--no-pictures", action="store_true", help="report without pictures of maps")
    _add_common(accuracy)
    accuracy.set_defaults(run=_run_accuracy)

    reuse = commands.add_parser("reuse", help="what reuse costs, against how much of the chain is reused")
    reuse.add_argument("--scenario", choices=("transmitter", "dynamic", "static"), required=True, help="what changes")
    reuse.add_argument("--ratios", type=_ratios, required=True, metavar="R,R", help="of reuse, like 0,0.5,0.98")
    _add_pairs(reuse, "test", "maps to answer, evenly over the scenes")
    reuse.add_argument("--flight", type=Path, metavar="DIR", help="also the change from frame to frame along a flight")
    reuse.add_argument(
        "--pictures", type=natural, default=3, metavar="N", help="pairs that the report has pictures of (3)"
    )
    reuse.set_defaults(run=_run_reuse)

    similarity = commands.add_parser("similarity", help="how alike streets must be for their midpoint to be kept")
    _add_pairs(similarity, "val", "changed maps of each kind of change")
    similarity.set_defaults(run=_run_similarity)

    movement = commands.add_parser("movement", help="how far a transmitter may move before it is answered anew")
    _add_pairs(movement, "val", "maps")
    movement.set_defaults(run=_run_movement)

    uncertainty = commands.add_parser("uncertainty", help="how far off answers may be, and whether they are")
    uncertainty.add_argument("--data", type=Path, required=True, help="dataset in RadioMapSeer's layout")
    uncertainty.add_argument("--split", choices=("train", "val", "test"), default="val", help="to fit on (val)")
    uncertainty.add_argument("--check", choices=("train", "val", "test"), default="test", help="to check on (test)")
    uncertainty.add_argument("--seed", type=natural, default=0, help="of the draws (0)")
    uncertainty.add_argument("--model", default=SHIPPED, metavar="FILE", help=f"model file ({SHIPPED!r}, in models/)")
    uncertainty.add_argument("--fit", action="store_true", help="write the laws beside the model file")
    uncertainty.add_argument("--report", type=Path, help="folder for a table and a picture")
    _add_common(uncertainty)
    uncertainty.set_defaults(run=_run_uncertainty)

    physics = commands.add_parser("physics", help="compare reflections and diffraction, each apart, with the truth's")
    physics.add_argument("--data", type=Path, required=True, help="folder with city/ and parts/, or city/ itself")
    physics.add_argument("--map-resolution", type=float, choices=(0.25, 0.5, 1.0), help="as for accuracy [m]")
    _add_common(physics)
    physics.set_defaults(run=_run_physics)

    learning = commands.add_parser("learning", help="error against training maps and compute, of several trainings")
    learning.add_argument("models", type=Path, nargs="+", metavar="FILE", help="model files that `train` made")
    learning.add_argument("--stage", choices=("conditional", "aligned"), default="aligned")
    learning.add_argument("--json", type=Path, help="file for the figures")
    learning.add_argument("--report", type=Path, help="folder for a table and a plot")
    learning.set_defaults(run=_run_learning, device="cpu")

    card = commands.add_parser("card", help="write the card of a model file that `train` made")
    card.add_argument("--model", type=Path, required=True, metavar="FILE", help="model file")
    card.add_argument(
        "--accuracy", type=Path, nargs="*", default=[], metavar="JSON", help="what `evaluate accuracy --json` wrote"
    )
    card.add_argument("--similarity", type=Path, metavar="JSON", help="what `evaluate similarity --json` wrote")
    card.add_argument("--summary", default="RadioDiff-Flux over the physics layer.", help="what the model is")
    card.add_argument("--out", type=Path, help="markdown file (beside the model)")
    card.set_defaults(run=_run_card)

    results = commands.add_parser("results", help="put the reports of other subcommands on one page")
    results.add_argument("folder", type=Path, help="holds the folders that --report named")
    results.add_argument("--out", type=Path, required=True, help="markdown file")
    results.set_defaults(run=_run_results)
    return parser


def _add_pairs(parser: argparse.ArgumentParser, split: str, counted: str) -> None:
    parser.add_argument("--data", type=Path, required=True, help="dataset in RadioMapSeer's layout")
    parser.add_argument("--split", choices=("train", "val", "test"), default=split)
    parser.add_argument("--pairs", type=positive, default=100, metavar="N", help=f"{counted} (100)")
    parser.add_argument("--seed", type=natural, default=0, help="of the draws (0)")
    parser.add_argument("--model", default=SHIPPED, metavar="FILE", help=f"model file ({SHIPPED!r}, in models/)")
    parser.add_argument("--map-resolution", type=float, choices=(0.25, 0.5, 1.0), help="as for accuracy [m]")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--json", type=Path, help="file for the figures; beside it each pair's (.jsonl), where a stopped run goes on"
    )
    parser.add_argument("--report", type=Path, help="folder for tables, plots and pictures")


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=positive, help="only this many maps, evenly spread")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--json", type=Path, help="file for the figures")


def _ratios(text: str) -> list[float]:
    return [float(part) for part in _names(text)]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _run_accuracy(args: argparse.Namespace) -> int:
    from rdflux_ros.evaluation.accuracy import ModelChoice, evaluate_accuracy
    from rdflux_ros.evaluation.report import accuracy_head, accuracy_tables

    result = evaluate_accuracy(
        args.data, args.split, methods=args.methods, seed=args.seed, map_resolution=args.map_resolution,
        model=ModelChoice(args.model, args.reuse_ratio, args.static_steps, args.temperature, args.steps),
        cars=args.cars, device=args.device, limit=args.limit, radiounets=args.radiounet, report=args.report,
        pictures=not args.no_pictures,
    )  # fmt: skip
    print("\n".join([accuracy_head(result), "", *accuracy_tables(result)]))
    return _finish(args, result)


def _run_reuse(args: argparse.Namespace) -> int:
    from rdflux_ros.evaluation.reuse import evaluate_reuse
    from rdflux_ros.evaluation.reuse_report import reuse_lines

    result = evaluate_reuse(
        args.data, args.scenario, args.ratios, flight=args.flight, pictures=args.pictures, **_pairs(args)
    )
    print("\n".join(reuse_lines(result)))
    return _finish(args, result)


def _run_similarity(args: argparse.Namespace) -> int:
    from rdflux_ros.evaluation.similarity import evaluate_similarity
    from rdflux_ros.evaluation.similarity_report import similarity_lines

    result = evaluate_similarity(args.data, **_pairs(args))
    print("\n".join(similarity_lines(result)))
    return _finish(args, result)


def _run_movement(args: argparse.Namespace) -> int:
    from rdflux_ros.evaluation.movement import evaluate_movement, movement_lines

    result = evaluate_movement(args.data, **_pairs(args))
    print("\n".join(movement_lines(result)))
    return _finish(args, result)


def _pairs(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "split": args.split,
        "pairs": args.pairs,
        "seed": args.seed,
        "model": args.model,
        "map_resolution": args.map_resolution,
        "device": args.device,
        "journal": None if args.json is None else args.json.with_suffix(".jsonl"),
        "report": args.report,
    }


def _run_uncertainty(args: argparse.Namespace) -> int:
    from rdflux_ros.evaluation.uncertainty import evaluate_uncertainty, uncertainty_lines

    result = evaluate_uncertainty(
        args.data, args.split, args.check, limit=args.limit, seed=args.seed, model=args.model, device=args.device,
        fit=args.fit, report=args.report,
    )  # fmt: skip
    print("\n".join(uncertainty_lines(result)))
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


def _run_learning(args: argparse.Namespace) -> int:
    from rdflux_ros.evaluation.learning import learning_curve, learning_lines, write_learning_report

    result = learning_curve(args.models, args.stage)
    print("\n".join(learning_lines(result)))
    if args.report is not None:
        write_learning_report(args.report, result)
    return _finish(args, result)


def _run_card(args: argparse.Namespace) -> int:
    from rdflux_ros.evaluation.card import write_card

    out = args.out or args.model.with_suffix(".md")
    write_card(args.model, args.accuracy, out, args.summary, args.similarity)
    print(f"wrote {out}")
    return 0


def _run_results(args: argparse.Namespace) -> int:
    from rdflux_ros.evaluation.results import write_results

    print(f"wrote {args.out}: {', '.join(write_results(args.folder, args.out))}")
    return 0


def _finish(args: argparse.Namespace, result: dict[str, Any]) -> int:
    if getattr(args, "report", None) is not None:
        from rdflux_ros.evaluation.benchmark import hardware
        from rdflux_ros.evaluation.results import sign
        from rdflux_ros.mapping.mapper import select_device

        sign(args.report, args.argv, hardware(select_device(args.device).type))
    if args.json is not None:
        write_json(args.json, result)
        print(f"\nwrote {args.json}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``evaluate``; returns its exit code."""
    args = build_parser().parse_args(argv)
    args.argv = list(sys.argv[1:] if argv is None else argv)
    return guarded("evaluate", lambda: args.run(args))


if __name__ == "__main__":
    raise SystemExit(main())
