"""`make demo`: a recorded flight through the real mapper, heard as a planner hears it, scored against the truth."""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rdflux_ros.evaluation.benchmark import EXAMPLE
from rdflux_ros.node.graph import GraphError, check_alive, mapper_process, node_process, own_graph, ros_node

if TYPE_CHECKING:
    from diagnostic_msgs.msg import DiagnosticArray
    from nav_msgs.msg import OccupancyGrid
    from numpy.typing import NDArray
    from rclpy.node import Node
    from sensor_msgs.msg import Image

    from rdflux_ros.evaluation.report import Panel
    from rdflux_ros.mapping.inputs import OccupancyInput
    from rdflux_ros.radio.grid import Grid

METHOD = "flux"
ENOUGH = 0.95
"""Share of the poses that have to be answered by it."""
READY_S = 90.0
"""How long the mapper may take until it uses the map [s]."""
QUIET_S = 3.0
"""How long answers are waited for after the last pose [s]."""
PICTURES = 4
"""Rows of the picture."""


class DemoError(RuntimeError):
    """The demo cannot go on; the message is one line."""


@dataclass
class Answer:
    """What came back for one pose; `received_at` by the steady clock [s], values [rows, cols] in dB, row 0 = south."""

    received_at: float | None = None
    grid: Grid | None = None
    pathloss_db: NDArray[np.float32] | None = None
    status: dict[str, str] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """Who answered, as the status says."""
        return self.status.get("method", "unnamed")


@dataclass(frozen=True)
class Sent:
    """A pose that was played: its stamp [ns], position [m] and the steady time of its publication [s]."""

    stamp_ns: int
    position: tuple[float, float, float]
    at: float


class Planner:
    """Listens to the mapper as a planner would: maps by stamp, and what the mapper says of itself."""

    def __init__(self, node: Node) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from nav_msgs.msg import OccupancyGrid
        from sensor_msgs.msg import Image

        from rdflux_ros.node.qos import LATCHED, LATEST

        self.answers: dict[int, Answer] = {}
        self.map_in_use = threading.Event()
        self.trouble = ""
        self._lock = threading.Lock()
        self._node = node
        node.create_subscription(OccupancyGrid, "radio_map", self._on_map, LATCHED)
        node.create_subscription(Image, "radio_map/pathloss", self._on_pathloss, LATCHED)
        node.create_subscription(DiagnosticArray, "radio_map/status", self._on_status, LATEST)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def answered(self, stamp_ns: int) -> bool:
        """Whether map and values have come for this pose."""
        with self._lock:
            answer = self.answers.get(stamp_ns)
            return answer is not None and answer.grid is not None and answer.pathloss_db is not None

    def _answer(self, stamp: Any) -> Answer:
        from rdflux_ros.node.conversions import ns_from_stamp

        return self.answers.setdefault(ns_from_stamp(stamp), Answer())

    def _on_map(self, message: OccupancyGrid) -> None:
        from rdflux_ros.node.conversions import grid_from_message

        now = time.monotonic()
        with self._lock:
            answer = self._answer(message.header.stamp)
            answer.received_at = now
            _, answer.grid = grid_from_message(message)

    def _on_pathloss(self, message: Image) -> None:
        from rdflux_ros.node.conversions import pathloss_from_message

        with self._lock:
            self._answer(message.header.stamp).pathloss_db = pathloss_from_message(message)

    def _on_status(self, message: DiagnosticArray) -> None:
        with self._lock:
            self._answer(message.header.stamp).status = {pair.key: pair.value for pair in message.status[0].values}

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        status = message.status[0]
        self.trouble = status.message if status.level == status.ERROR else ""
        if any(pair.key == "map_size_m" for pair in status.values):
            self.map_in_use.set()


