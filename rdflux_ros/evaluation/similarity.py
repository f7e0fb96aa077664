"""How alike streets must be for their midpoint to be kept: what keeping it costs against D_env (F eq. 16).

Updated streets have no truth: there the answer from the old midpoint is compared with the answer from one that was
made for them. Other streets altogether have one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdflux_ros.data.radiomapseer import DataError, RadioMapSeer, Sample
from rdflux_ros.evaluation.journal import opened
from rdflux_ros.evaluation.map_updates import KINDS, updated
from rdflux_ros.evaluation.methods import WINDOW, Split, Workbench
from rdflux_ros.evaluation.metrics import LEAST_GROUPS, mean, paired_comparison, rank_correlation, scores
from rdflux_ros.flux.loading import load_model
from rdflux_ros.flux.pipeline import FluxPipeline, StreetsPart
from rdflux_ros.flux.similarity import environment_distance
from rdflux_ros.mapping.mapper import select_device
from rdflux_ros.model.shipped import SHIPPED

HARMLESS_DB = 0.1
"""RMS change [dB] that nobody can see: a tenth of a step of the published values."""
OTHER_STREETS = "other_streets"
"""The kind of a pair of two real scenes."""


@dataclass(frozen=True)
class Comparison:
    """Streets before and after a change, and the two answers on those after it.

    Parameters
    ----------
    distance
        D_env.
    fresh, kept
        [256, 256] grey, from a midpoint made for them and from the one before.
    """

    old: Sample
    new: Sample
    distance: float
    fresh: NDArray[np.float32]
    kept: NDArray[np.float32]


def compare(bench: Workbench, old: Sample, new: Sample, *, aligned: bool) -> Comparison:
    """Answer the new sample from both midpoints, by either second stage."""
    before, after = (bench.region(sample, aligned=aligned) for sample in (old, new))
    pose = bench.pose(new)

    def answer(part: StreetsPart) -> NDArray[np.float32]:
        return bench.flux.answer(part, pose, WINDOW, aligned=aligned)[0, 0].float().cpu().numpy()

    distance = environment_distance(after.condition, before.condition)
    return Comparison(old, new, distance, answer(after), answer(replace(after, midpoint=before.midpoint)))


def evaluate_similarity(
    data: Path,
    split: str = "val",
    *,
    pairs: int = 100,
    seed: int = 0,
    model: str = SHIPPED,
    map_resolution: float | None = None,
    device: str = "auto",
    journal: Path | None = None,
    report: Path | None = None,
) -> dict[str, Any]:
    """Find the largest distance of changed streets at which their midpoint should be kept.

    Parameters
    ----------
    pairs
        Of old and new streets of each kind of change, evenly over the split's scenes.
    seed
        Of the draw of maps and changes, and of the intervals.
    map_resolution
        Walls as a map of this resolution [m] shows them; None takes the finest that the data has.
    journal
        File that results are kept in as they come; with the same settings it is gone on with.
    report
        Folder for tables, plots and a picture.

    Raises
    ------
    DataError
        The dataset does not fit or has one scene only, or the model has no two stages.
    MissingModelError, CheckpointError
        The model's file does not fit.
    """
    from tqdm import tqdm

    maps = Split(RadioMapSeer(data, split), map_resolution)
    if maps.scenes() < 2:
        raise DataError("the split has one scene, so no other streets")
    if (loaded := load_model(model, select_device(device))) is None:
        raise DataError("there is no model, so no midpoint")
    aligned = loaded.lacks("aligned") is None
    if lacking := loaded.lacks("static", "aligned" if aligned else "conditional"):
        raise DataError(lacking)
    bench = Workbench(device, loaded=loaded, flux=FluxPipeline(loaded.model), split=maps, seed=seed)
    settings = {
        "data": data.name,
        "split": split,
        "map_resolution": map_resolution or maps[0].resolution,
        "model": loaded.summary(bench.flux.method),
        "aligned": aligned,
        "device": str(bench.device),
        "seed": seed,
    }
    kept = opened(journal, settings)
    chosen = sorted(maps.evenly(pairs, seed))
    picture = None if report is None else report / "updates.png"
    names = [(index, kind, f"{maps.names[index]}+{kind}") for index in chosen for kind in (*KINDS, OTHER_STREETS)]
    shown = []
    for index, kind, name in tqdm(names, desc="similarity", unit="pair", dynamic_ncols=True):
        wanted = index == chosen[0] and picture is not None and kind in KINDS
        if name in kept.results and not (wanted and picture is not None and not picture.is_file()):
            continue
        here = maps[index]
        other = maps.elsewhere(here, seed)
        old, new = (other, here) if kind == OTHER_STREETS else (here, updated(here, kind, other, seed + index))
        found = compare(bench, old, new, aligned=aligned)
        shown += [found] * wanted
        if name not in kept.results:
            kept.add(name, _record(kind, here.scene, found))
    if picture is not None and len(shown) == len(KINDS):
        from rdflux_ros.evaluation.similarity_report import write_updates

        write_updates(picture, shown)
    summary = {**settings, **summarise_pairs([kept.results[name] for _, _, name in names], seed)}
    if report is not None:
        from rdflux_ros.evaluation.similarity_report import write_similarity_report

        write_similarity_report(report, summary)
    return summary


def knee(distances: Sequence[float] | NDArray[np.float64], costs: Sequence[float] | NDArray[np.float64]) -> float:
    """The threshold at the knee of cost against reuse.

    With growing threshold more updates keep their midpoint, and what that costs adds up. Both as shares of what they
    are where all are kept, the knee is the distance up to which reuse is farthest ahead of cost.
    """
    order = np.argsort(distances, kind="stable")
    rising, spent = np.asarray(distances)[order], np.cumsum(np.asarray(costs)[order])
    if spent[-1] == 0:
        return float(rising[-1])
    ahead = np.arange(1, len(order) + 1) / len(order) - spent / spent[-1]
    ahead[:-1][rising[1:] == rising[:-1]] = -np.inf  # equal distances are kept together
    return float(rising[int(np.argmax(ahead))])


def knee_interval(
    distances: Sequence[float], costs: Sequence[float], groups: Sequence[str], *, seed: int = 0, draws: int = 1000
) -> tuple[float, float]:
    """Where 95 % of the knees of resampled groups lie, as in `paired_comparison`: a few dear updates decide it."""
    names, number = np.unique(groups, return_inverse=True)
    if len(names) < LEAST_GROUPS:
        return math.nan, math.nan
    random = np.random.default_rng(seed)
    paired = np.array([distances, costs])
    members = [paired[:, number == group] for group in range(len(names))]
    drawn = (
        np.concatenate([members[group] for group in random.integers(len(names), size=len(names))], axis=1)
        for _ in range(draws)
    )
    low, high = np.quantile([knee(*pairs) for pairs in drawn], [0.025, 0.975])
    return float(low), float(high)


def harmless(distances: Sequence[float], costs_db: Sequence[float]) -> float:
    """The largest threshold at which every update that is kept costs at most `HARMLESS_DB`; 0 for none."""
    harmful = [d for d, cost in zip(distances, costs_db, strict=True) if cost > HARMLESS_DB]
    return max((d for d in distances if d < min(harmful, default=np.inf)), default=0.0)


def summarise_pairs(results: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    """The threshold over updates, and what each kind of change does at it; the pairs themselves for the plots.

    It is the knee's, or the larger one up to which all are harmless: shares of next to nothing have a knee as well.
    """
    by_kind = {kind: [r for r in results if r["kind"] == kind] for kind in (*KINDS, OTHER_STREETS)}
    real = by_kind[OTHER_STREETS]
    updates = [result for result in results if result["kind"] != OTHER_STREETS]
    distances, costs, costs_db = ([result[key] for result in updates] for key in ("distance", "nmse", "rmse_db"))
    at_knee, at_harmless = knee(distances, costs), harmless(distances, costs_db)
    # Up, so that the update at the knee is kept; or down, so that no harmful one is.
    threshold = _rounded(at_knee, math.ceil) if at_knee > at_harmless else _rounded(at_harmless, math.floor)
    kept, fresh = ([result[f"{which}_truth_nmse"] for result in real] for which in ("kept", "fresh"))
    lost = paired_comparison(kept, fresh, [result["scene"] for result in real], seed=seed)
    return {
        "knee": at_knee,
        "harmless": at_harmless,
        "knee_interval": knee_interval(distances, costs, [result["scene"] for result in updates], seed=seed),
        "threshold": threshold,
        "rank_correlation": rank_correlation(distances, costs),
        "updates": _kind(updates, threshold),
        "kinds": {
            kind: _kind([r for r in results if r["kind"] == kind], threshold) for kind in (*KINDS, OTHER_STREETS)
        },
        "against_truth": {
            "fresh": mean(fresh),
            "kept": mean(kept),
            "lost": lost["difference"],
            "low": lost["low"],
            "high": lost["high"],
        },
        "pairs": [{key: result[key] for key in ("kind", "cells", "distance", "nmse", "rmse_db")} for result in results],
    }


def _record(kind: str, scene: str, found: Comparison) -> dict[str, Any]:
    free = found.new.free
    difference = scores(found.kept, found.fresh, free)
    record = {
        "kind": kind,
        "scene": scene,
        "cells": int((found.old.heights_m != found.new.heights_m).sum()),
        "distance": found.distance,
        "nmse": difference["nmse"],
        "rmse_db": difference["rmse_db"],
    }
    if kind == OTHER_STREETS:
        fresh, kept = (scores(grey, found.new.grey, free)["nmse"] for grey in (found.fresh, found.kept))
        record |= {"fresh_truth_nmse": fresh, "kept_truth_nmse": kept}
    return record


def _kind(results: Sequence[dict[str, Any]], threshold: float) -> dict[str, Any]:
    kept = [result for result in results if result["distance"] <= threshold]

    def over(chosen: Sequence[dict[str, Any]], key: str, reduce: Any) -> float:
        return float(reduce([result[key] for result in chosen])) if chosen else float("nan")

    return {
        "pairs": len(results),
        "cells": over(results, "cells", np.median),
        "distance": over(results, "distance", np.median),
        "nmse": over(results, "nmse", np.mean),
        "rmse_db": over(results, "rmse_db", np.mean),
        "kept_share": len(kept) / len(results),
        "kept_nmse": over(kept, "nmse", np.mean),
        "kept_rmse_db": over(kept, "rmse_db", np.mean),
        "kept_rmse_db_worst": over(kept, "rmse_db", np.max),
    }


def _rounded(value: float, whole: Callable[[float], int]) -> float:
    """To two significant digits, by `math.ceil` or `math.floor`."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{whole(round(value / unit, 9)) * unit:.2g}")
