"""Recorded flights: maps and poses out of ROS 2 bags (sqlite3, mcap), without ROS.

A bag whose recording was cut off is read as far as it goes: `Bag.damage` then says what is wrong with it.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, BinaryIO

from rdflux_ros.mapping.inputs import InputError, OccupancyInput, Pose, checked_occupancy, checked_pose

MAP_TOPIC = "/map"
MAP_TYPE = "nav_msgs/msg/OccupancyGrid"
POSE_TYPES = ("geometry_msgs/msg/PoseStamped", "nav_msgs/msg/Odometry")
STORAGES = (".mcap", ".db3")

_MCAP_MAGIC = b"\x89MCAP0\r\n"
_MCAP_FOOTER = struct.pack("<BQQQI", 0x02, 20, 0, 0, 0)
_MCAP_CHUNK = 0x06
_MCAP_ENDS = (0x02, 0x0F)
"""Footer and data end."""


class BagError(ValueError):
    """A bag cannot be used; one line says why."""


@dataclass(frozen=True)
class RecordedPose:
    """A pose as recorded: bag time of the record [ns], frame, and the pose or why it is none."""

    received_ns: int
    frame_id: str
    pose: Pose | InputError


@dataclass(frozen=True)
class RecordedMap:
    """A map as recorded, or why it is none."""

    received_ns: int
    occupancy: OccupancyInput | InputError


class Bag:
    """A bag, open for reading in a ``with`` block.

    Parameters
    ----------
    path
        Folder of a bag, or a bare ``.mcap`` or ``.db3`` file.

    Raises
    ------
    BagError
        There is no bag, or nothing in it can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage = ""
        """Why the bag ends before its end; empty for a whole one."""
        self._stack = ExitStack()
        self._reader: Any = None

    def __enter__(self) -> Bag:
        if not self.path.exists():
            raise BagError(f"{self.path}: no such bag")
        files = [self.path] if self.path.is_file() else self._files()
        try:
            # A recorder that was killed leaves no metadata.yaml; its files may be whole nevertheless.
            whole = self.path.is_file() or (self.path / "metadata.yaml").is_file()
            self._reader = self._open([self.path] if whole else files)
        except BagError as error:
            self.damage = str(error)
            mended = self._mended(files)
            if mended:
                self._reader = self._open(mended)
            if not mended or not self.topics:
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _open(self, paths: list[Path]) -> Any:
        from rosbags.highlevel import AnyReader, AnyReaderError
        from rosbags.typesys import Stores, get_typestore

        try:
            # Bags older than Iron hold no message definitions.
            return self._stack.enter_context(AnyReader(paths, default_typestore=get_typestore(Stores.ROS2_HUMBLE)))
        except (AnyReaderError, OSError, AssertionError, struct.error) as error:
            raise BagError(f"{self.path}: {_line(error)}") from error

    def _files(self) -> list[Path]:
        files = sorted(file for file in self.path.iterdir() if file.suffix in STORAGES)
        if not files:
            raise BagError(f"{self.path}: no bag in this folder (no {' or '.join(STORAGES)} file)")
        return files

    def _mended(self, files: list[Path]) -> list[Path]:
        """What of the bag's files can be read, as whole files in a temporary folder."""
        target = Path(self._stack.enter_context(TemporaryDirectory()))
        mended = []
        for file in files:
            copy = target / file.name
            try:
                (mend_mcap if file.suffix == ".mcap" else mend_sqlite)(file, copy)
            except (OSError, sqlite3.Error, struct.error):
                continue
            if copy.exists():
                mended.append(copy)
        return mended

    @property
    def topics(self) -> dict[str, str]:
        """Message type by topic."""
        return {connection.topic: connection.msgtype for connection in self._reader.connections}

    def pose_topic(self, wanted: str | None) -> str:
        """The topic to take poses from.

        Raises
        ------
        BagError
            The wanted topic is absent or of another type; none is wanted and there are none or several.
        """
        found = sorted(topic for topic, kind in self.topics.items() if kind in POSE_TYPES)
        if wanted is not None:
            if wanted not in self.topics:
                raise BagError(f"{self.path}: no topic {wanted}; poses are on {', '.join(found) or 'no topic'}")
            if wanted not in found:
                raise BagError(f"{self.path}: {wanted} is {self.topics[wanted]}, expected {' or '.join(POSE_TYPES)}")
            return wanted
        if not found:
            raise BagError(f"{self.path}: no topic of type {' or '.join(POSE_TYPES)}")
        if len(found) > 1:
            raise BagError(f"{self.path}: poses on several topics, name one with --pose-topic: {', '.join(found)}")
        return found[0]

    def require_map(self) -> None:
        """Raises `BagError` where the bag has no map of the right type."""
        kind = self.topics.get(MAP_TOPIC)
        if kind is None:
            raise BagError(f"{self.path}: no topic {MAP_TOPIC}; give a map with --map")
        if kind != MAP_TYPE:
            raise BagError(f"{self.path}: {MAP_TOPIC} is {kind}, expected {MAP_TYPE}")

    def messages(self, pose_topic: str, *, maps: bool, max_cells: int = 0) -> Iterator[RecordedPose | RecordedMap]:
        """Poses, and maps if asked for, in the order of their recording.

        Raises
        ------
        BagError
            Where the bag cannot be read any further.
        """
        wanted = {pose_topic} | ({MAP_TOPIC} if maps else set())
        connections = [connection for connection in self._reader.connections if connection.topic in wanted]
        source = self._reader.messages(connections)
        while True:
            try:
                connection, received_ns, raw = next(source)
                message = self._reader.deserialize(raw, connection.msgtype)
            except StopIteration:
                return
            except Exception as error:  # whatever the storage trips over, the bag ends here
                raise BagError(f"{self.path}: damaged, cannot be read any further ({_line(error)})") from error
            if connection.topic == pose_topic:
                yield RecordedPose(received_ns, message.header.frame_id, _pose(message))
            else:
                yield RecordedMap(received_ns, _occupancy(message, max_cells))


