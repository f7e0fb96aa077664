"""The physics layer: path gain of every ground receiver of a window from geometry alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from rdflux_ros.propagation.config import PhysicsConfig
from rdflux_ros.propagation.diffraction import diffraction
from rdflux_ros.propagation.facades import Facades
from rdflux_ros.propagation.profiles import trace_profiles
from rdflux_ros.propagation.reflections import reflections
from rdflux_ros.radio.grid import WINDOW_M
from rdflux_ros.radio.units import FREE_SPACE, RECEIVER_HEIGHT

Part = Callable[[str, Callable[[], Any]], Any]
"""Does a part of the work, by name."""


@dataclass(frozen=True)
class PathGains:
    """Linear path gain by mechanism, each [B, 256, 256] float32, row 0 = south.

    All but the exact line of sight are means over 3 x 3 cells, over lit and shadowed cells apart: what a receiver
    meets on a few square metres, not on one point. Cells just within a building have their free neighbours' mean,
    those farther in no meaning. `visible` is the boolean line-of-sight mask.
    """

    line_of_sight: Tensor
    diffraction: Tensor
    reflections: Tensor
    ground_bounces: Tensor
    visible: Tensor

    @property
    def total(self) -> Tensor:
        """Power sum of all mechanisms."""
        return self.line_of_sight + self.diffraction + self.reflections + self.ground_bounces

    @staticmethod
    def joined(parts: Sequence[PathGains]) -> PathGains:
        """One batch of several."""
        if len(parts) == 1:
            return parts[0]
        return PathGains(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(PathGains)))

    def of(self, members: Sequence[int]) -> PathGains:
        """Some of the batch."""
        return PathGains(*(getattr(self, f.name)[list(members)] for f in fields(self)))

    def gain_db(self) -> Tensor:
        """Total path gain [dB]; -300 where nothing arrives."""
        return 10.0 * torch.log10(self.total.clamp_min(1e-30))


class PhysicsLayer:
    """Path gains of a batch of transmitters over one region; on the device of its inputs."""

    def __init__(self, config: PhysicsConfig | None = None) -> None:
        self.config = config or PhysicsConfig()
        self._beside = ThreadPoolExecutor(1, "physics_layer")

    def __call__(self, facades: Facades, transmitters: Tensor) -> PathGains:
        """Path gains at 1.5 m above ground.

        Parameters
        ----------
        transmitters
            [B, 3] x, y [m] from the window's south-west corner, z [m] above ground.
        """
        return self._gains(facades, transmitters, lambda _, work: work())

    def timed(self, facades: Facades, transmitters: Tensor) -> tuple[PathGains, dict[str, float]]:
        """As a call, with the time of each part [ms]: profiles, diffraction, reflections, local_mean.

        Diffraction and reflections may have taken their times at once.
        """
        times: dict[str, float] = {}

        def part(name: str, work: Callable[[], Any]) -> Any:
            start = time.perf_counter()
            result = work()
            if transmitters.device.type == "cuda":
                torch.cuda.synchronize(transmitters.device)
            times[name] = (time.perf_counter() - start) * 1e3
            return result

        return self._gains(facades, transmitters, part), times

    @torch.inference_mode()
    def _gains(self, facades: Facades, transmitters: Tensor, part: Part) -> PathGains:
        profiles = part("profiles", lambda: trace_profiles(facades, transmitters))
        bent, (mirrored, bounced) = self._both(
            lambda: part("diffraction", lambda: diffraction(facades, profiles)),
            lambda: part("reflections", lambda: reflections(facades, profiles, self.config.reflection_order)),
            at_once=transmitters.device.type == "cpu" and torch.get_num_threads() > 1,
        )

        def gains() -> PathGains:
            shape = (-1, WINDOW_M, WINDOW_M)
            visible = profiles.visible & facades.free
            drop = RECEIVER_HEIGHT - profiles.transmitters[:, 2:]
            direct = torch.where(visible, FREE_SPACE / (profiles.distance**2 + drop**2), 0.0)
            free, lit = facades.free.view(1, WINDOW_M, WINDOW_M), visible.view(shape)
            scattered = _local_mean(torch.stack([mirrored, bounced, bent]).view(3, *lit.shape), lit, free)
            parts = torch.cat([direct.view(1, *lit.shape), scattered])
            direct_, mirrored_, bounced_, bent_ = _past_walls(parts, free)
            return PathGains(direct_, bent_, mirrored_, bounced_, lit)

        return part("local_mean", gains)

    def _both(self, one: Callable[[], Any], other: Callable[[], Any], *, at_once: bool) -> tuple[Any, Any]:
        """The results of two parts; at once, each has a core: their steps are too short to be shared among cores."""
        if not at_once:
            return one(), other()
        waiting = self._beside.submit(torch.inference_mode()(other))
        return one(), waiting.result()


def _neighbourhood(values: Tensor) -> Tensor:
    """Sums over 3 x 3 cells, nothing beyond the window."""
    rows = pad(values, (0, 0, 1, 1))
    columns = pad(rows[..., :-2, :] + values + rows[..., 2:, :], (1, 1))
    return columns[..., :-2] + columns[..., 1:-1] + columns[..., 2:]


def _local_mean(gain: Tensor, lit: Tensor, free: Tensor) -> Tensor:
    """3 x 3 means within lit and within shadowed free cells."""
    result = torch.zeros_like(gain)
    for cells in (lit, free & ~lit):
        within = cells.float()
        result += _neighbourhood(gain * within) / _neighbourhood(within).clamp_min(1.0) * within
    return result


def _past_walls(gain: Tensor, free: Tensor) -> Tensor:
    """Give cells whose centre is just inside a building their free neighbours' mean: the footprint decides there."""
    mean = _neighbourhood(gain) / _neighbourhood(free.float()).clamp_min(1.0)
    return torch.where(free, gain, mean)
