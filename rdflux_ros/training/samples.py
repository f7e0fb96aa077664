"""Batches of maps: drawn and turned as bytes where these are kept, assembled into condition images on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdflux_ros.data.transforms import SYMMETRIES, turn_position
from rdflux_ros.flux.conditions import base_grey, dynamics_image, streets_image
from rdflux_ros.model.config import ModelConfig
from rdflux_ros.propagation.physics_layer import PathGains
from rdflux_ros.radio.units import FLOOR_GAIN_DB, GREY_SPAN_DB
from rdflux_ros.training.cache import PLANES, PhysicsCache

CPU = torch.device("cpu")
Place = tuple[str, int]
"""(scene, symmetry): what the streets look like; a scene's name is its own over all splits."""


@dataclass(frozen=True)
class Maps:
    """B maps with their conditions, ready for networks; images are channels-last.

    Parameters
    ----------
    streets, dynamics
        Condition images [B, channels, 256, 256] (`flux.conditions`).
    base, truth
        [B, 1, 256, 256] greys of the physics layer and of the truth.
    free
        [B, 1, 256, 256] bool: cells that have a value.
    transmitters
        [B, 3] x, y [m] from the window's south-west corner, z [m] above ground.
    places
        Which streets these are.
    """

    streets: Tensor
    dynamics: Tensor
    base: Tensor
    truth: Tensor
    free: Tensor
    transmitters: Tensor
    places: tuple[Place, ...]

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def z(self) -> Tensor:
        """[B] transmitter heights above ground [m]."""
        return self.transmitters[:, 2]

    def target(self, residual: bool) -> Tensor:
        """What a latent is of, [B, 1, 256, 256]: what the map adds to the physics layer, or the map."""
        return self.truth - self.base if residual else self.truth

    def greys(self, target: Tensor, residual: bool) -> Tensor:
        """The maps [B, 1, 256, 256] of such targets."""
        return target + self.base if residual else target


