"""Tables, plots and a picture of `similarity.evaluate_similarity`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rdflux_ros.evaluation.console import model_name, table, with_interval
from rdflux_ros.evaluation.report import draw_map
from rdflux_ros.evaluation.similarity import HARMLESS_DB

if TYPE_CHECKING:
    from rdflux_ros.evaluation.similarity import Comparison

COLOURS = {
    "cells": "tab:green", "wall": "tab:blue", "small_building": "tab:orange", "block": "tab:red",
    "other_streets": "0.5",
}  # fmt: skip
"""Of the kinds of change in plots."""
RULE = (
    "The knee: with growing threshold more updates keep their midpoint and what that costs (NMSE) adds up; both as "
    "shares of what they are where all are kept, it lies where reuse is farthest ahead of cost. Shares of next to "
    "nothing have a knee as well, so the threshold may be larger: as large as keeps every update's cost within "
    f"{HARMLESS_DB:g} dB rms, a tenth of a step of the published values."
)


def similarity_lines(summary: dict[str, Any]) -> list[str]:
    """What a summary says, as markdown."""
    model, truth, updates = summary["model"], summary["against_truth"], summary["updates"]
    rows = [[kind, *found.values()] for kind, found in (*summary["kinds"].items(), ("all updates", updates))]
    low, high = summary["knee_interval"]
    head = ["change", "pairs", "cells", "D_env", "NMSE", "rms dB", "kept", "NMSE kept", "rms dB kept", "worst dB kept"]
    return [
        f"Updates of streets of {summary['data']}, split {summary['split']}, walls at {summary['map_resolution']:g} m, "
        f"drawn by seed {summary['seed']}. Model {model_name(model)}, R = "
        f"{model['reuse_ratio']:g}, {model['static_steps']} static steps, "
        f"{'aligned' if summary['aligned'] else 'frozen'} second stage, whose static tokens are compared (first "
        f"attention layer). NMSE and rms dB: the answer from the old midpoint against the answer from a new one; "
        "cells and D_env are medians.",
        "",
        table(head, rows),
        "",
        f"{RULE} Here: the knee is at {with_interval(summary['knee'], low, high, spec='.2g')} (95 %, bootstrap over "
        f"scenes), all are harmless up to {summary['harmless']:.2g}. "
        f"`similarity_threshold` {summary['threshold']:g} keeps the midpoint of {updates['kept_share']:.0%} of the "
        f"updates at {updates['kept_rmse_db']:.2g} dB rms on average and {updates['kept_rmse_db_worst']:.2g} dB at "
        f"worst. Rank correlation of D_env and cost: {summary['rank_correlation']:.2f}.",
        "",
        f"Against the truth, on streets of which the midpoint knows nothing: NMSE {truth['kept']:.5f} from another "
        f"scene's midpoint, {truth['fresh']:.5f} from their own, "
        f"{with_interval(truth['lost'], truth['low'], truth['high'])} lost (95 %, bootstrap over scenes).",
    ]


def write_similarity_report(folder: Path, summary: dict[str, Any]) -> None:
    """Write ``report.md`` with the table and plots; ``updates.png`` is there already."""
    folder.mkdir(parents=True, exist_ok=True)
    _plot_pairs(folder / "pairs.png", summary)
    _plot_reuse(folder / "reuse.png", summary)
    lines = ["# How alike streets must be", "", *similarity_lines(summary)]
    for title, name in (
        ("Cost against distance", "pairs"),
        ("Reuse and cost against the threshold", "reuse"),
        ("Updates of the first map: changed cells, answer, and what the old midpoint changes", "updates"),
    ):
        lines += ["", f"## {title}", "", f"![{name}]({name}.png)"]
    (folder / "report.md").write_text("\n".join(lines) + "\n")


def write_updates(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Draw each update's changed cells, the answer, and kept less fresh answer."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(comparisons), 9.6), layout="compressed")
    axes = figure.subplots(3, len(comparisons), squeeze=False)
    for column, found in enumerate(comparisons):
        free, (x, y) = found.new.free, found.new.position[:2]
        change = np.sign(found.new.heights_m - found.old.heights_m)
        streets = np.where(change > 0, 3, np.where(change < 0, 2, found.new.heights_m > 0))
        colours = np.array([[255, 255, 255], [150, 150, 150], [40, 90, 220], [220, 40, 40]], np.uint8)
        axes[0, column].imshow(colours[streets.astype(int)], origin="lower", interpolation="nearest")
        axes[0, column].set(title=f"{found.new.scene}, D_env = {found.distance:.3g}", xticks=[], yticks=[])
        axes[0, column].title.set_fontsize(9)
        answer = draw_map(axes[1, column], "answer, new midpoint", found.fresh, free, (x, y))
        less = found.fresh - found.kept
        wrong = draw_map(
            axes[2, column], "old less new midpoint, pathloss", less, free, (x, y), is_error=True, span_db=1.0
        )
    figure.colorbar(answer, ax=axes[1, :], label="dB", shrink=0.8)
    figure.colorbar(wrong, ax=axes[2, :], label="dB", shrink=0.8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def _plot_pairs(path: Path, summary: dict[str, Any]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 4.4), layout="constrained")
    for axis, key, label in zip(figure.subplots(1, 2), ("nmse", "rmse_db"), ("NMSE", "rms [dB]"), strict=True):
        for kind, colour in COLOURS.items():
            pairs = [pair for pair in summary["pairs"] if pair["kind"] == kind]
            axis.plot(
                [pair["distance"] for pair in pairs], [pair[key] for pair in pairs], ".", color=colour, label=kind
            )
        _mark(axis, summary)
        axis.set(xlabel="D_env", ylabel=f"old against new midpoint, {label}", xscale="log", yscale="log")
        axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def _plot_reuse(path: Path, summary: dict[str, Any]) -> None:
    from matplotlib.figure import Figure

    updates = sorted((p["distance"], p["nmse"]) for p in summary["pairs"] if p["kind"] != "other_streets")
    distances, costs = np.array(updates).T
    figure = Figure(figsize=(7.0, 4.4), layout="constrained")
    axis = figure.subplots()
    axis.step(distances, np.arange(1, len(distances) + 1) / len(distances), where="post", label="midpoints kept")
    axis.step(distances, np.cumsum(costs) / max(costs.sum(), 1e-30), where="post", label="cost (NMSE), summed")
    _mark(axis, summary)
    axis.set(xlabel="threshold on D_env", ylabel="share of what it is where all are kept", xscale="log")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=100)


def _mark(axis: Any, summary: dict[str, Any]) -> None:
    axis.axvline(summary["knee"], color="black", linestyle=":", label="knee")
    axis.axvline(summary["threshold"], color="black", linestyle="--", label="threshold")
