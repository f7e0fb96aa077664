"""Answer the poses of a recorded flight one by one, and compare with the truth where there is one."""

from __future__ import annotations

import argparse
import csv
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdflux_ros.console import guarded
from rdflux_ros.evaluation.console import table, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rdflux_ros.evaluation.bags import Bag, RecordedMap, RecordedPose
    from rdflux_ros.evaluation.report import Panel
    from rdflux_ros.evaluation.truth import FlightTruth
    from rdflux_ros.mapping.inputs import HeightMap, OccupancyInput, Pose
    from rdflux_ros.mapping.mapper import MapperConfig, RadioMapper
    from rdflux_ros.radio.radio_map import RadioMap

SCORES = ("nmse", "rmse", "ssim", "psnr", "rmse_db")
PICTURES = 5
"""Rows of the picture."""
FRAMES = 120
"""Most frames of the animation."""
CANVAS = 480
"""Most rows and columns of the animation [pixels]."""


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``replay``."""
    parser = argparse.ArgumentParser(prog="replay", description=__doc__)
    parser.add_argument(
        "bag", type=Path, metavar="BAG", help="folder of a bag (sqlite3, mcap), or a bare .mcap or .db3"
    )
    parser.add_argument("--map", type=Path, metavar="YAML", help="map_server map; else the bag's /map")
    parser.add_argument("--height-map", type=Path, metavar="YAML", help="building heights")
    parser.add_argument("--truth", type=Path, metavar="DIR", help="true maps {i}.png of the rows of poses.csv")
    parser.add_argument("--pose-topic", metavar="T", help="PoseStamped or Odometry; needed where the bag has several")
    parser.add_argument("--pose-frame-is-map", action="store_true", help="take poses as they are, whatever their frame")
    parser.add_argument("--max-rate", type=_rate, metavar="HZ", help="skip poses that come faster, in the bag's time")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for CSV, picture and animation")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the figures")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the mapper, like device=cpu"
    )
    return parser


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no rate above 0 Hz")
    return rate


@dataclass
class Flight:
    """What a replay has found so far."""

    poses: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    scores: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    latency_ms: list[float] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    frames: list[tuple[RadioMap, NDArray[np.float32], int]] = field(default_factory=list)

    def summary(self, mapper: RadioMapper) -> dict[str, Any]:
        """The figures that go into the JSON file."""
        import numpy as np

        from rdflux_ros.evaluation.metrics import KEYS, summarise

        p50, p99 = np.percentile(self.latency_ms, [50, 99]) if self.latency_ms else (float("nan"),) * 2
        return {
            "poses": self.poses,
            "maps": len(self.rows),
            "dropped": dict(self.dropped),
            "midpoints_computed": mapper.regions_prepared,
            "midpoint_hits": mapper.region_hits,
            "device": str(mapper.device),
            "latency_ms": {"p50": float(p50), "p99": float(p99)},
            "methods": {
                method: {"maps": len(scored), **{key: summarise(scored)[key] for key in KEYS}}
                for method, scored in self.scores.items()
            },
        }


class Replay:
    """A bag, the map it flies over and the mapper that answers.

    Parameters
    ----------
    occupancy, height_map
        Map to use instead of the bag's, and heights for either.
    pose_topic
        Where poses come from; None where the bag has one pose topic only.
    pose_frame_is_map
        Take poses as they are even where their frame is not the map's.
    max_rate_hz
        Poses are skipped that come sooner than this after the last one taken, in bag time.

    Raises
    ------
    BagError
        The bag does not hold what is needed.
    """

    def __init__(
        self,
        bag: Bag,
        config: MapperConfig,
        *,
        occupancy: OccupancyInput | None = None,
        height_map: HeightMap | None = None,
        truth: FlightTruth | None = None,
        pose_topic: str | None = None,
        pose_frame_is_map: bool = False,
        max_rate_hz: float | None = None,
    ) -> None:
        from rdflux_ros.mapping.mapper import RadioMapper

        self.bag, self.config, self.truth, self.height_map = bag, config, truth, height_map
        self.pose_topic = bag.pose_topic(pose_topic)
        self.pose_frame_is_map, self.max_rate_hz = pose_frame_is_map, max_rate_hz
        self.maps_from_bag = occupancy is None
        if occupancy is None:
            bag.require_map()
            occupancy = self._first_map()
        self.occupancy = occupancy
        poses = self._poses_ahead()
        self.expected = len(poses)
        self.truth_of = self._match(poses)
        self.mapper = RadioMapper(config)
        self._use_map(occupancy)
        scored = sorted(self.truth_of) or range(self.expected)
        self._pictured = _spread(scored, PICTURES)
        self._animated = _spread(range(self.expected), FRAMES)

    def _first_map(self) -> OccupancyInput:
        """The bag's first map: latched, it was there before the first pose, wherever it was recorded."""
        from rdflux_ros.evaluation.bags import BagError, RecordedMap
        from rdflux_ros.mapping.inputs import InputError

        for message in self.bag.messages(self.pose_topic, maps=True, max_cells=self.config.map_max_cells):
            if isinstance(message, RecordedMap):
                if isinstance(message.occupancy, InputError):
                    raise message.occupancy
                return message.occupancy
        raise BagError(f"{self.bag.path}: no message on /map; give a map with --map")

    def _poses_ahead(self) -> list[RecordedPose]:
        """All poses that will be taken, as far as the bag can be read."""
        from rdflux_ros.evaluation.bags import BagError, RecordedPose

        poses = []
        try:
            for message in self._thinned(maps=False):
                if isinstance(message, RecordedPose):
                    poses.append(message)  # noqa: PERF401 (keeps what came before the damage)
        except BagError:
            pass  # `run` says so when it gets there
        return poses

    def _thinned(self, *, maps: bool) -> Iterator[RecordedPose | RecordedMap]:
        from rdflux_ros.evaluation.bags import RecordedPose

        least_ns = 0.999e9 / self.max_rate_hz if self.max_rate_hz else 0.0  # clocks jitter
        last_ns: int | None = None
        for message in self.bag.messages(self.pose_topic, maps=maps, max_cells=self.config.map_max_cells):
            if isinstance(message, RecordedPose):
                if last_ns is not None and 0 <= message.received_ns - last_ns < least_ns:
                    continue
                last_ns = message.received_ns
            yield message

    def _match(self, poses: list[RecordedPose]) -> dict[int, int]:
        import numpy as np

        from rdflux_ros.data.radiomapseer import DataError
        from rdflux_ros.evaluation.truth import TOLERANCE_M
        from rdflux_ros.mapping.inputs import InputError

        if self.truth is None:
            return {}
        positions = np.array(
            [(np.inf,) * 3 if isinstance(p.pose, InputError) else (p.pose.x, p.pose.y, p.pose.z) for p in poses], float
        ).reshape(-1, 3)
        matched = self.truth.match(positions)
        if not matched:
            raise DataError(f"no pose of the bag is within {TOLERANCE_M} m of one that has a truth")
        return matched

    def _use_map(self, occupancy: OccupancyInput) -> None:
        from rdflux_ros.mapping.inputs import street_map

        self.occupancy = occupancy
        self.mapper.set_streets(street_map(occupancy, self.config, self.height_map))

    def run(self, flight: Flight) -> None:
        """Answer pose by pose into `flight`, which holds what was done even if this raises.

        Raises
        ------
        BagError
            The bag is damaged further on, or poses are in a frame that is not the map's.
        """
        from tqdm import tqdm

        from rdflux_ros.evaluation.bags import BagError, RecordedMap
        from rdflux_ros.mapping.inputs import InputError
        from rdflux_ros.mapping.regions import Region

        self.mapper.warm_up()
        last_ns: int | None = None
        with tqdm(total=self.expected, desc="replay", unit="pose", dynamic_ncols=True) as progress:
            for message in self._thinned(maps=self.maps_from_bag):
                if isinstance(message, RecordedMap):
                    if isinstance(message.occupancy, InputError):
                        flight.dropped[message.occupancy.reason] += 1
                    else:
                        self._use_map(message.occupancy)
                    continue
                number = flight.poses
                flight.poses += 1
                progress.update()
                pose = message.pose
                if isinstance(pose, InputError):
                    flight.dropped[pose.reason] += 1
                    continue
                if message.frame_id != self.occupancy.frame_id and not self.pose_frame_is_map:
                    raise BagError(
                        f"poses on {self.pose_topic} are in frame {message.frame_id!r}, the map is in "
                        f"{self.occupancy.frame_id!r}; --pose-frame-is-map takes them as they are"
                    )
                if last_ns is not None and pose.stamp_ns < last_ns:
                    self.mapper.reset_track()
                last_ns = pose.stamp_ns
                start = time.perf_counter()
                try:
                    answer = self.mapper.answer(pose)
                except InputError as error:
                    flight.dropped[error.reason] += 1
                    continue
                latency_ms = 1e3 * (time.perf_counter() - start)
                self._note(flight, number, pose, answer, latency_ms)
                if answer.method != "physics" and number in self.truth_of:
                    beside = self.mapper.physics_answer(pose, Region(*answer.region))
                    self._score(flight, number, beside)
        if self.bag.damage:
            raise BagError(f"{self.bag.damage} (read as far as it goes)")

    def _note(self, flight: Flight, number: int, pose: Pose, answer: RadioMap, latency_ms: float) -> None:
        import numpy as np

        from rdflux_ros.evaluation.report import Panel
        from rdflux_ros.radio.units import grey_from_gain

        grey, free = grey_from_gain(-answer.pathloss_db), ~np.isnan(answer.pathloss_db)
        flight.latency_ms.append(latency_ms)
        row: dict[str, Any] = {
            "t": f"{pose.stamp_ns / 1e9:.9f}",
            "x": pose.x,
            "y": pose.y,
            "z": pose.z,
            "method": answer.method,
            "region": "{} {}".format(*answer.region),
            "midpoint": answer.cache,
            "extrapolated": int(answer.extrapolated),
            "latency_ms": round(latency_ms, 3),
        }
        title = f"{answer.method}, pose {number}, z = {pose.z:.0f} m"
        at = pose.x - answer.grid.origin_x, pose.y - answer.grid.origin_y
        panel = Panel(title, grey, None, free, at)
        found = self._score(flight, number, answer)
        if found is not None:
            scored, true_grey, (rows, columns) = found
            row |= {key: round(scored[key], 6) for key in SCORES}
            at = at[0] - columns.start, at[1] - rows.start
            title += f", NMSE {scored['nmse']:.4f}, {scored['rmse_db']:.1f} dB"
            panel = Panel(title, grey[rows, columns], true_grey, free[rows, columns], at)
        if number in self._pictured and (found is not None or not self.truth_of):
            flight.panels.append(panel)
        if number in self._animated:
            flight.frames.append((answer, grey, len(flight.rows)))
        flight.rows.append(row)

    def _score(
        self, flight: Flight, number: int, answer: RadioMap
    ) -> tuple[dict[str, float], NDArray[np.float32], tuple[slice, slice]] | None:
        """Count an answer where its pose has a truth: scores, true greys, and the part of the window they cover."""
        import numpy as np

        from rdflux_ros.evaluation.metrics import scores
        from rdflux_ros.radio.units import grey_from_gain

        if self.truth is None or number not in self.truth_of:
            return None
        seen = self.truth.window(self.truth_of[number], self.occupancy.grid, answer.grid)
        if seen is None:
            return None
        true_grey, part = seen
        pathloss = answer.pathloss_db[part]
        found = scores(grey_from_gain(-pathloss), true_grey, ~np.isnan(pathloss))
        flight.scores.setdefault(answer.method, []).append(found)
        return found, true_grey, part