def _pose(message: Any) -> Pose | InputError:
    # PoseStamped has pose, Odometry pose.pose.
    pose = getattr(message.pose, "pose", message.pose)
    point, turn = pose.position, pose.orientation
    stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
    try:
        return checked_pose((point.x, point.y, point.z), (turn.x, turn.y, turn.z, turn.w), stamp_ns)
    except InputError as error:
        return error


def _occupancy(message: Any, max_cells: int) -> OccupancyInput | InputError:
    info, point, turn = message.info, message.info.origin.position, message.info.origin.orientation
    try:
        return checked_occupancy(
            message.data, info.width, info.height, info.resolution, (point.x, point.y, point.z),
            (turn.x, turn.y, turn.z, turn.w), message.header.frame_id, max_cells,
        )  # fmt: skip
    except InputError as error:
        return error


def mend_mcap(source: Path, target: Path) -> None:
    """Copy the whole records of an mcap file that was cut off, and end it properly.

    Of an uncompressed chunk that was cut off the whole records inside are kept.
    """
    with source.open("rb") as file, target.open("wb") as copy:
        if file.read(len(_MCAP_MAGIC)) != _MCAP_MAGIC:
            target.unlink()
            return
        copy.write(_MCAP_MAGIC)
        _copy_records(file, copy)
        copy.write(_MCAP_FOOTER + _MCAP_MAGIC)


def _copy_records(file: BinaryIO, copy: BinaryIO) -> None:
    while len(head := file.read(9)) == 9 and head[0] not in _MCAP_ENDS:
        (size,) = struct.unpack("<Q", head[1:])
        start = file.tell()
        body = file.read(size)
        if len(body) == size:
            copy.write(head + body)
            continue
        # start and end time, size, crc (28 bytes), compression (4 bytes of length, text), length of the records
        if head[0] == _MCAP_CHUNK and body[28:32] == bytes(4):
            file.seek(start + 40)
            _copy_records(file, copy)
        return


def mend_sqlite(source: Path, target: Path) -> None:
    """Copy the rows of a sqlite3 bag that was cut off, table by table, as far as each can be read."""
    with (
        closing(sqlite3.connect(f"{source.resolve().as_uri()}?immutable=1", uri=True)) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        old.execute("PRAGMA writable_schema = ON")  # else a file shorter than its header says is refused whole
        tables = old.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' AND sql IS NOT NULL").fetchall()
        for name, statement in tables:
            new.execute(statement)
            cursor = old.execute(f'SELECT * FROM "{name}" NOT INDEXED')
            marks = ", ".join("?" * len(cursor.description))
            try:
                for row in cursor:
                    new.execute(f'INSERT INTO "{name}" VALUES ({marks})', row)
            except sqlite3.DatabaseError:
                continue
        new.commit()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
