"""What reuse costs, against how much of the chain is reused: tables I to IV of RadioDiff-Flux (F §V-B).

A pair is a map that is answered and an origin: the map whose midpoint is kept for it. Every chain is run once and
passes through the midpoints of all ratios.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdflux_ros.data.radiomapseer import DataError, RadioMapSeer, Sample
from rdflux_ros.diffusion.schedule import reused_steps, uniform_schedule
from rdflux_ros.evaluation.inference import Stopwatch
from rdflux_ros.evaluation.journal import Journal
from rdflux_ros.evaluation.methods import WINDOW, Split, Workbench
from rdflux_ros.evaluation.metrics import bootstrap_interval, scores, summarise
from rdflux_ros.flux.loading import load_model
from rdflux_ros.flux.midpoints import RegionCache
from rdflux_ros.flux.pipeline import FluxPipeline, PosePart, StreetsPart
from rdflux_ros.mapping.mapper import select_device
from rdflux_ros.model.config import MethodConfig
from rdflux_ros.model.shipped import SHIPPED
from rdflux_ros.networks.condition import Condition
from rdflux_ros.networks.denoiser import LATENT_SIZE

SCENARIOS: dict[str, Callable[[Split, Sample, int], Sample]] = {
    "transmitter": Split.donor,
    "dynamic": lambda split, sample, seed: replace(sample, cars=np.zeros_like(sample.cars)),
    "static": Split.elsewhere,
}
"""From split, map and seed to the origin: another transmitter of the same streets, the same without cars, or another
transmitter of other streets."""
CHAINS = 8
"""Of which all latents are kept (26 MB each, of 100 steps)."""
PICTURES = 3
"""Pairs of which there is a picture."""


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
        self._lacking = {
            "flux": bench.loaded.lacks("static"),
            "aligned": bench.loaded.lacks("static", "aligned"),
        }

    def left_out(self) -> dict[str, str]:
        """Why a method has no row, or none at some of the ratios."""
        found = {name: reason for name, reason in self._lacking.items() if reason}
        own = self.method.reuse_ratio
        if "aligned" not in found and any(ratio != own for ratio in self._at):
            found["aligned"] = f"trained on midpoints at R = {own:g} alone, so it answers at no other ratio"
        return found

    def answers(self, here: Sample, origin: Sample) -> list[Answer]:
        """All answers to a map: the physics layer, the full chain, then each method at the ratios from low to high.

        Vanilla reuse goes on from the latents of the origin's own full chain, flux and aligned from those of the
        first stage over the origin's streets: `flux` as the papers split the chain, `flux_short` and `aligned` with a
        first stage as the model has it, at its own ratio.
        """
        timed = _Timed(self._bench, here)
        grey, seconds = self._bench.answer("physics", here)
        found = [Answer("physics", None, grey, seconds)]
        own = self._chain(here)
        with torch.inference_mode():
            found.append(timed.decoded("full", None, own.states[-1], own.condition_seconds, own.steps_seconds))
            found += self._vanilla(timed, self._chain(origin))
            if not self._lacking["flux"]:
                found += self._flux(timed, origin)
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

    def _vanilla(self, timed: _Timed, chain: Chain) -> Iterator[Answer]:
        condition, seconds = timed.conditional()
        for ratio, flux in self._at.items():
            midpoint = chain.states[self._step(ratio)]
            yield timed.last_steps("vanilla", ratio, flux, midpoint, condition, seconds, aligned=False)

    def _flux(self, timed: _Timed, origin: Sample) -> Iterator[Answer]:
        bench, own = self._bench, self.method.reuse_ratio
        streets = bench.region(timed.sample, aligned=False)
        condition, seconds = timed.told(streets, aligned=False)
        states = self._first_stage(origin)
        for ratio, flux in self._at.items():
            midpoint = states[self._step(ratio)].to(torch.float16).float()  # as it is kept
            yield timed.last_steps("flux", ratio, flux, midpoint, condition, seconds, aligned=False)
        if own not in self._at:
            return
        if self.method.static_steps:
            midpoint = bench.region(origin, aligned=False).midpoint.float()
            yield timed.last_steps("flux_short", own, bench.flux, midpoint, condition, seconds, aligned=False)
        if not self._lacking["aligned"]:
            condition, seconds = timed.told(bench.region(timed.sample, aligned=True), aligned=True)
            midpoint = bench.region(origin, aligned=True).midpoint.float()
            yield timed.last_steps("aligned", own, bench.flux, midpoint, condition, seconds, aligned=True)

    def _step(self, ratio: float) -> int:
        return reused_steps(self.method.steps, ratio)

    def _chain(self, sample: Sample) -> Chain:
        def compute() -> Chain:
            watch = Stopwatch(self._bench.device)
            with torch.inference_mode():
                condition, seconds = _Timed(self._bench, sample).conditional()
                watch.lap("before")
                states = list(self._bench.flux.full_chain(condition, WINDOW))
                watch.lap("steps")
            return Chain(states, seconds, 1e-3 * watch.parts["steps"])

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

    def conditional(self) -> tuple[Condition, float]:
        """What the full chain and vanilla reuse are told, and what that took [s]."""
        image, pose = self._bench.image(self.sample), self._pose
        return self._clocked(lambda: self._bench.flux.conditional(image, pose))

    def told(self, streets: StreetsPart, *, aligned: bool) -> tuple[Condition, float]:
        """What a second stage is told beside the midpoint, and what that took [s]."""
        pose = self._pose
        return self._clocked(lambda: self._bench.flux.condition(streets, pose, aligned=aligned))

    def last_steps(
        self,
        method: str,
        ratio: float,
        flux: FluxPipeline,
        midpoint: Tensor,
        condition: Condition,
        seconds: float,
        *,
        aligned: bool,
    ) -> Answer:
        """The answer from a midpoint on; `seconds` went into the condition."""
        latents, steps = self._clocked(lambda: flux.last_steps(condition, midpoint, WINDOW, aligned=aligned))
        return self.decoded(method, ratio, latents, seconds, steps)

    def decoded(self, method: str, ratio: float | None, latents: Tensor, seconds: float, steps: float) -> Answer:
        """The answer of latents that took `seconds` for the condition and `steps` for the steps."""
        pose = self._pose
        grey, decoding = self._clocked(lambda: self._bench.flux.decoded(latents, pose)[0, 0].float().cpu().numpy())
        shared = self._bench.pose_seconds(self.sample)
        return Answer(method, ratio, grey, shared + seconds + steps + decoding, steps)

    def _clocked(self, work: Callable[[], Any]) -> tuple[Any, float]:
        watch = Stopwatch(self._bench.device)
        result = work()
        watch.lap("all")
        return result, 1e-3 * watch.total


def evaluate_reuse(
    data: Path,
    scenario: str,
    ratios: Sequence[float],
    split: str = "test",
    *,
    pairs: int = 100,
    seed: int = 0,
    model: str = SHIPPED,
    map_resolution: float | None = None,
    device: str = "auto",
    journal: Path | None = None,
    report: Path | None = None,
) -> dict[str, Any]:
    """Score what is kept from one map for another, at each ratio.

    Parameters
    ----------
    scenario
        Of `SCENARIOS`.
    ratios
        Of reuse, R; one at least above 0.
    pairs
        How many, evenly over the split's scenes; all that it has where that is fewer.
    seed
        Of the draw of maps and origins, and of the intervals.
    map_resolution
        Walls as a map of this resolution [m] shows them; None takes the finest that the data has.
    journal
        File that results are kept in as they come; with the same settings it is gone on with.
    report
        Folder for tables, plots and pictures.

    Raises
    ------
    DataError
        The dataset does not fit the scenario, which may be unknown, or the model lacks what it needs.
    MissingModelError, CheckpointError, SettingError
        The model's file or a ratio does not fit.
    """
    from tqdm import tqdm

    if scenario not in SCENARIOS:
        raise DataError(f"unknown scenario {scenario}; known are {', '.join(SCENARIOS)}")
    ratios = sorted(set(ratios))
    maps = Split(RadioMapSeer(data, split, cars=scenario == "dynamic"), map_resolution)
    if scenario == "transmitter" and (scene := maps.alone()) is not None:
        raise DataError(f"{scene} has one transmitter, so no midpoint of another")
    if scenario == "static" and maps.scenes() < 2:
        raise DataError("the split has one scene, so no midpoint of other streets")
    if (loaded := load_model(model, select_device(device))) is None:
        raise DataError("there is no model, so nothing to reuse")
    bench = Workbench(device, loaded=loaded, flux=FluxPipeline(loaded.model), split=maps, seed=seed)
    reuse = ReuseBench(bench, ratios)
    chosen = sorted(maps.evenly(pairs, seed))
    if len(chosen) < pairs:
        print(f"evaluate: {len(chosen)} pairs are all that there are, not {pairs}", file=sys.stderr)
    settings = {
        "scenario": scenario,
        "data": data.name,
        "split": split,
        "ratios": ratios,
        "map_resolution": map_resolution or maps[0].resolution,
        "model": loaded.summary(reuse.method),
        "device": str(bench.device),
        "seed": seed,
    }
    kept = opened(journal, settings)
    pictured = {maps.names[k] for k in chosen[:: max(1, len(chosen) // PICTURES)][:PICTURES]} if report else set()
    pictures = {name: report / f"{name}.png" for name in sorted(pictured)} if report else {}
    for index in tqdm(chosen, desc=f"reuse, {scenario}", unit="pair", dynamic_ncols=True):
        name = maps.names[index]
        picture = pictures.get(name)
        if name in kept.results and (picture is None or picture.is_file()):
            continue
        here = maps[index]
        origin = SCENARIOS[scenario](maps, here, seed)
        answers = reuse.answers(here, origin)
        if picture is not None:
            from rdflux_ros.evaluation.reuse_report import write_pair

            write_pair(picture, here, answers, shown_ratio(ratios, reuse.method.reuse_ratio))
        if name not in kept.results:
            kept.add(name, _record(here, origin, answers, reuse.latents(here, origin)))
    results = [kept.results[maps.names[k]] for k in chosen]
    summary = {
        **settings,
        "pairs": len(results),
        "left_out": reuse.left_out(),
        "rows": _rows(results, seed),
        "latents": _latents(results, reuse.method, loaded.model.autoencoder.latent_channels * LATENT_SIZE**2),
    }
    if report is not None:
        from rdflux_ros.evaluation.reuse_report import write_reuse_report

        write_reuse_report(report, summary, list(pictures.values()))
    return summary


def opened(path: Path | None, settings: dict[str, Any]) -> Journal:
    """The journal of a command; says on stderr what becomes of results that were there."""
    journal = Journal(path, settings)
    if journal.changed:
        print(f"evaluate: {path}: other {', '.join(journal.changed)}, so all starts anew", file=sys.stderr)
    elif journal.results:
        print(f"evaluate: {path}: goes on after {len(journal.results)} results", file=sys.stderr)
    return journal


def shown_ratio(ratios: Sequence[float], own: float) -> float:
    """The ratio that pictures show: the model's own, or the highest."""
    return own if own in ratios else max(ratios)


