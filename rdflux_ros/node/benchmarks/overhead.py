"""Node overhead: how long a pose takes to its map beside the mapper's own computation, between two processes.

Poses are published one by one to the mapper's process, the next when the last is answered. Overhead is the time from
publishing a pose to receiving its radio_map, less latency_ms.total of its status.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdflux_ros.console import guarded
from rdflux_ros.evaluation.console import table, write_json
from rdflux_ros.model.shipped import PHYSICS
from rdflux_ros.node.graph import GraphError, check_alive, mapper_process, own_graph, ros_node

if TYPE_CHECKING:
    from rdflux_ros.node.benchmarks.listener import Heard

GOAL_MS = 2.0
"""The median to reach [ms]."""
WARM_UP = 20
"""Poses before the clock starts."""
ANSWER_S = 30.0
"""How long the mapper may take to answer a pose [s]."""
PAUSE_S = 0.02
"""Between an answer and the next pose, so that the mapper is at rest [s]."""


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``benchmark --node``."""
    parser = argparse.ArgumentParser(prog="benchmark --node", description=__doc__)
    parser.add_argument("--poses", type=int, default=300, help="poses timed (300)")
    parser.add_argument("--model", default=PHYSICS, metavar="FILE", help=f"the mapper's parameter model ({PHYSICS!r})")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the figures")
    return parser


def measure(poses: int, model: str, device: str, log: Path, namespace: str) -> list[dict[str, float]]:
    """Milliseconds of each pose by part: ``whole``, ``computation``, ``overhead``, ``inside``, ``outside``.

    ``inside`` is what passes in the mapper between receiving the pose and having published the answer, less the
    model; ``outside`` the rest of the overhead: the way there and back, and what wakes up on it.

    Raises
    ------
    GraphError
        The mapper does not start, or leaves a pose without answer.
    """
    from tqdm import tqdm

    with ros_node("benchmark", namespace) as node:
        from geometry_msgs.msg import PoseStamped
        from nav_msgs.msg import OccupancyGrid

        from rdflux_ros.node import qos
        from rdflux_ros.node.benchmarks import town
        from rdflux_ros.node.benchmarks.listener import Listener, wait_until_ready

        listener = Listener(node)
        publisher = node.create_publisher(PoseStamped, "pose", qos.POSE)
        parameters: dict[str, object] = {"model": model, "device": device, "max_rate_hz": 1000.0}
        with mapper_process(parameters, log, namespace) as process:
            node.create_publisher(OccupancyGrid, "map", qos.LATCHED).publish(town.TOWN.map_message())
            wait_until_ready(process, publisher, listener, log)
            found = []
            for number in tqdm(range(-WARM_UP, poses), desc="node", unit="pose", dynamic_ncols=True):
                message = town.pose_message(town.on_track(0.01 * number), 10**9 * (number + WARM_UP + 1))
                sent = time.monotonic()
                publisher.publish(message)
                if not listener.wait(ANSWER_S):
                    check_alive(process, log)
                    raise GraphError(f"no answer within {ANSWER_S:.0f} s: {listener.health().get('message')}")
                ((_, heard),) = listener.take().items()
                if number >= 0:
                    found.append(_parts(sent, heard))
                time.sleep(PAUSE_S)
    return found


def _parts(sent: float, heard: Heard) -> dict[str, float]:
    assert heard.at is not None
    whole, computation = 1e3 * (heard.at - sent), float(heard.status["latency_ms.total"])
    inside = float(heard.status["latency_ms.receipt_to_message"]) - computation
    overhead = whole - computation
    return {
        "whole": whole,
        "computation": computation,
        "overhead": overhead,
        "inside": inside,
        "outside": overhead - inside,
    }


def report(result: dict[str, Any]) -> str:
    """The figures as a table."""
    names = {
        "whole": "pose published to map received",
        "computation": "of it the mapper's computation (latency_ms.total)",
        "overhead": "node overhead",
        "inside": "  in the mapper, receipt to all layers published",
        "outside": "  the way there and back",
    }
    rows = [[label, *(result[part][key] for key in ("n", "p50", "p99", "mean"))] for part, label in names.items()]
    hardware = result["hardware"]
    head = (
        f"{hardware.get('gpu', hardware['cpu'])}, {hardware['cores']} cores, device {result['device']}, model "
        f"{result['model']}; two processes, answers of 256 x 256; goal of the overhead's median {GOAL_MS:g} ms"
    )
    return f"{head}\n\n{table(['node, ms', 'n', 'p50', 'p99', 'mean'], rows)}"


def _run(args: argparse.Namespace) -> int:
    import rclpy  # noqa: F401  fails here, in one line, where ROS is not there

    from rdflux_ros.evaluation.benchmark import hardware, statistics

    try:
        with own_graph() as namespace, tempfile.TemporaryDirectory(prefix="rdflux_") as folder:
            found = measure(args.poses, args.model, args.device, Path(folder) / "mapper.log", namespace)
    except GraphError as error:
        print(f"benchmark --node: {error}", file=sys.stderr)
        return 1
    device = "cuda" if args.device == "cuda" else "cpu"
    result = {
        "device": args.device,
        "hardware": hardware(device),
        "model": args.model,
        "unit": "ms",
        "goal_p50": GOAL_MS,
        **{part: statistics([one[part] for one in found]) for part in found[0]},
    }
    print(report(result))
    if args.json is not None:
        write_json(args.json, result)
        print(f"\nwrote {args.json}")
    return 0


def main(argv: Sequence[str]) -> int:
    """Run ``benchmark --node``; returns its exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.poses < 1:
        parser.error("--poses must be at least 1")
    return guarded(parser.prog, lambda: _run(args))
