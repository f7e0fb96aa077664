"""The physics layer's answers to the maps of a split, computed once and kept on disk."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rdflux_ros.code_digest import GEOMETRY, code_digest
from rdflux_ros.data.radiomapseer import DataError, RadioMapSeer, Sample
from rdflux_ros.data.transforms import coarsened
from rdflux_ros.flux.conditions import grey, mean_heights
from rdflux_ros.machine import usable_cores
from rdflux_ros.propagation.facades import Facades, trace_facades
from rdflux_ros.propagation.physics_layer import PhysicsLayer
from rdflux_ros.radio.grid import WINDOW_M

PLANES = ("line_of_sight", "diffraction", "reflections", "ground_bounces", "visible", "truth")
"""What is kept of a map, uint8: greys (255 is 1) of the physics layer's mechanisms, its mask (1), the truth."""
MASKS = ("footprint", "cars")
"""What is kept of a scene beside its heights: buildings, and where cars stand if the map has any."""
SCENES_A_PROCESS = 4
"""Fewer are not worth the start of another process."""
SHAPING = (*GEOMETRY, "data")
"""Another cache is made when their code changes."""


class PhysicsCache:
    """Maps of one split, without and with cars, as memory-mapped arrays in a folder of their own.

    Filling goes on where it stopped. The walls are seen as a map of one of `resolutions` shows them, drawn by scene
    with `seed`; those finer than the data, or no multiple of its resolution, are left out.

    Attributes
    ----------
    names
        ``{scene}_{transmitter}``, with ``_cars`` where the map has cars; sorted by scene.
    scene_of
        [N] number of each map's scene.
    planes
        [N, 6, 256, 256] uint8 (`PLANES`).
    positions
        [N, 3] float32 x, y, z [m]; in memory, and known before anything is filled.
    identity
        Tells what maps these are and what computes them, wherever they lie.
    heights_cm, masks
        [S, 256, 256] uint16 mean heights [cm] and [S, 2, 256, 256] uint8 (`MASKS`).

    Raises
    ------
    DataError
        The dataset does not fit.
    """

    def __init__(
        self, folder: Path, data: Path, split: str, *, cars: bool, resolutions: Sequence[float], seed: int = 0
    ) -> None:
        self._opened_with = (folder, data, split, cars, tuple(resolutions), seed)
        parts = [RadioMapSeer(data, split)]
        if cars:
            parts.append(RadioMapSeer(data, split, cars=True))
        entries = [(name.rpartition("_")[0], name, part, k) for part in parts for k, name in enumerate(part.names)]
        entries.sort(key=lambda entry: (entry[0], int(entry[1].rpartition("_")[2]), entry[2].cars))
        self._entries = [(part, k) for _, _, part, k in entries]
        positions = {part: part.positions for part in parts}
        self.positions = np.array([positions[part][k] for part, k in self._entries], np.float32)
        self._resolutions, self._seed = tuple(resolutions), seed
        self.names = [name + "_cars" * part.cars for _, name, part, _ in entries]
        scenes = sorted({scene for scene, *_ in entries})
        number = {scene: k for k, scene in enumerate(scenes)}
        self.scenes = scenes
        self.scene_of = np.array([number[scene] for scene, *_ in entries])
        stamps = [_stamp(file) for file in sorted({file for part in parts for file in part.files})]
        sizes, times = zip(*stamps, strict=True)
        self.identity = _digest(self.names, sizes, PLANES, self._resolutions, seed, code_digest(*SHAPING))
        self.folder = folder / f"{split}-{_digest(self.identity, str(data.resolve()), times)}"
        self.folder.mkdir(parents=True, exist_ok=True)
        n, s, window = len(self.names), len(scenes), (WINDOW_M, WINDOW_M)
        self.planes = self._array("planes", np.uint8, (n, len(PLANES), *window))
        self.heights_cm = self._array("heights_cm", np.uint16, (s, *window))
        self.masks = self._array("masks", np.uint8, (s, len(MASKS), *window))
        self._done = self._array("done", np.uint8, (n,))

    def fill(
        self, rows: Sequence[int], stop: Callable[[], bool] = lambda: False, *, processes: int | None = None
    ) -> bool:
        """Compute what is missing of the maps `rows`, with a progress bar; False where `stop` ended it early.

        Several processes share the scenes, as many as there are cores unless told otherwise.
        """
        from tqdm import tqdm

        with self._locked():
            missing = [row for row in sorted(rows) if not self._done[row]]
            scenes = [tuple(group) for _, group in groupby(missing, lambda row: int(self.scene_of[row]))]
            if processes is None:
                processes = min(usable_cores(), len(scenes) // SCENES_A_PROCESS)
            filled = self._filled(scenes) if processes < 2 else self._filled_by(processes, scenes)
            left = len(missing)
            with tqdm(total=left, desc="physics channels", unit="map", dynamic_ncols=True, disable=not left) as bar:
                while left:
                    if stop():
                        return False
                    count = next(filled)
                    bar.update(count)
                    left -= count
        return True

    def _filled_by(self, processes: int, scenes: Sequence[Sequence[int]]) -> Iterator[int]:
        """Fill rows by scene in processes of their own; how many maps each scene had."""
        pool = ProcessPoolExecutor(processes, get_context("spawn"), _open_here, self._opened_with)
        try:
            for done in as_completed([pool.submit(_fill_here, rows) for rows in scenes]):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _filled(self, scenes: Sequence[Sequence[int]]) -> Iterator[int]:
        """Fill rows by scene; 1 for each map."""
        layer = PhysicsLayer()
        for rows in scenes:
            walls: tuple[float, Facades] | None = None
            last: tuple[int, NDArray[np.uint8]] | None = None
            for row in rows:
                part, k = self._entries[row]
                sample = self._seen(part[k])
                if walls is None or walls[0] != sample.resolution:
                    walls = sample.resolution, trace_facades(sample.surroundings_m, sample.resolution)
                    self._keep_scene(row, sample, walls[1])
                if sample.cars.any():
                    self.masks[self.scene_of[row], 1] = sample.cars
                if last is None or last[0] != sample.transmitter:
                    last = sample.transmitter, _greys(layer, walls[1], sample)
                self.planes[row, :-1] = last[1]
                self.planes[row, -1] = np.rint(255.0 * sample.grey)
                self._done[row] = 1  # last: a row that says so is whole
                yield 1

    def _keep_scene(self, row: int, sample: Sample, facades: Facades) -> None:
        scene = self.scene_of[row]
        self.heights_cm[scene] = np.rint(100.0 * mean_heights(facades).cpu().numpy())
        self.masks[scene, 0] = sample.heights_m > 0

    def _seen(self, sample: Sample) -> Sample:
        """The sample as the map of its scene shows the walls."""
        factors = [(value, value / sample.resolution) for value in self._resolutions]
        fitting = [value for value, factor in factors if factor >= 1 and abs(factor - round(factor)) < 1e-9]
        if not fitting:
            return sample
        draw = int.from_bytes(hashlib.sha256(f"{self._seed} {sample.scene}".encode()).digest()[:8], "little")
        resolution = fitting[draw % len(fitting)]
        return sample if resolution == sample.resolution else coarsened(sample, resolution)

    def _array(self, name: str, dtype: type, shape: tuple[int, ...]) -> NDArray[Any]:
        """An array on disk; new ones hold zeros and take room only where written."""
        path = self.folder / f"{name}.bin"
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        with path.open("ab") as file:
            os.truncate(file.fileno(), size)
        return np.memmap(path, dtype, "r+", shape=shape)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process fills at a time."""
        with (self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _digest(*content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _stamp(file: Path) -> tuple[int, int]:
    """Size [bytes] and time of change [ns] of a file of the dataset."""
    try:
        status = file.stat()
    except FileNotFoundError as error:
        raise DataError(f"{file}: no such file") from error
    return status.st_size, status.st_mtime_ns


def _greys(layer: PhysicsLayer, facades: Facades, sample: Sample) -> NDArray[np.uint8]:
    transmitter = torch.tensor(sample.position[None], dtype=torch.float32, device=facades.heights_cm.device)
    gains = layer(facades, transmitter)
    greys = torch.cat([grey(getattr(gains, name)) for name in PLANES[:-2]])
    return torch.cat([(255.0 * greys).round(), gains.visible]).to(torch.uint8).cpu().numpy()


_here: PhysicsCache
"""The cache that this process helps to fill."""


def _open_here(folder: Path, data: Path, split: str, cars: bool, resolutions: Sequence[float], seed: int) -> None:
    global _here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one hears it, and stops
    torch.set_num_threads(1)
    _here = PhysicsCache(folder, data, split, cars=cars, resolutions=resolutions, seed=seed)


def _fill_here(rows: Sequence[int]) -> int:
    return sum(_here._filled([rows]))