def _record(
    here: Sample, origin: Sample, answers: Sequence[Answer], latents: dict[str, dict[str, list[float]]]
) -> dict[str, Any]:
    rows = [
        {
            "method": answer.method,
            "reuse_ratio": answer.reuse_ratio,
            "seconds": answer.seconds,
            "steps_seconds": answer.steps_seconds,
            "scores": scores(answer.grey, here.grey, here.free),
        }
        for answer in answers
    ]
    return {"origin": origin.name, "rows": rows, "latents": latents}


def _rows(results: Sequence[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """A row for each method and ratio over all pairs, with what it loses against the full chain."""
    found = []
    full = [row["scores"]["nmse"] for result in results for row in result["rows"] if row["method"] == "full"]
    for column in zip(*(result["rows"] for result in results), strict=True):
        lost = [row["scores"]["nmse"] - nmse for row, nmse in zip(column, full, strict=True)]
        low, high = bootstrap_interval(lost, seed=seed)
        found.append(
            {
                "method": column[0]["method"],
                "reuse_ratio": column[0]["reuse_ratio"],
                **summarise([row["scores"] for row in column]),
                "ms": 1e3 * float(np.median([row["seconds"] for row in column])),
                "steps_ms": 1e3 * float(np.median([row["steps_seconds"] for row in column])),
                "against_full": {"nmse": float(np.nanmean(lost)), "low": low, "high": high},
            }
        )
    return found


def _latents(results: Sequence[dict[str, Any]], method: MethodConfig, numbers: int) -> dict[str, Any]:
    """Pooled NMSE over pairs of kept latents of so many numbers against the map's own chain, by time.

    Without noise in sampling the latents are signal alone; ``with_noise`` adds the energy t that noise shared by both
    chains would have in each number, as the papers' latents do.
    """
    times = uniform_schedule(method.steps)[1:]
    energy = np.sum([result["latents"]["own"]["energy"] for result in results], axis=0)
    noise = len(results) * numbers * np.array(times) if method.temperature == 0 else np.zeros(len(times))
    found: dict[str, Any] = {"t": list(times)}
    for name in results[0]["latents"]:
        if name != "own":
            error = np.sum([result["latents"][name]["error"] for result in results], axis=0)
            count = len(error)
            found[name] = {
                "nmse": list(error / energy[:count]),
                "with_noise": list(error / (energy + noise)[:count]),
            }
    return found


def _square_sum(latents: Tensor) -> float:
    return float(f"{float(latents.double().square().sum()):.6g}")
