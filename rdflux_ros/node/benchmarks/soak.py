"""A soak: the mapper's process under poses for hours, with everything that happens to one on the way.

First --poses answers by a tiny model over a hamlet without reflections, each pose sent when the last is answered; then
--minutes of poses at 20 Hz over a town to the shipped model, of which the latest wins. On the way: maps that change,
regions that are crossed, stamps that jump back, poses that cannot be answered, deactivation and activation with a pose
in flight.
Printed for each run: answers by method, poses dropped by cause, resident memory at the end of the warm-up, at the end
and by its trend, threads, file handles. Progress is kept in the JSON file: stopped or killed, the same command goes on
where it was, with a new process.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdflux_ros.console import guarded
from rdflux_ros.evaluation.console import table
from rdflux_ros.model.shipped import SHIPPED
from rdflux_ros.node.benchmarks.flight import RESEND_S, WARM_UP, Flight, Run
from rdflux_ros.node.benchmarks.town import HAMLET, TOWN, Town
from rdflux_ros.node.graph import GraphError, mapper_process, own_graph, ros_node

if TYPE_CHECKING:
    from tqdm import tqdm

FULL_RATE, FIXED_RATE = "full rate, tiny model", "20 Hz, shipped model"
"""The two parts."""
RATE_HZ = 20.0
"""Of the second part."""
GROWTH_GOAL = 0.01
"""Most that resident memory may grow after the warm-up, by its trend."""
FEW = 10
"""Samples that make no trend."""
LIGHT: dict[str, object] = {"reflection_order": 0, "reuse_ratio": 0.99}
"""Of the first part's mapper: the least computation that a pose can take, so that more poses fit in an hour."""
CACHE_SIZE = 8
"""Regions that the mapper keeps: few, so that the cache is full soon and its growth is not taken for a leak."""

SAVE_S = 10.0
"""Between two writes of the progress [s]."""


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``benchmark --soak``."""
    parser = argparse.ArgumentParser(
        prog="benchmark --soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--poses", type=int, default=100_000, help="answers by the tiny model; 0: none (100000)")
    parser.add_argument("--minutes", type=float, default=20.0, help="at 20 Hz with the shipped model; 0: none (20)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the figures and the progress")
    return parser


def at_full_rate(flight: Flight, answers: int, bar: tqdm[Any], save: Callable[[], None]) -> None:
    """Send each pose when the last is answered, until so many answers were heard."""
    while flight.run.answered < answers:
        before = flight.run.answered
        if flight.send():
            flight.receive(RESEND_S)
        bar.update(flight.run.answered - before)
        save()


def at_20_hz(flight: Flight, seconds: float, bar: tqdm[Any], save: Callable[[], None]) -> None:
    """Send poses at `RATE_HZ` for so long."""
    began = time.monotonic()
    sent = 0
    while (elapsed := time.monotonic() - began) < seconds:
        flight.send()
        sent += 1
        while (wait := began + sent / RATE_HZ - time.monotonic()) > 0:
            flight.receive(wait)
        flight.receive(0.0)
        bar.update(round(time.monotonic() - began) - bar.n)
        save()
        if elapsed - sent / RATE_HZ > 1.0:  # held up by a transition: what was missed is not made up for
            sent = round(elapsed * RATE_HZ)


class Progress:
    """The JSON file: what was done by part, run for run.

    Raises
    ------
    GraphError
        The file is there and holds something else.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._saved_at = 0.0
        self.content: dict[str, Any] = {"benchmark": "soak"}
        if path is not None and path.is_file():
            try:
                self.content = json.loads(path.read_text())
            except ValueError:
                self.content = {}
            if not isinstance(self.content, dict) or self.content.get("benchmark") != "soak":
                raise GraphError(f"{path}: holds something else than the progress of a soak")

    def runs(self, part: str) -> list[dict[str, Any]]:
        """The runs of a part so far."""
        return list(self.content.get(part, {}).get("runs", []))

    def done(self, part: str, what: str) -> float:
        """Sum over the runs of a part."""
        return float(sum(run[what] for run in self.runs(part)))

    def saver(self, part: str, about: dict[str, Any], run: Run) -> Callable[..., None]:
        """Writes the run as it is after those before it, not oftener than every `SAVE_S` unless it has to be `now`."""
        before = self.runs(part)

        def save(now: bool = False) -> None:
            if run.sent and (now or time.monotonic() - self._saved_at > SAVE_S):
                self.content[part] = {**about, "runs": [*before, run.as_dict()]}
                self.write()

        return save

    def write(self) -> None:
        """The file appears whole or not at all."""
        self._saved_at = time.monotonic()
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            partial.write_text(json.dumps(self.content) + "\n")
            os.replace(partial, self._path)


