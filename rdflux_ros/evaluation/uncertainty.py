"""Is the error as large as the map says it may be? The laws are fitted on one split and checked on another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdflux_ros.data.radiomapseer import DataError, RadioMapSeer, Sample
from rdflux_ros.evaluation.accuracy import ROOF_HEIGHT_M
from rdflux_ros.evaluation.console import model_name, table
from rdflux_ros.evaluation.methods import WINDOW, Split, Workbench
from rdflux_ros.evaluation.metrics import mean, rank_correlation
from rdflux_ros.flux.loading import load_model
from rdflux_ros.flux.pipeline import FluxPipeline
from rdflux_ros.mapping.mapper import select_device
from rdflux_ros.mapping.uncertainty import SHARES, SUFFIX, ErrorLaw, ErrorLaws, ErrorSums, classes
from rdflux_ros.model.shipped import SHIPPED
from rdflux_ros.radio.units import FLOOR_PATHLOSS_DB, GREY_SPAN_DB

METHODS = {"flux": "aligned", "physics": "physics"}
"""What the mapper's methods are called in the tables."""
RESOLUTIONS = (0.25, 1.0)
"""Of the walls [m]: as a height map shows them, and as an occupancy grid of 1 m does."""
BINS = np.linspace(0.0, 20.0, 4001)
"""Of |error| over standard deviation: the histogram that shares and multiples are read off."""
CURVE = tuple(np.round(np.linspace(0.05, 0.99, 48), 4).tolist())
"""Shares of the reliability picture."""
SPREAD_OF = 4
"""Midpoints of other scenes whose answers' spread is compared with the error."""
SPREAD_EVERY = 8
"""Maps between two for which that is done."""


def evaluate_uncertainty(
    data: Path,
    split: str = "val",
    check: str = "test",
    *,
    limit: int | None = None,
    seed: int = 0,
    model: str = SHIPPED,
    device: str = "auto",
    fit: bool = False,
    report: Path | None = None,
) -> dict[str, Any]:
    """Fit the laws of errors on a split and check them on another.

    Parameters
    ----------
    split, check
        To fit on, and to check on.
    limit
        Only this many maps of each, evenly over the scenes.
    seed
        Of their draw, and of other scenes'.
    fit
        Write the laws beside the model file, where the mapper looks for them.
    report
        Folder for a table and a picture.

    Raises
    ------
    DataError
        The dataset does not fit, or the model has no aligned stage.
    MissingModelError, CheckpointError
        The model's file does not fit.
    """
    if (loaded := load_model(model, select_device(device))) is None:
        raise DataError("there is no model, so no error of one")
    if lacking := loaded.lacks("static", "aligned"):
        raise DataError(lacking)
    flux = FluxPipeline(loaded.model)
    laws: list[ErrorLaw] = []
    rows: list[list[Any]] = []
    spreads: list[dict[str, float]] = []
    curves: dict[str, list[float]] = {}
    for resolution in RESOLUTIONS:

        def bench(name: str, resolution: float = resolution) -> Workbench:
            maps = Split(RadioMapSeer(data, name), resolution)
            return Workbench(device, loaded=loaded, flux=flux, split=maps, seed=seed)

        fitted, checked = _Errors(), _Errors()
        for sample, answers in _answers(bench(split), limit, seed, f"{split}, walls at {resolution:g} m"):
            fitted.add(sample, answers)
        where = bench(check)
        for number, (sample, answers) in enumerate(_answers(where, limit, seed, f"{check}, walls at {resolution:g} m")):
            checked.add(sample, answers)
            if number % SPREAD_EVERY == 0:
                spreads.append(_spread(where, sample, answers["flux"], fitted.stddev_db("flux")))
        for method in METHODS:
            stddev_db = fitted.stddev_db(method)
            ratios = fitted.ratios(method, stddev_db)
            law = ErrorLaw(method, resolution, stddev_db, tuple(ratios.multiple(share) for share in SHARES))
            laws.append(law)
            for above in (True, False):
                found = checked.ratios(method, stddev_db, above)
                transmitters = f"z {'>=' if above else '<'} {ROOF_HEIGHT_M:g} m"
                held = [found.share(multiple) for multiple in law.within]
                rows.append([method, resolution, transmitters, found.maps, *found.mean(), *held])
                curves[f"{method}, {resolution:g} m, {transmitters}"] = [
                    found.share(ratios.multiple(nominal)) for nominal in CURVE
                ]
    within = {
        f"{law.method}, {law.resolution:g} m": dict(zip(map(str, SHARES), law.within, strict=True)) for law in laws
    }
    summary: dict[str, Any] = {
        "data": data.name, "split": split, "check": check, "limit": limit, "seed": seed,
        "model": loaded.summary(flux.method),
        "within": within, "rows": rows, "curves": {"nominal": list(CURVE), **curves},
        "spread": {key: mean([one[key] for one in spreads]) for key in spreads[0]},
    }  # fmt: skip
    if fit:
        path = loaded.path.with_suffix(SUFFIX)
        about = {"fitted_on": f"{split} split of {data.name}", "maps": limit or "all", "seed": seed}
        ErrorLaws(laws).write(path, loaded.digest, about)
        summary["wrote"] = path.name
    if report is not None:
        _write_report(report, summary)
    return summary


