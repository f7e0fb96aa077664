"""Several transmitters answered in one pass, over one region or several: physics layer, network, fallback."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdflux_ros.flux.pipeline import FluxPipeline, joined
from rdflux_ros.mapping.inputs import Pose
from rdflux_ros.mapping.regions import Region
from rdflux_ros.mapping.static_parts import StaticPart
from rdflux_ros.propagation.physics_layer import PathGains, PhysicsLayer
from rdflux_ros.radio.radio_map import MIDPOINT_PENDING, Transmitter
from rdflux_ros.radio.units import FLOOR_GAIN_DB, FLOOR_PATHLOSS_DB, GREY_SPAN_DB

NO_MIDPOINT = "the first stage failed"
NETWORK_FAILED = "the network failed"
NOT_FINITE = "the network's answer is not finite"


@dataclass(frozen=True)
class Asked:
    """One transmitter to be answered, in which region."""

    region: Region
    pose: Pose
    transmitter: Transmitter
    z: float
    """As it is answered: within the range of the model, but above the roof it stands on [m]."""

    @property
    def point(self) -> tuple[float, float, float]:
        """(x, y) from the window's south-west corner, z as it is answered [m]."""
        grid = self.region.grid
        return self.transmitter.x - grid.origin_x, self.transmitter.y - grid.origin_y, self.z


@dataclass(frozen=True)
class How:
    """Who answered a transmitter: the method, and why it is not the one that was asked for."""

    method: str
    fallback: str = ""


class Batch:
    """B transmitters with the static parts of their regions.

    Parameters
    ----------
    obstacles
        [B, 256, 256] cells in which an obstacle stands.
    """

    def __init__(
        self,
        asked: Sequence[Asked],
        statics: Sequence[StaticPart],
        obstacles: NDArray[np.bool_],
        device: torch.device,
    ) -> None:
        self._asked, self._statics, self._device = asked, statics, device
        self._buildings = np.stack([static.buildings for static in statics])
        self._cars = obstacles & ~self._buildings
        self.physics_db: NDArray[np.float32] | None = None
        """[B, 256, 256] the physics layer's pathloss, once it has answered."""
        self._visible: Tensor | None = None
        self._points = torch.tensor([one.point for one in asked], dtype=torch.float32, device=device)

    def answered(
        self, physics: PhysicsLayer, flux: FluxPipeline | None, aligned: bool, trouble: str, latency: dict[str, float]
    ) -> tuple[NDArray[np.float32], list[How]]:
        """Pathloss [B, 256, 256] dB, NaN where there is no value, and how it was found; times of the parts [ms].

        `trouble` says why there is no network where one was asked for. One that fails or whose answer is not finite
        has the physics layer's in its place. A GPU computes behind: what it still has of the physics layer's work to
        do counts as the network's time.

        Raises
        ------
        RuntimeError
            The GPU failed, but for the network's lack of memory.
        """
        start = time.perf_counter()
        gains = self._gains(physics)
        latency["physics"] = milliseconds_since(start)
        refined: dict[int, NDArray[np.float32]] = {}
        if flux is None:
            how = [How("physics_fallback", trouble) if trouble else How("physics")] * len(self._asked)
        else:
            how = [_pending(static) for static in self._statics]
            start = time.perf_counter()
            if ready := [k for k, static in enumerate(self._statics) if static.streets is not None]:
                refined = self._refined(flux, aligned, gains, ready, how)
                latency["network"] = milliseconds_since(start)
        start = time.perf_counter()
        found = -gains.gain_db().cpu().numpy()  # after the network, which a GPU would be kept waiting for
        self.physics_db, self._visible = found.copy(), gains.visible
        latency["physics"] += milliseconds_since(start)
        for k, values in refined.items():
            found[k] = values
        np.minimum(found, FLOOR_PATHLOSS_DB, out=found)
        found[self._buildings | self._cars] = np.nan
        return found, how

    @property
    def visible(self) -> NDArray[np.bool_] | None:
        """[B, 256, 256] cells in line of sight, once the physics layer has answered."""
        return None if self._visible is None else self._visible.cpu().numpy()

    def _gains(self, physics: PhysicsLayer) -> PathGains:
        """The physics layer's answers, those of neighbours in the batch that share their walls in one call."""
        runs: list[list[int]] = []
        for k, static in enumerate(self._statics):
            if k and static.facades is self._statics[k - 1].facades:
                runs[-1].append(k)
            else:
                runs.append([k])
        return PathGains.joined([physics(self._statics[run[0]].facades, self._points[run]) for run in runs])

    def _refined(
        self, flux: FluxPipeline, aligned: bool, gains: PathGains, ready: list[int], how: list[How]
    ) -> dict[int, NDArray[np.float32]]:
        """The method's pathloss [256, 256] dB where the midpoint is `ready`, in one pass; `how` tells who answered."""
        failure = ""
        try:
            refined = self._by_network(flux, aligned, gains.of(ready), ready)
        except RuntimeError as error:
            if self._device.type == "cuda" and not isinstance(error, torch.OutOfMemoryError):
                raise
            failure = f"{NETWORK_FAILED}: {' '.join(str(error).split())}"
        if failure:
            torch.cuda.empty_cache()  # only here, where no traceback holds the network's tensors any more
            for k in ready:
                how[k] = How("physics_fallback", failure)
            return {}
        finite = [bool(np.isfinite(values).all()) for values in refined]
        for k, fits in zip(ready, finite, strict=True):
            how[k] = How("flux") if fits else How("physics_fallback", NOT_FINITE)
        return {k: values for k, values, fits in zip(ready, refined, finite, strict=True) if fits}

    def _by_network(self, flux: FluxPipeline, aligned: bool, gains: PathGains, ready: list[int]) -> NDArray[np.float32]:
        """The method's pathloss of those that are ready."""
        cars = self._on_device(self._cars[ready])
        pose = flux.pose_part(gains, self._points[ready], ~(self._on_device(self._buildings[ready]) | cars), cars)
        parts = [static.streets for static in self._statics if static.streets is not None]
        windows = [self._asked[k].region.window for k in ready]
        if all(part is parts[0] for part in parts):
            grey = flux.answer(parts[0], pose, windows[0], aligned=aligned)
        else:
            grey = flux.answer(joined(parts), pose, windows, aligned=aligned)
        return -(FLOOR_GAIN_DB + GREY_SPAN_DB * grey[:, 0]).cpu().numpy()

    def _on_device(self, cells: NDArray[np.bool_]) -> Tensor:
        return torch.from_numpy(cells).to(self._device)


def _pending(static: StaticPart) -> How:
    """How a region is answered whose midpoint is not there."""
    return How("physics_fallback", f"{NO_MIDPOINT}: {static.failure}" if static.failure else MIDPOINT_PENDING)


def milliseconds_since(start: float) -> float:
    """Since a time of `time.perf_counter` [ms]."""
    return 1e3 * (time.perf_counter() - start)
