"""Train a model: the conditional chain, then the first stage, then the second stage on its midpoints; or a baseline."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rdflux_ros.console import guarded, positive

TRAININGS = {
    "autoencoder": "the papers' autoencoder (only where the config asks for it); comes first",
    "conditional": "the full chain, told of streets, transmitter and physics layer",
    "static": "the first stage, told of the streets alone; starts from the conditional chain",
    "aligned": "the second stage on the first one's midpoints; starts from both",
    "radiounet": "the baseline RadioUNet, as published or on the physics channels (setting `inputs`), by itself",
}


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``train``."""
    parser = argparse.ArgumentParser(prog="train", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    for name, text in TRAININGS.items():
        command = commands.add_parser(name, help=text, description=f"Train {text}.")
        command.add_argument(
            "--config", type=Path, required=True, help="yaml: sections model, training, one per training"
        )
        command.add_argument("--data", type=Path, required=True, help="dataset in RadioMapSeer's layout")
        command.add_argument("--out", type=Path, required=True, help="folder of the model; a training there goes on")
        command.add_argument(
            "--start",
            type=Path,
            metavar="MODEL",
            help="go on from a model file of the same config, but for its reuse ratio",
        )
        command.add_argument("--cache", type=Path, help="folder of the physics channels (physics_cache beside --out)")
        command.add_argument("--maps", type=positive, metavar="N", help="use only N of the train split")
        command.add_argument("--max-minutes", type=_minutes, help="stop after so long; the same command goes on")
        command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``train``; exit code 2 with one line where config, data or an earlier training do not fit."""
    args = build_parser().parse_args(argv)
    return guarded("train", lambda: _run(args), f"interrupted; the same command goes on from {args.out / args.what}")


def _run(args: argparse.Namespace) -> int:
    import torch

    from rdflux_ros.mapping.mapper import select_device
    from rdflux_ros.training.parallel import Ranks
    from rdflux_ros.training.stages import train

    out = args.out.resolve()
    ranks = Ranks(select_device(args.device))
    torch.backends.cudnn.benchmark = True  # all batches are alike: the fastest kernels are worth the search
    done = train(
        args.what,
        args.config,
        args.data,
        out,
        cache=args.cache or out.parent / "physics_cache",
        ranks=ranks,
        max_minutes=args.max_minutes,
        start=args.start,
        maps=args.maps,
    )
    if ranks.first:
        print(f"{args.what}: {'done' if done else 'out of time, the same command goes on'}; {args.out / args.what}")
    return 0


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError("must be positive")
    return minutes


if __name__ == "__main__":
    sys.exit(main())