class Player:
    """Plays a bag in its own time: latched topics as latched, all messages as they were recorded, stamps included."""

    def __init__(self, node: Node, bag: Path) -> None:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore

        self._node = node
        if not bag.exists():
            raise DemoError(f"{bag}: no such bag")
        self._reader = AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        self._publishers: dict[str, Any] = {}

    def __enter__(self) -> Player:
        from rosbags.highlevel import AnyReaderError

        try:
            self._reader.open()
        except (AnyReaderError, OSError) as error:
            raise DemoError(f"cannot read the bag: {' '.join(str(error).split())}") from error
        for connection in self._reader.connections:
            if connection.topic not in self._publishers:
                self._publishers[connection.topic] = self._publisher(connection)
        return self

    def __exit__(self, *exception: object) -> None:
        self._reader.close()

    def _publisher(self, connection: Any) -> Any:
        from importlib import import_module

        from rdflux_ros.node.qos import LATCHED

        package, _, name = connection.msgtype.split("/")
        message_type = getattr(import_module(f"{package}.msg"), name)
        latched = any(profile.durability.name == "TRANSIENT_LOCAL" for profile in connection.ext.offered_qos_profiles)
        return self._node.create_publisher(message_type, connection.topic, LATCHED if latched else 10)

    def latch(self) -> None:
        """Publish the maps of the bag."""
        for connection, _, raw in self._messages("nav_msgs/msg/OccupancyGrid"):
            self._publishers[connection.topic].publish(bytes(raw))

    def poses(self, rate: float) -> Iterator[Sent]:
        """Publish the poses, each when its time has come; `rate` 2 plays twice as fast."""
        began, first = time.monotonic(), None
        for connection, recorded_at, raw in self._messages("geometry_msgs/msg/PoseStamped"):
            first = recorded_at if first is None else first
            time.sleep(max(0.0, began + (recorded_at - first) / 1e9 / rate - time.monotonic()))
            message: Any = self._reader.deserialize(raw, connection.msgtype)
            stamp, point = message.header.stamp, message.pose.position
            now = time.monotonic()
            self._publishers[connection.topic].publish(bytes(raw))
            yield Sent(stamp.sec * 10**9 + stamp.nanosec, (point.x, point.y, point.z), now)

    def count(self) -> int:
        """How many poses the bag holds."""
        return sum(c.msgcount for c in self._reader.connections if c.msgtype == "geometry_msgs/msg/PoseStamped")

    def _messages(self, message_type: str) -> Iterator[tuple[Any, int, bytes]]:
        chosen = [c for c in self._reader.connections if c.msgtype == message_type]
        return iter(self._reader.messages(chosen)) if chosen else iter(())


@contextmanager
def browser_view(port: int, log: Path) -> Iterator[None]:
    """The browser view beside the mapper; its address is printed."""
    with node_process("view", {"port": port}, log) as process:
        deadline = time.monotonic() + READY_S
        while not (said := re.search(r"open (http\S+/)", log.read_text(errors="replace"))):
            check_alive(process, log, "view")
            if time.monotonic() > deadline:
                raise DemoError(f"the view did not start within {READY_S:.0f} s, see {log}")
            time.sleep(0.1)
        print(f"The flight in a browser: {said[1]}", flush=True)
        yield


def fly(bag: Path, mapper: dict[str, object], rate: float, limit: int | None, log: Path) -> tuple[list[Sent], Planner]:
    """Play `bag` to a mapper of its own; what was sent, and who listened."""
    from tqdm import tqdm

    with ros_node("demo_planner") as node, Player(node, bag) as player:
        planner = Planner(node)
        with mapper_process(mapper, log) as process:
            began = time.monotonic()
            player.latch()
            _wait_for_map(planner, process, log)
            print(f"The mapper uses the map after {time.monotonic() - began:.1f} s; the flight begins.", flush=True)
            sent: list[Sent] = []
            count = min(player.count(), limit or player.count())
            poses = islice(player.poses(rate), count)
            for pose in tqdm(poses, total=count, unit="pose", desc="flight", dynamic_ncols=True):
                sent.append(pose)
                check_alive(process, log)
            deadline = time.monotonic() + QUIET_S
            while sent and not planner.answered(sent[-1].stamp_ns) and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(0.2)  # its status follows the map
            check_alive(process, log)
        if process.returncode != 0:
            raise DemoError(f"the mapper ended with code {process.returncode}, see {log}")
    return sent, planner