def soak(progress: Progress, poses: int, minutes: float, device: str, namespace: str) -> None:
    """What is left of both parts.

    Raises
    ------
    GraphError
        The mapper does not start, dies, falls silent or ends with another code than 0.
    """
    from tqdm import tqdm

    with tempfile.TemporaryDirectory(prefix="rdflux_") as folder:
        place = (device, folder, namespace)
        left = poses - int(progress.done(FULL_RATE, "heard"))
        if left > 0:
            from rdflux_ros.model.tiny import model_file

            model = model_file(Path(folder) / "tiny.safetensors")
            with tqdm(total=left, desc=FULL_RATE, unit="answer", dynamic_ncols=True) as bar:
                _part(
                    progress, FULL_RATE, {"model": str(model), **LIGHT}, HAMLET, place,
                    lambda flight, save: at_full_rate(flight, left, bar, save),
                )  # fmt: skip
        rest = 60.0 * minutes - progress.done(FIXED_RATE, "seconds")
        if rest > 0:
            with tqdm(total=round(rest), desc=FIXED_RATE, unit="s", dynamic_ncols=True) as bar:
                _part(
                    progress, FIXED_RATE, {"model": SHIPPED}, TOWN, place,
                    lambda flight, save: at_20_hz(flight, rest, bar, save),
                )  # fmt: skip


def _part(
    progress: Progress,
    part: str,
    given: Mapping[str, object],
    over: Town,
    place: tuple[str, str, str],
    fly: Callable[[Flight, Callable[[], None]], None],
) -> None:
    """One run of a part, with a process of the mapper of its own; `place` is device, folder and namespace."""
    device, folder, namespace = place
    run, log = Run(), Path(folder) / "mapper.log"
    parameters: dict[str, object] = {
        **given,
        "device": device,
        "max_rate_hz": 1000.0,
        "cache_size": CACHE_SIZE,
    }
    save = progress.saver(
        part, {"model": Path(str(given["model"])).name, "warm_up": WARM_UP, "cache_size": CACHE_SIZE}, run
    )
    with ros_node("benchmark", namespace) as node, mapper_process(parameters, log, namespace) as process:
        try:
            flight = Flight(node, process, log, run, over)
            flight.start()
            fly(flight, save)
            flight.finish()
        finally:
            save(now=True)
    if process.returncode != 0:
        raise GraphError(f"the mapper ended with code {process.returncode}: {log.read_text(errors='replace')[-300:]}")


def trend(run: dict[str, Any]) -> float | None:
    """Growth of resident memory from the end of the warm-up to the end, as a share: the Theil-Sen slope of all samples.

    What an answer or a new map needs for a moment is a tenth of the memory and more, so two moments tell little of a
    leak; None of too few samples.
    """
    from scipy.stats import theilslopes

    samples = [(seconds, memory) for seconds, answers, memory in run["samples"] if answers >= WARM_UP]
    if len(samples) < FEW:
        return None
    seconds, memory = zip(*samples, strict=True)
    slope, at_zero, *_ = theilslopes(memory, seconds)
    return float(slope * (seconds[-1] - seconds[0]) / (at_zero + slope * seconds[0]))


def report(content: dict[str, Any]) -> str:
    """The figures of every run as a table."""
    named = [(part, run) for part in (FULL_RATE, FIXED_RATE) for run in content.get(part, {}).get("runs", [])]
    runs = [run for _, run in named]
    rows: list[list[Any]] = [["duration [s]", *(run["seconds"] for run in runs)]]
    rows += [[f"poses {key}", *(run[key] for run in runs)] for key in ("sent", "received", "answered")]
    for key, label in (("dropped", "dropped: {}"), ("methods", "answers heard: {}"), ("events", "{}")):
        for name in sorted({name for run in runs for name in run[key]}):
            rows.append([label.format(name), *(run[key].get(name, 0) for run in runs)])
    rows.append(["neither answered nor counted as dropped", *(run["unaccounted"] for run in runs)])
    rows.append(["regions prepared", *(run["counts"].get("regions_prepared", 0) for run in runs)])
    for key, label in (("memory_kib", "resident memory [KiB]"), ("threads", "threads"), ("handles", "file handles")):
        for when, words in (("warm", "warm"), ("end", "at the end")):
            rows.append([f"{label}, {words}", *(run[when].get(key, "-") for run in runs)])
    rows.append(["memory at the end against warm", *(_percent(run["growth"]) for run in runs)])
    rows.append([f"growth of memory by its trend (goal {GROWTH_GOAL:.0%})", *(_percent(trend(run)) for run in runs)])
    head = ", ".join(str(value) for value in content.get("hardware", {}).values())
    return f"{head}; warm after {WARM_UP} answers\n\n" + table(["soak", *(part for part, _ in named)], rows)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:+.2%}"


def _run(args: argparse.Namespace) -> int:
    import rclpy  # noqa: F401  the wheels start the process anew here, so nothing may be under way

    from rdflux_ros.evaluation.benchmark import hardware

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # unwinds, so that the mapper ends too
    try:
        progress = Progress(args.json)
        progress.content["hardware"] = hardware("cuda" if args.device == "cuda" else "cpu")
        with own_graph() as namespace:
            soak(progress, args.poses, args.minutes, args.device, namespace)
    except GraphError as error:
        print(f"benchmark --soak: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print(report(progress.content))
    if args.json is not None:
        progress.write()
        print(f"\nwrote {args.json}")
    return 0


def main(argv: Sequence[str]) -> int:
    """Run ``benchmark --soak``; returns its exit code: 1 where the mapper failed."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.poses < 0 or args.minutes < 0:
        parser.error("--poses and --minutes must not be negative")
    if not Path("/proc/self/status").is_file():
        parser.error("looks at the mapper's process through /proc, which this system does not have")
    return guarded(parser.prog, lambda: _run(args))