def uncertainty_lines(summary: dict[str, Any]) -> list[str]:
    """What a summary says, as markdown."""
    spread = summary["spread"]
    head = ["answers of", "walls m", "transmitters", "maps", "stddev dB", "rms error dB"]
    times = [[name, *found.values()] for name, found in summary["within"].items()]
    return [
        f"Laws fitted on {summary['split']}, checked on {summary['check']} of {summary['data']}; model "
        f"{model_name(summary['model'])}. Share of the free cells of "
        f"{summary['check']} whose error lies within what holds the share in the head on {summary['split']}; the "
        "standard deviation is the root of its mean square.",
        "",
        table([*head, *(f"{share:.0%}" for share in SHARES)], summary["rows"]),
        "",
        "Multiples of the standard deviation that hold these shares:",
        "",
        table(["answers of", *(f"{share:.0%}" for share in SHARES)], times),
        "",
        f"Rank correlation with the size of the error, cell by cell: the law {spread['law_correlation']:.2f}, the "
        f"spread over {SPREAD_OF} midpoints of other scenes {spread['spread_correlation']:.2f}; that spread is "
        f"{spread['spread_db']:.2g} dB on average where the error is {spread['error_db']:.2g} dB rms.",
    ]


class _Answer:
    """One method's answer to a sample: its error [256, 256] dB and the classes of its cells."""

    def __init__(self, grey: NDArray[np.float32], bench: Workbench, sample: Sample) -> None:
        self.pathloss_db = FLOOR_PATHLOSS_DB - GREY_SPAN_DB * grey
        physics_db = FLOOR_PATHLOSS_DB - GREY_SPAN_DB * bench.answer("physics", sample)[0]
        self.error_db = np.abs(GREY_SPAN_DB * (sample.grey - grey))
        self.classes = classes(self.pathloss_db, physics_db, bench.visible(sample), float(sample.position[2]))


def _answers(bench: Workbench, limit: int | None, seed: int, name: str) -> Iterator[tuple[Sample, dict[str, _Answer]]]:
    from tqdm import tqdm

    assert bench.split is not None
    chosen = sorted(bench.split.evenly(limit or len(bench.split), seed))
    for index in tqdm(chosen, desc=name, unit="map", dynamic_ncols=True):
        sample = bench.split[index]
        yield (
            sample,
            {method: _Answer(bench.answer(of_table, sample)[0], bench, sample) for method, of_table in METHODS.items()},
        )