class Samples:
    """Chosen maps of a filled cache, as batches.

    Parameters
    ----------
    rows
        The maps of the cache that are drawn from.
    seed, augment
        Of the order, and of turns and mirrors: all maps of a scene are turned alike within an epoch.
    device
        Where the batches will be. A GPU keeps the whole cache if that takes no more than half of its free memory.
    """

    def __init__(
        self,
        cache: PhysicsCache,
        rows: Sequence[int],
        config: ModelConfig,
        seed: int,
        augment: bool,
        device: torch.device = CPU,
    ) -> None:
        self.cache, self.config = cache, config
        self.rows = np.array(rows)
        self._seed, self._augment = seed, augment
        home = _home(cache, device)
        kept = cache.planes, cache.masks, cache.heights_cm.view(np.int16)  # torch does little with uint16
        self._planes, self._masks, self._heights_cm = (torch.from_numpy(array).to(home) for array in kept)

    def __len__(self) -> int:
        return len(self.rows)

    def drawn(self, step: int, batch: int) -> list[tuple[int, int]]:
        """(row, symmetry) of each map of a training step: a function of seed and step alone."""
        chosen = []
        for place in range(step * batch, (step + 1) * batch):
            epoch, index = divmod(place, len(self.rows))
            order, symmetries = self._epoch(epoch)
            row = int(self.rows[order[index]])
            chosen.append((row, int(symmetries[self.cache.scene_of[row]])))
        return chosen

    def training(
        self, first: int, last: int, batch: int, device: torch.device, share: tuple[int, int] = (0, 1), workers: int = 2
    ) -> Iterator[Maps]:
        """The batches of steps `first` to `last` - 1, or `share` (k, n) of each; read ahead while one is used."""
        part = slice(share[0], None, share[1])
        with ThreadPoolExecutor(workers) as pool:
            ahead: list[Future[_Bytes]] = []
            for step in range(first, last):
                coming = range(step + len(ahead), min(step + 2 * workers, last))
                ahead.extend([pool.submit(self._bytes, self.drawn(later, batch)[part]) for later in coming])
                yield self._assembled(ahead.pop(0).result(), device)

    def validation(self, batch: int, device: torch.device) -> Iterator[Maps]:
        """All maps once, in order, as they are."""
        for start in range(0, len(self.rows), batch):
            yield self.maps([(int(row), 0) for row in self.rows[start : start + batch]], device)

    def maps(self, chosen: Sequence[tuple[int, int]], device: torch.device) -> Maps:
        """The maps of (row, symmetry)."""
        return self._assembled(self._bytes(chosen), device)

    def _epoch(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Order of the maps and symmetry of each scene; the last epoch asked for is remembered."""
        known = getattr(self, "_last_epoch", None)
        if known is None or known[0] != epoch:
            generator = np.random.default_rng([self._seed, epoch])
            order = generator.permutation(len(self.rows))
            symmetries = generator.integers(SYMMETRIES if self._augment else 1, size=len(self.cache.scenes))
            self._last_epoch = known = epoch, order, symmetries
        return known[1], known[2]

    def _bytes(self, chosen: Sequence[tuple[int, int]]) -> _Bytes:
        scenes = [int(self.cache.scene_of[row]) for row, _ in chosen]
        symmetries = [symmetry for _, symmetry in chosen]

        def stacked(source: Tensor, numbers: Sequence[int]) -> Tensor:
            return torch.stack([turn(source[k], symmetry) for k, symmetry in zip(numbers, symmetries, strict=True)])

        masks = stacked(self._masks, scenes).bool()
        has_cars = torch.tensor([self.cache.names[row].endswith("_cars") for row, _ in chosen], device=masks.device)
        masks[:, 1] &= has_cars[:, None, None]
        positions = [turn_position(self.cache.positions[row].astype(np.float64), s) for row, s in chosen]
        return _Bytes(
            planes=stacked(self._planes, [row for row, _ in chosen]),
            heights_m=stacked(self._heights_cm, scenes).float() / 100.0,
            masks=masks,
            positions=torch.tensor(np.array(positions), dtype=torch.float32),
            places=tuple(zip((self.cache.scenes[k] for k in scenes), symmetries, strict=True)),
        )

    def _assembled(self, content: _Bytes, device: torch.device) -> Maps:
        planes, heights, masks, positions = (
            tensor.to(device, non_blocking=True)
            for tensor in (content.planes, content.heights_m, content.masks, content.positions)
        )
        footprint, cars = masks.unbind(1)
        free = ~(footprint | cars)
        gains = path_gains(planes)
        channels = self.config.dynamics.channels
        return Maps(
            streets=streets_image(heights, footprint).contiguous(memory_format=torch.channels_last),
            dynamics=dynamics_image(gains, positions, free, cars, channels).contiguous(
                memory_format=torch.channels_last
            ),
            base=base_grey(gains, free),
            truth=(planes[:, -1:] / 255.0) * free[:, None],
            free=free[:, None],
            transmitters=positions,
            places=content.places,
        )


@dataclass(frozen=True)
class _Bytes:
    planes: Tensor
    heights_m: Tensor
    masks: Tensor
    positions: Tensor
    places: tuple[Place, ...]


def path_gains(planes: Tensor) -> PathGains:
    """The path gains of cached planes [B, 6, 256, 256], exact to 0.2 dB."""
    greys = planes[:, : len(PLANES) - 2].float() / 255.0
    gains = 10.0 ** ((greys * GREY_SPAN_DB + FLOOR_GAIN_DB) / 10.0)
    gains = torch.where(greys > 0, gains, 0.0)
    direct, bent, mirrored, bounced = gains.unbind(1)
    return PathGains(direct, bent, mirrored, bounced, planes[:, -2].bool())


def turn(planes: Tensor, symmetry: int) -> Tensor:
    """`data.transforms.turn_array` for each plane of [..., 256, 256]."""
    if not 0 <= symmetry < SYMMETRIES:
        raise ValueError(f"symmetry {symmetry}: must be 0 to {SYMMETRIES - 1}")
    if symmetry >= 4:
        planes = planes.flip(-1)
    return planes.rot90(-(symmetry % 4), (-2, -1))


def _home(cache: PhysicsCache, device: torch.device) -> torch.device:
    if device.type != "cuda":
        return CPU
    return device if 2 * cache.planes.nbytes <= torch.cuda.mem_get_info(device)[0] else CPU
