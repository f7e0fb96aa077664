"""Fuzzing: maps, map files, poses, parameters and answers as hypothesis draws them, against what must hold for all.

Nothing but a refusal with its reason may be raised, and every cell must be where an independent, slow computation has
it. `make test` tries a few thousand examples, always the same; this tries as many as it is told, from a seed.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdflux_ros.console import USER_ERROR, guarded
from rdflux_ros.evaluation.console import table, write_json

if TYPE_CHECKING:
    from tqdm import tqdm

    from rdflux_ros.node.fuzzing.property import Property

BATCH = 500
"""Examples from one seed: hypothesis remembers those of a batch."""


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``benchmark --fuzz``."""
    parser = argparse.ArgumentParser(
        prog="benchmark --fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=100_000, help="of all properties together (100000)")
    parser.add_argument("--seed", type=int, help="of the first batch; else drawn, and printed")
    parser.add_argument("--only", metavar="WORDS", help="only properties whose name holds these words")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the figures")
    return parser


def fuzz(properties: Sequence[Property], examples: int, seed: int) -> list[dict[str, Any]]:
    """Try each property; the first example that breaks one ends it.

    Returns
    -------
    list of dict
        ``property``, ``examples`` tried, ``seconds``, ``broken``: what went wrong for the simplest input found, with
        that input; empty where the property held.
    """
    from tqdm import tqdm

    shares = sum(one.share for one in properties)
    found = []
    with tqdm(total=examples, desc="fuzz", unit="example", dynamic_ncols=True) as bar:
        for one in properties:
            bar.set_postfix_str(one.name)
            found.append(_tried(one, round(examples * one.share / shares), seed, bar))
    return found


def _tried(one: Property, examples: int, seed: int, bar: tqdm[Any]) -> dict[str, Any]:
    began, tried, seeds = time.monotonic(), 0, itertools.count(seed)

    def tick() -> None:
        nonlocal tried
        tried += 1
        bar.update()

    broken = ""
    try:
        for start in range(0, examples, BATCH):
            last = next(seeds)
            one.hold(min(BATCH, examples - start), last, after_each=tick)
    except Exception as error:
        broken = "\n".join([f"seed {last}: {type(error).__name__}: {error}", *getattr(error, "__notes__", [])])
    return {"property": one.name, "examples": tried, "seconds": time.monotonic() - began, "broken": broken}


def _run(args: argparse.Namespace) -> int:
    try:
        import hypothesis
    except ImportError:
        print("benchmark --fuzz: needs hypothesis: pip install hypothesis", file=sys.stderr)
        return USER_ERROR
    from rdflux_ros.node.fuzzing.catalogue import PROPERTIES

    chosen = [one for one in PROPERTIES if not args.only or args.only in one.name]
    if not chosen:
        print(f"benchmark --fuzz: no property is named like {args.only!r}: " + ", ".join(p.name for p in PROPERTIES))
        return USER_ERROR
    seed = random.SystemRandom().randrange(10**9) if args.seed is None else args.seed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy's, of infinities
        found = fuzz(chosen, args.examples, seed)
    rows = [[one["property"], one["examples"], one["seconds"], "broken" if one["broken"] else "holds"] for one in found]
    print(f"seed {seed}, hypothesis {hypothesis.__version__}\n\n{table(['property', 'examples', 's', ''], rows)}")
    broken = [one for one in found if one["broken"]]
    for one in broken:
        print(f"\n{one['property']}: {one['broken']}")
    if args.json is not None:
        write_json(args.json, {"seed": seed, "hypothesis": hypothesis.__version__, "properties": found})
        print(f"\nwrote {args.json}")
    return 1 if broken else 0


def main(argv: Sequence[str]) -> int:
    """Run ``benchmark --fuzz``; returns its exit code: 1 where a property is broken."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.examples < 1:
        parser.error("--examples must be at least 1")
    return guarded(parser.prog, lambda: _run(args))
