"""The chains of one model over pairs of maps: every chain is run once and passes through the midpoints of all ratios.

A pair is a map that is answered and an origin: the map whose midpoint is kept for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdflux_ros.data.radiomapseer import DataError, Sample
from rdflux_ros.diffusion.schedule import reused_steps
from rdflux_ros.evaluation.inference import timed
from rdflux_ros.evaluation.methods import WINDOW, Workbench
from rdflux_ros.flux.midpoints import RegionCache
from rdflux_ros.flux.pipeline import FluxPipeline, PosePart, StreetsPart
from rdflux_ros.networks.condition import Condition

CHAINS = 8
"""Of which all latents are kept (26 MB each, of 100 steps)."""
LEAST_ALIGNED = 0.9
"""From this R on the aligned stage has rows that it was not trained for: below, its steps are many and far apart."""


@dataclass(frozen=True)
class Answer:
    """One method's answer at one ratio.

    Parameters
    ----------
    reuse_ratio
        None where nothing of a chain is reused.
    grey
        [256, 256].
    seconds, steps_seconds
        From the transmitter to the map, without what is kept; in the denoiser's steps alone.
    """

    method: str
    reuse_ratio: float | None
    grey: NDArray[np.float32]
    seconds: float
    steps_seconds: float = 0.0


@dataclass(frozen=True)
class Chain:
    """A full chain: its latents at every time of the schedule, and what condition and steps took [s]."""

    states: list[Tensor]
    condition_seconds: float
    steps_seconds: float


@dataclass(frozen=True)
class Told:
    """What a stage is told beside its latents, and what that took [s]."""

    condition: Condition
    seconds: float


class ReuseBench:
    """The chains of one model over pairs of samples.

    Parameters
    ----------
    bench
        With a model.
    ratios
        Shares of the chain that are reused; at 0 nothing is, and the full chain's row stands for all.

    Raises
    ------
    DataError
        The model cannot run the full chain, or no ratio is above 0.
    SettingError
        A ratio leaves no whole steps.
    """

    def __init__(self, bench: Workbench, ratios: Sequence[float]) -> None:
        assert bench.loaded is not None
        if lacking := bench.loaded.lacks("conditional"):
            raise DataError(lacking)
        self._bench, self.method = bench, bench.flux.method
        pipelines = {r: FluxPipeline(bench.loaded.model, reuse_ratio=r, static_steps=0) for r in sorted(ratios)}
        self._at = {ratio: flux for ratio, flux in pipelines.items() if ratio > 0}
        if not self._at:
            raise DataError("no reuse ratio above 0, so nothing is reused")
        self._chains: RegionCache[Chain] = RegionCache(CHAINS)
        self._first_stages: RegionCache[list[Tensor]] = RegionCache(CHAINS)
        self._lacking = {name: bench.lacks(name) for name in ("flux", "aligned")}
        ratios = [r for r in self._at if r >= LEAST_ALIGNED or r == self.method.reuse_ratio]
        self._aligned = {
            r: FluxPipeline(bench.loaded.model, reuse_ratio=r) for r in ratios if not self._lacking["aligned"]
        }

    def left_out(self) -> dict[str, str]:
        """Why a method has no row, or none at some of the ratios."""
        found = {name: reason for name, reason in self._lacking.items() if reason}
        own = self.method.reuse_ratio
        if "aligned" not in found and set(self._aligned) != set(self._at):
            found["aligned"] = f"trained for R = {own:g}, so it has rows there and from R = {LEAST_ALIGNED:g} on"
        return found

    def rows(self) -> list[tuple[str, float | None]]:
        """Method and ratio of each of the `answers`."""
        own = self.method.reuse_ratio
        found: list[tuple[str, float | None]] = [("physics", None), ("full", None)]
        found += [("vanilla", ratio) for ratio in self._at]
        if not self._lacking["flux"]:
            found += [("flux", ratio) for ratio in self._at]
            found += [("flux_short", own)] if own in self._at and self.method.static_steps else []
        return found + [("aligned", ratio) for ratio in self._aligned]

    def answers(self, here: Sample, origin: Sample) -> list[Answer]:
        """All answers to a map: the physics layer, the full chain, then each method at the ratios from low to high.

        Vanilla reuse goes on from the latents of the origin's own full chain, flux and aligned from those of the
        first stage over the origin's streets: `flux` as the papers split the chain, `flux_short`, at the model's own
        ratio, and `aligned`, at that and from `LEAST_ALIGNED` on, with a first stage as the model has it.
        """
        parts = _Timed(self._bench, here)
        grey, seconds = self._bench.answer("physics", here)
        found = [Answer("physics", None, grey, seconds)]
        own = self._chain(here)
        with torch.inference_mode():
            found.append(parts.decoded("full", None, own.states[-1], own.condition_seconds, own.steps_seconds))
            found += self._vanilla(parts, self._chain(origin))
            if not self._lacking["flux"]:
                found += self._flux(parts, origin)
            found += self._by_aligned(parts, origin)
        return found

    def latents(self, here: Sample, origin: Sample) -> dict[str, dict[str, list[float]]]:
        """How far latents that are kept are from those of the map's own full chain, at the times after t = 1.

        By method ``error``, the sum of squared differences; ``energy`` is the sum of the chain's own squares. Flux
        ends where the highest ratio does.
        """
        own = self._chain(here).states[1:]
        kept = {"vanilla": self._chain(origin).states[1:]}
        if not self._lacking["flux"]:
            kept["flux"] = self._first_stage(origin)[1:]
        energy = {"energy": [_square_sum(z) for z in own]}
        errors = {name: [_square_sum(a - b) for a, b in zip(z, own, strict=False)] for name, z in kept.items()}
        return {"own": energy, **{name: {"error": error} for name, error in errors.items()}}

    def _vanilla(self, parts: _Timed, chain: Chain) -> Iterator[Answer]:
        told = parts.conditional()
        for ratio, flux in self._at.items():
            midpoint = chain.states[self._step(ratio)]
            yield parts.last_steps("vanilla", ratio, flux, midpoint, told, aligned=False)

    def _flux(self, parts: _Timed, origin: Sample) -> Iterator[Answer]:
        bench, own = self._bench, self.method.reuse_ratio
        told = parts.told(bench.region(parts.sample, aligned=False), aligned=False)
        states = self._first_stage(origin)
        for ratio, flux in self._at.items():
            midpoint = states[self._step(ratio)].to(torch.float16).float()  # as it is kept
            yield parts.last_steps("flux", ratio, flux, midpoint, told, aligned=False)
        if own in self._at and self.method.static_steps:
            midpoint = bench.region(origin, aligned=False).midpoint.float()
            yield parts.last_steps("flux_short", own, bench.flux, midpoint, told, aligned=False)

    def _by_aligned(self, parts: _Timed, origin: Sample) -> Iterator[Answer]:
        if not self._aligned:
            return
        bench = self._bench
        told = parts.told(bench.region(parts.sample, aligned=True), aligned=True)  # the same at every R
        for ratio, flux in self._aligned.items():
            midpoint = bench.region(origin, aligned=True, flux=flux).midpoint.float()
            yield parts.last_steps("aligned", ratio, flux, midpoint, told, aligned=True)

    def _step(self, ratio: float) -> int:
        return reused_steps(self.method.steps, ratio)

    def _chain(self, sample: Sample) -> Chain:
        def compute() -> Chain:
            bench = self._bench
            with torch.inference_mode():
                told = _Timed(bench, sample).conditional()
                states, seconds = timed(bench.device, lambda: list(bench.flux.full_chain(told.condition, WINDOW)))
            return Chain(states, told.seconds, seconds)

        return self._chains.get_or_compute(f"{sample.name} {bool(sample.cars.any())}", compute)[0]

    def _first_stage(self, sample: Sample) -> list[Tensor]:
        def compute() -> list[Tensor]:
            with torch.inference_mode():
                return list(self._at[max(self._at)].first_stage(self._bench.image(sample), WINDOW))

        return self._first_stages.get_or_compute(sample.scene, compute)[0]


class _Timed:
    """The parts of answers to one sample, each timed."""

    def __init__(self, bench: Workbench, sample: Sample) -> None:
        self._bench, self.sample = bench, sample

    @property
    def _pose(self) -> PosePart:
        return self._bench.pose(self.sample)

    def conditional(self) -> Told:
        """What the full chain and vanilla reuse are told."""
        image, pose = self._bench.image(self.sample), self._pose
        return Told(*timed(self._bench.device, lambda: self._bench.flux.conditional(image, pose)))

    def told(self, streets: StreetsPart, *, aligned: bool) -> Told:
        """What a second stage is told."""
        pose = self._pose
        return Told(*timed(self._bench.device, lambda: self._bench.flux.condition(streets, pose, aligned=aligned)))

    def last_steps(
        self, method: str, ratio: float, flux: FluxPipeline, midpoint: Tensor, told: Told, *, aligned: bool
    ) -> Answer:
        """The answer from a midpoint on."""
        device = self._bench.device
        latents, steps = timed(device, lambda: flux.last_steps(told.condition, midpoint, WINDOW, aligned=aligned))
        return self.decoded(method, ratio, latents, told.seconds, steps)

    def decoded(self, method: str, ratio: float | None, latents: Tensor, seconds: float, steps: float) -> Answer:
        """The answer of latents that took `seconds` for the condition and `steps` for the steps."""
        bench, pose = self._bench, self._pose
        grey, decoding = timed(bench.device, lambda: bench.flux.decoded(latents, pose)[0, 0].float().cpu().numpy())
        shared = bench.pose_seconds(self.sample)
        return Answer(method, ratio, grey, shared + seconds + steps + decoding, steps)


def _square_sum(latents: Tensor) -> float:
    return float(f"{float(latents.double().square().sum()):.6g}")