class _Errors:
    """Classes and errors of the free cells of many maps, by method."""

    def __init__(self) -> None:
        self._maps: list[tuple[bool, dict[str, tuple[NDArray[np.int16], NDArray[np.float32]]]]] = []

    def add(self, sample: Sample, answers: dict[str, _Answer]) -> None:
        cells = {
            method: (found.classes[sample.free].astype(np.int16), found.error_db[sample.free])
            for method, found in answers.items()
        }
        self._maps.append((bool(sample.position[2] >= ROOF_HEIGHT_M), cells))

    def stddev_db(self, method: str) -> NDArray[np.float32]:
        """The table of a law for these maps."""
        sums = ErrorSums()
        for _, cells in self._maps:
            sums.add(*cells[method])
        return sums.stddev_db()

    def ratios(self, method: str, stddev_db: NDArray[np.float32], above: bool | None = None) -> _Ratios:
        """Errors in standard deviations; of the maps above or below 25 m, or of all."""
        found = _Ratios()
        for is_above, cells in self._maps:
            if above in (None, is_above):
                number, error = cells[method]
                found.add(stddev_db.ravel()[number], error)
        return found


class _Ratios:
    """Histogram of error over standard deviation, and the sums of both squared."""

    def __init__(self) -> None:
        self.counts = np.zeros(len(BINS))
        self.squares = np.zeros(2)
        self.maps = 0

    def add(self, stddev_db: NDArray[np.float32], error_db: NDArray[np.float32]) -> None:
        place = np.searchsorted(BINS, error_db / stddev_db).clip(max=len(BINS) - 1)
        self.counts += np.bincount(place, minlength=len(BINS))
        self.squares += [np.sum(values.astype(np.float64) ** 2) for values in (stddev_db, error_db)]
        self.maps += 1

    def multiple(self, share: float) -> float:
        """Of the standard deviation, that holds a share of the errors."""
        held = np.cumsum(self.counts) / max(self.counts.sum(), 1.0)
        return float(BINS[min(int(np.searchsorted(held, share)), len(BINS) - 1)])

    def share(self, multiple: float) -> float:
        """Of the errors, within a multiple of the standard deviation."""
        return float(self.counts[multiple >= BINS].sum() / max(self.counts.sum(), 1.0))

    def mean(self) -> tuple[float, float]:
        """Standard deviation and error, root mean square [dB]."""
        stddev, error = np.sqrt(self.squares / max(self.counts.sum(), 1.0))
        return float(stddev), float(error)


def _spread(bench: Workbench, sample: Sample, found: _Answer, stddev_db: NDArray[np.float32]) -> dict[str, float]:
    """How well the law, and the spread over other scenes' midpoints, order the cells by their error."""
    assert bench.split is not None
    pose, own = bench.pose(sample), bench.region(sample, aligned=True)
    members = [found.pathloss_db]
    for origin in bench.split.scattered(sample, bench.seed, SPREAD_OF):
        other = bench.region(origin, aligned=True)
        grey = bench.flux.answer(replace(own, midpoint=other.midpoint), pose, WINDOW)[0, 0].float().cpu().numpy()
        members.append(FLOOR_PATHLOSS_DB - GREY_SPAN_DB * grey)
    spread, error = np.std(members, axis=0)[sample.free], found.error_db[sample.free]
    return {
        "law_correlation": rank_correlation(stddev_db.ravel()[found.classes[sample.free]], error),
        "spread_correlation": rank_correlation(spread, error),
        "spread_db": float(np.sqrt(np.mean(spread**2))),
        "error_db": float(np.sqrt(np.mean(error**2))),
    }


def _write_report(folder: Path, summary: dict[str, Any]) -> None:
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(5.5, 5.0), layout="constrained")
    axis = figure.subplots()
    nominal = summary["curves"]["nominal"]
    axis.plot([0, 1], [0, 1], color="0.7")
    for name, shares in summary["curves"].items():
        if name != "nominal":
            axis.plot(nominal, shares, label=name)
    axis.set(xlabel=f"share of the errors that should lie within ({summary['split']})",
             ylabel=f"share that does ({summary['check']})", xlim=(0, 1), ylim=(0, 1))  # fmt: skip
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7)
    figure.savefig(folder / "reliability.png", dpi=100)
    lines = ["# How far off an answer may be", "", *uncertainty_lines(summary), "", "![reliability](reliability.png)"]
    (folder / "report.md").write_text("\n".join(lines) + "\n")