def _wait_for_map(planner: Planner, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while not planner.map_in_use.wait(0.1):
        check_alive(process, log)
        if planner.trouble:
            raise DemoError(f"the mapper does not start: {planner.trouble}")
        if time.monotonic() > deadline:
            raise DemoError(f"the mapper did not take the map within {READY_S:.0f} s, see {log}")


@dataclass(frozen=True)
class Scored:
    """An answered pose that has truth: its scores, and what is drawn of it."""

    sent: Sent
    answer: Answer
    part: tuple[slice, slice]
    """Of the answer's window that has a truth."""
    panel: Panel
    scores: dict[str, float]


def score(sent: Sequence[Sent], planner: Planner, truth_folder: Path, extent: Grid) -> list[Scored]:
    """Score the answers to the poses that have a truth; `extent` is the occupancy grid's."""
    from rdflux_ros.evaluation.metrics import scores
    from rdflux_ros.evaluation.report import Panel
    from rdflux_ros.evaluation.truth import FlightTruth
    from rdflux_ros.radio.units import grey_from_gain

    truth, found = FlightTruth(truth_folder), []
    for number, index in sorted(truth.match(np.array([pose.position for pose in sent])).items()):
        pose = sent[number]
        answer = planner.answers.get(pose.stamp_ns)
        if answer is None or answer.grid is None or answer.pathloss_db is None:
            continue
        seen = truth.window(index, extent, answer.grid)
        if seen is None:
            continue
        true_grey, part = seen
        grey, free = grey_from_gain(-answer.pathloss_db)[part], ~np.isnan(answer.pathloss_db)[part]
        result = scores(grey, true_grey, free)
        title = f"{answer.method}, z = {pose.position[2]:.0f} m, rms error {result['rmse_db']:.1f} dB"
        at = (
            pose.position[0] - answer.grid.origin_x - part[1].start,
            pose.position[1] - answer.grid.origin_y - part[0].start,
        )
        found.append(Scored(pose, answer, part, Panel(title, grey, true_grey, free, at), result))
    return found


def physics_scores(
    scored: Sequence[Scored], example: Path, occupancy: OccupancyInput
) -> dict[str, list[dict[str, float]]]:
    """Scores of the physics layer alone at the same poses and in the same windows, under its method's name."""
    from tqdm import tqdm

    from rdflux_ros.evaluation.metrics import scores
    from rdflux_ros.mapping.config import MapperConfig
    from rdflux_ros.mapping.inputs import Pose, load_height_map, street_map
    from rdflux_ros.mapping.mapper import RadioMapper
    from rdflux_ros.mapping.regions import Region
    from rdflux_ros.radio.units import grey_from_gain

    config = MapperConfig(model="physics")
    mapper = RadioMapper(config)
    mapper.set_streets(street_map(occupancy, config, load_height_map(example / "height.yaml")))
    found: dict[str, list[dict[str, float]]] = {}
    for one in tqdm(scored, unit="pose", desc="physics layer beside it", dynamic_ncols=True):
        region = Region(*(int(number) for number in one.answer.status["region"].split(",")))
        x, y, z = one.sent.position
        answer = mapper.physics_answer(Pose(x, y, z, one.sent.stamp_ns), region)
        pathloss = answer.pathloss_db[one.part]
        assert one.panel.truth is not None
        result = scores(grey_from_gain(-pathloss), one.panel.truth, one.panel.free)
        found.setdefault(answer.method, []).append(result)
    return found


def summary(
    sent: Sequence[Sent], planner: Planner, scored: Sequence[Scored], beside: dict[str, list[dict[str, float]]]
) -> str:
    """The table that the demo ends with; `beside` are scores of others at the same poses, by name."""
    from rdflux_ros.evaluation.console import table
    from rdflux_ros.evaluation.metrics import summarise

    answers = [(pose, planner.answers[pose.stamp_ns]) for pose in sent if planner.answered(pose.stamp_ns)]
    methods = Counter(answer.method for _, answer in answers)
    regions = Counter(answer.status.get("region", "?") for _, answer in answers)
    prepared = sum(answer.status.get("midpoint") == "miss" for _, answer in answers)
    heard = [1e3 * (answer.received_at - pose.at) for pose, answer in answers if answer.received_at is not None]
    inside = [float(a.status[key]) for _, a in answers if (key := "latency_ms.receipt_to_message") in a.status]
    rows: list[tuple[str, str]] = [
        ("poses played", str(len(sent))),
        ("maps received, stamped as their pose", f"{len(answers)} ({len(answers) / len(sent):.1%})"),
        ("by method", ", ".join(f"{count} {name}" for name, count in methods.most_common()) or "-"),
        ("latency, receipt to message [ms]", _quantiles(inside)),
        ("latency, pose sent to map received [ms]", _quantiles(heard)),
        ("regions", str(len(regions))),
        ("answers that prepared a region / reused one", f"{prepared} / {len(answers) - prepared}"),
    ]
    own = {method: [one.scores for one in scored if one.answer.method == method] for method in methods}
    for method, of_method in {**beside, **own}.items():
        mean = summarise(of_method)
        rows += [
            (f"{method}: poses scored against truth", str(len(of_method))),
            (f"{method}: error over free cells, rms [dB]", f"{mean['rmse_db']:.2f}"),
            (f"{method}: NMSE, mean / median", f"{mean['nmse']:.4f} / {mean['nmse_median']:.4f}"),
        ]
    return table(("flight", ""), rows)


def _quantiles(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"p50 {np.percentile(values, 50):.0f}, p99 {np.percentile(values, 99):.0f}"


def draw(scored: Sequence[Scored], occupancy: OccupancyInput, folder: Path) -> list[Path]:
    """A picture of some poses (truth, answer, error) and an animation of the flight."""
    from rdflux_ros.evaluation.report import paint, write_animation, write_picture
    from rdflux_ros.radio.grid import Grid
    from rdflux_ros.radio.units import grey_from_gain

    if not scored:
        return []
    picture, animation = folder / "demo.png", folder / "demo.gif"
    chosen = np.unique(np.linspace(0, len(scored) - 1, min(PICTURES, len(scored))).round().astype(int))
    write_picture(picture, [scored[number].panel for number in chosen])

    area, margin = occupancy.grid, 128  # windows reach beyond the map
    buildings = np.pad(occupancy.data > 50, margin)
    canvas = Grid(
        area.width + 2 * margin, area.height + 2 * margin, 1.0, area.origin_x - margin, area.origin_y - margin
    )
    track = np.array([[int(v) for v in canvas.cells(*one.sent.position[:2])] for one in scored])

    def frames() -> Iterator[NDArray[np.uint8]]:
        for number, one in enumerate(scored):
            assert one.answer.grid is not None and one.answer.pathloss_db is not None
            row, col = canvas.cells(one.answer.grid.origin_x + 0.5, one.answer.grid.origin_y + 0.5)
            pathloss = one.answer.pathloss_db
            yield paint(
                buildings, (int(row), int(col)), grey_from_gain(-pathloss), ~np.isnan(pathloss), track[: number + 1], 2
            )

    write_animation(animation, frames())
    return [picture, animation]


def demo(bag: Path, example: Path, out: Path, rate: float, limit: int | None, view_port: int | None) -> int:
    """Fly, score, draw; 0 if at least 95 % of the poses were answered by the model."""
    from rdflux_ros.mapping.inputs import load_occupancy

    out.mkdir(parents=True, exist_ok=True)
    occupancy = load_occupancy(example / "map.yaml")
    with nullcontext() if view_port is None else browser_view(view_port, out / "view.log"):
        sent, planner = fly(bag, {"height_map": (example / "height.yaml").resolve()}, rate, limit, out / "mapper.log")
    if not sent:
        raise DemoError(f"{bag}: no poses (geometry_msgs/msg/PoseStamped)")
    scored = score(sent, planner, example / "truth", occupancy.grid)
    beside = physics_scores(scored, example, occupancy)
    text = summary(sent, planner, scored, beside)
    (out / "demo.md").write_text(text + "\n")
    print("\n" + text + "\n")
    for path in [*draw(scored, occupancy, out), out / "demo.md", out / "mapper.log"]:
        print(path)
    strange = len(planner.answers.keys() - {pose.stamp_ns for pose in sent})
    answered = sum(planner.answered(pose.stamp_ns) and planner.answers[pose.stamp_ns].method == METHOD for pose in sent)
    if strange:
        raise DemoError(f"{strange} maps with a stamp that no pose had")
    if answered < min(ENOUGH * len(sent), len(sent) - 1):  # one that comes while the first region is made may be lost
        raise DemoError(
            f"{METHOD} answered only {answered} of {len(sent)} poses, at least {ENOUGH:.0%} are expected; where the "
            f"machine is too slow or busy for the rest: --rate {rate / 2:g}"
        )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """0 if the flight went well, 1 with one line on stderr if not."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--rate", type=float, default=1.0, help="times real time (default 1)")
    parser.add_argument("--poses", type=int, help="play only the first so many poses")
    parser.add_argument("--example", type=Path, default=EXAMPLE, help="folder with map, heights, poses.csv and truth")
    parser.add_argument("--bag", type=Path, help="bag to play (default: flight in the example's folder)")
    parser.add_argument("--out", type=Path, default=Path("demo_output"), help="folder of the results")
    parser.add_argument("--view", type=int, nargs="?", const=8080, metavar="PORT", help="show it in a browser (8080)")
    args = parser.parse_args(argv)
    if args.rate <= 0 or (args.poses is not None and args.poses < 1):
        parser.error("--rate and --poses must be above 0")
    import rclpy  # noqa: F401  the wheels start the process anew here, so nothing may be under way

    from rdflux_ros.data.radiomapseer import DataError
    from rdflux_ros.mapping.inputs import InputError

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # unwinds, so that the mapper ends too
    try:
        with own_graph():
            return demo(args.bag or args.example / "flight", args.example, args.out, args.rate, args.poses, args.view)
    except (DemoError, GraphError, InputError, DataError) as error:
        print(f"demo: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