def write_results(out: Path, flight: Flight, replay: Replay) -> list[Path]:
    """Write ``answers.csv``, ``picture.png`` and ``flight.gif``; returns the paths of what was written."""
    from rdflux_ros.evaluation.report import write_picture

    out.mkdir(parents=True, exist_ok=True)
    written = [out / "answers.csv"]
    keys = ["t", "x", "y", "z", "method", "region", "midpoint", "extrapolated", "latency_ms", *SCORES]
    with written[0].open("w", newline="") as file:
        writer = csv.DictWriter(file, keys, restval="")
        writer.writeheader()
        writer.writerows(flight.rows)
    if flight.panels:
        written.append(out / "picture.png")
        write_picture(written[-1], flight.panels)
    if flight.frames:
        written.append(out / "flight.gif")
        _animate(written[-1], flight, replay)
    return written


def _animate(path: Path, flight: Flight, replay: Replay) -> None:
    import numpy as np

    from rdflux_ros.evaluation.report import paint, write_animation

    streets = replay.mapper.streets
    assert streets is not None
    grids = [answer.grid for answer, _, _ in flight.frames]
    west, south = min(g.origin_x for g in grids), min(g.origin_y for g in grids)
    width = round(max(g.origin_x for g in grids) - west) + grids[0].width
    height = round(max(g.origin_y for g in grids) - south) + grids[0].height
    buildings = np.zeros((height, width), bool)
    cells = streets.buildings_grid
    row, col = round(cells.origin_y - south), round(cells.origin_x - west)
    bottom, left = max(row, 0), max(col, 0)
    top, right = min(row + cells.height, height), min(col + cells.width, width)
    if bottom < top and left < right:
        buildings[bottom:top, left:right] = streets.buildings[bottom - row : top - row, left - col : right - col]
    track = np.array([(float(r["y"]) - south, float(r["x"]) - west) for r in flight.rows]).astype(np.int64)
    step = max(1, -(-max(width, height) // CANVAS))
    write_animation(
        path,
        (
            paint(
                buildings,
                (round(answer.grid.origin_y - south), round(answer.grid.origin_x - west)),
                grey,
                ~np.isnan(answer.pathloss_db),
                track[: index + 1],
                step,
            )
            for answer, grey, index in flight.frames
        ),
    )


def _spread(numbers: Sequence[int], count: int) -> set[int]:
    if len(numbers) <= count:
        return set(numbers)
    return {numbers[round(i * (len(numbers) - 1) / (count - 1))] for i in range(count)}


def _config(settings: list[str]) -> MapperConfig:
    import yaml

    from rdflux_ros.mapping.config import MapperConfig
    from rdflux_ros.settings import SettingError, from_mapping

    values = {}
    for item in settings:
        name, equals, value = item.partition("=")
        if not equals:
            raise SettingError(f"--set {item}: expected NAME=VALUE")
        try:
            values[name] = yaml.safe_load(value) if value else ""
        except yaml.YAMLError as error:
            raise SettingError(f"--set {item}: no value that YAML can read") from error
    return from_mapping(MapperConfig, values)


def _run(args: argparse.Namespace) -> int:
    from rdflux_ros.evaluation.bags import Bag
    from rdflux_ros.evaluation.truth import FlightTruth
    from rdflux_ros.mapping.inputs import load_height_map, load_occupancy

    config = _config(args.set)
    occupancy = load_occupancy(args.map) if args.map else None
    height_map = load_height_map(args.height_map) if args.height_map else None
    truth = FlightTruth(args.truth) if args.truth else None
    with Bag(args.bag) as bag:
        replay = Replay(
            bag, config, occupancy=occupancy, height_map=height_map, truth=truth, pose_topic=args.pose_topic,
            pose_frame_is_map=args.pose_frame_is_map, max_rate_hz=args.max_rate,
        )  # fmt: skip
        flight = Flight()
        try:
            replay.run(flight)
        finally:  # a bag may end in the middle; what was computed by then is worth having
            summary = flight.summary(replay.mapper)
            written = write_results(args.out, flight, replay)
            if args.json is not None:
                write_json(args.json, summary)
                written.append(args.json)
            print(_report(summary))
            print("wrote " + ", ".join(map(str, written)))
    return 0


def _report(summary: dict[str, Any]) -> str:
    latency = summary["latency_ms"]
    dropped = ", ".join(f"{count} {reason}" for reason, count in summary["dropped"].items()) or "none"
    lines = [
        f"{summary['maps']} maps for {summary['poses']} poses (dropped: {dropped}) on {summary['device']}; "
        f"{summary['midpoints_computed']} regions prepared, {summary['midpoint_hits']} reused; "
        f"latency p50 {latency['p50']:.0f} ms, p99 {latency['p99']:.0f} ms",
    ]
    if summary["methods"]:
        rows = [[name, *scored.values()] for name, scored in summary["methods"].items()]
        lines.append(table(["method", *next(iter(summary["methods"].values()))], rows))
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``replay``; returns its exit code."""
    args = build_parser().parse_args(argv)
    return guarded("replay", lambda: _run(args))


if __name__ == "__main__":
    raise SystemExit(main())
