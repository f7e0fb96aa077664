"""What reuse costs, against how much of the chain is reused: tables I to IV of RadioDiff-Flux (F §V-B)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdflux_ros.data.radiomapseer import DataError, RadioMapSeer, Sample
from rdflux_ros.diffusion.schedule import uniform_schedule
from rdflux_ros.evaluation.flight import evaluate_flight
from rdflux_ros.evaluation.journal import opened
from rdflux_ros.evaluation.methods import Split, Workbench
from rdflux_ros.evaluation.metrics import paired_comparison, scores, summarise
from rdflux_ros.evaluation.reuse_bench import Answer, ReuseBench
from rdflux_ros.flux.loading import load_model
from rdflux_ros.flux.pipeline import FluxPipeline
from rdflux_ros.mapping.mapper import select_device
from rdflux_ros.model.config import MethodConfig
from rdflux_ros.model.shipped import SHIPPED
from rdflux_ros.networks.denoiser import LATENT_SIZE

SCENARIOS: dict[str, Callable[[Split, Sample, int], Sample]] = {
    "transmitter": Split.donor,
    "dynamic": lambda split, sample, seed: replace(sample, cars=np.zeros_like(sample.cars)),
    "static": Split.elsewhere,
}
"""From split, map and seed to the origin: another transmitter of the same streets, the same without cars, or another
transmitter of other streets."""
PICTURES = 3
"""Pairs of which a report has pictures."""


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
    flight: Path | None = None,
    journal: Path | None = None,
    report: Path | None = None,
    pictures: int = PICTURES,
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
    flight
        Folder of a flight (`flight.Flight`): how much answers change from frame to frame along it.
    journal
        File that results are kept in as they come; with the same settings it is gone on with. The flight's are beside.
    report
        Folder for tables, plots and pictures.
    pictures
        Pairs of which it has some.

    Raises
    ------
    DataError
        The dataset does not fit the scenario, which may be unknown, or the model lacks what it needs; the flight is
        not whole, or the scenario is not that of a transmitter that moves.
    MissingModelError, CheckpointError, SettingError
        The model's file or a ratio does not fit.
    """
    from tqdm import tqdm

    if scenario not in SCENARIOS:
        raise DataError(f"unknown scenario {scenario}; known are {', '.join(SCENARIOS)}")
    if flight is not None and scenario != "transmitter":
        raise DataError(f"a flight moves the transmitter, so it does not go with the scenario {scenario}")
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
    kept = opened(journal, {**settings, "rows": reuse.rows()})
    pictured = [maps.names[k] for k in chosen[:: max(1, len(chosen) // max(1, pictures))][:pictures]]
    files = {} if report is None else {name: report / f"{name}.png" for name in pictured}
    for index in tqdm(chosen, desc=f"reuse, {scenario}", unit="pair", dynamic_ncols=True):
        name = maps.names[index]
        picture = files.get(name)
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
    summary: dict[str, Any] = {
        **settings,
        "pairs": len(results),
        "left_out": reuse.left_out(),
        "rows": _rows(results, seed),
        "clairvoyant": clairvoyant(results),
        "latents": _latents(results, reuse.method, loaded.model.autoencoder.latent_channels * LATENT_SIZE**2),
    }
    if flight is not None:
        beside = None if journal is None else journal.with_name(f"{journal.stem}_flight{journal.suffix}")
        summary["flight"] = evaluate_flight(flight, loaded, device, seed=seed, journal=beside)
    if report is not None:
        from rdflux_ros.evaluation.reuse_report import write_reuse_report

        write_reuse_report(report, summary, list(files.values()))
    return summary


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
    return {"scene": here.scene, "origin": origin.name, "rows": rows, "latents": latents}


def _rows(results: Sequence[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """A row for each method and ratio over all pairs, with what it loses against the full chain."""
    found = []
    full = [row["scores"]["nmse"] for result in results for row in result["rows"] if row["method"] == "full"]
    scenes = [result["scene"] for result in results]
    for column in zip(*(result["rows"] for result in results), strict=True):
        lost = paired_comparison([row["scores"]["nmse"] for row in column], full, scenes, seed=seed)
        found.append(
            {
                "method": column[0]["method"],
                "reuse_ratio": column[0]["reuse_ratio"],
                **summarise([row["scores"] for row in column]),
                "ms": 1e3 * float(np.median([row["seconds"] for row in column])),
                "steps_ms": 1e3 * float(np.median([row["steps_seconds"] for row in column])),
                "against_full": {"nmse": lost["difference"], "low": lost["low"], "high": lost["high"]},
            }
        )
    return found


def clairvoyant(results: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """What choosing R for each map could gain at most, for flux and the full chain (R = 0), in equal mean time.

    A bound: the choice knows every map's error and time at every R beforehand, and may leave a map to a draw between
    two of them. What is reached in this way is convex, so its lower hull at the time that a fixed R takes is the least
    mean NMSE; what a rule can do that knows neither is more.
    """
    names = [(row["method"], row["reuse_ratio"]) for row in results[0]["rows"]] if results else []
    columns = [k for k, (method, _) in enumerate(names) if method in ("full", "flux")]
    if len(columns) < 2:
        return []
    nmse, seconds = (
        np.array([[value(result["rows"][k]) for k in columns] for result in results])
        for value in (lambda row: row["scores"]["nmse"], lambda row: row["seconds"])
    )
    counted = ~np.isnan(nmse).any(axis=1)
    if not counted.any():
        return []
    nmse, seconds = nmse[counted], seconds[counted]
    hulls = [_lower_hull(*points) for points in zip(seconds, nmse, strict=True)]
    starts = np.array([hull[0] for hull in hulls])
    falls = np.concatenate([np.diff(hull, axis=0) for hull in hulls])
    falls = falls[np.argsort(falls[:, 1] / falls[:, 0], kind="stable")]  # the best bargains of all maps first
    reached = np.cumsum([starts.mean(axis=0), *falls / len(hulls)], axis=0)
    found = []
    for column, k in enumerate(columns):
        fixed, took = float(nmse[:, column].mean()), float(seconds[:, column].mean())
        best = float(np.interp(took, *reached.T))
        found.append({"reuse_ratio": names[k][1] or 0.0, "ms": 1e3 * took, "nmse": fixed, "clairvoyant_nmse": best})
    return sorted(found, key=lambda row: row["reuse_ratio"])


def _lower_hull(seconds: NDArray[np.float64], nmse: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners [n, 2] (seconds, NMSE) of the points' lower convex hull, from the fastest point to the best one."""
    at = int(np.lexsort((nmse, seconds))[0])
    corners = [at]
    while len(better := np.flatnonzero(nmse < nmse[at])):
        at = int(better[np.argmin((nmse[better] - nmse[at]) / (seconds[better] - seconds[at]))])
        corners.append(at)
    return np.stack([seconds[corners], nmse[corners]], axis=1)


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
