"""Tables, plots and pictures of `reuse.evaluate_reuse`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rdflux_ros.evaluation.console import model_name, table, with_interval
from rdflux_ros.evaluation.metrics import KEYS
from rdflux_ros.evaluation.report import draw_map

if TYPE_CHECKING:
    from rdflux_ros.data.radiomapseer import Sample
    from rdflux_ros.evaluation.reuse_bench import Answer

CHANGED = {"transmitter": "another transmitter", "dynamic": "vehicles appear", "static": "other streets"}
"""What is new in each scenario."""
KEPT = {
    "transmitter": "vanilla keeps the midpoint of another transmitter of the same streets, flux the streets' own",
    "dynamic": "up to the midpoint no vehicles are seen, after it they are",
    "static": "streets and transmitter are replaced, and the midpoint of the old ones is kept",
}
"""What each scenario keeps."""
COLOURS = {
    "physics": "0.6", "full": "black", "vanilla": "tab:red", "flux": "tab:blue", "flux_short": "tab:cyan",
    "aligned": "tab:green",
}  # fmt: skip
"""Of the methods in plots."""


def reuse_head(summary: dict[str, Any]) -> str:
    """What a summary is of: pairs, scenario, model, rows, times."""
    model = summary["model"]
    left_out = "".join(f" {name}: {reason}." for name, reason in summary["left_out"].items())
    return (
        f"Scenario {summary['scenario']}: {KEPT[summary['scenario']]}. {summary['pairs']} pairs evenly over the scenes "
        f"of {summary['data']}, split {summary['split']}, walls at {summary['map_resolution']:g} m, drawn by seed "
        f"{summary['seed']}. Model {model_name(model)}, chain of T = {model['steps']}, "
        f"temperature {model['temperature']:g}, on {summary['device']}. `flux` splits the chain as the papers do, "
        f"`flux_short` and `aligned` have a first stage of {model['static_steps']} steps. Lost: NMSE less the full "
        "chain's, pair by pair, with its bootstrap interval over scenes (95 %). Times are medians: from the "
        "transmitter to the map, physics layer and condition included, what is kept not (full chain and vanilla "
        "compute the static condition each time); and in the steps alone." + left_out
    )


def reuse_lines(summary: dict[str, Any]) -> list[str]:
    """What a summary says, as markdown."""
    return [
        reuse_head(summary),
        "",
        reuse_table(summary),
        *clairvoyant_lines(summary),
        *(flight_lines(summary) if "flight" in summary else []),
    ]


def clairvoyant_lines(summary: dict[str, Any]) -> list[str]:
    """What an R of each map's own could gain."""
    rows = [list(row.values()) for row in summary["clairvoyant"]]
    if not rows:
        return []
    own = ("aligned", summary["model"]["reuse_ratio"])
    aligned = next((row for row in summary["rows"] if (row["method"], row["reuse_ratio"]) == own), None)
    beside = f" `aligned` has {aligned['nmse']:.4g} in {aligned['ms']:.0f} ms." if aligned else ""
    return [
        "",
        "Were R chosen for each map (flux, or the full chain as R = 0) by one who knows errors and times beforehand, "
        "in the mean time that a fixed R takes (lower convex hull: a map may be drawn to one of two R): no adaptive "
        f"rule can be below that.{beside}",
        "",
        table(["R", "mean ms", "NMSE", "NMSE, R chosen for each map"], rows),
    ]


def flight_lines(summary: dict[str, Any]) -> list[str]:
    """Jitter along the flight of a summary."""
    flight = summary["flight"]
    rows = [
        [name, found["rms_db"], with_interval(found["less_truth_db"], found["low"], found["high"], spec="+.3f")]
        for name, found in flight["methods"].items()
    ]
    return [
        "",
        f"Change from frame to frame along the flight {flight['name']}, {flight['steps']} steps of which "
        f"{flight['crossings']} cross into another region, at R = {summary['model']['reuse_ratio']:g}; rms over the "
        "cells that both windows hold, mean over steps, intervals (95 %, bootstrap) over regions. Vanilla keeps the "
        "midpoint of the first pose in a region.",
        "",
        table(["answers of", "rms change dB", "less the truth's own dB"], rows),
    ]


def reuse_table(summary: dict[str, Any]) -> str:
    """The markdown table of a summary."""
    rows = []
    for row in summary["rows"]:
        lost = row["against_full"]
        interval = "-" if row["method"] == "full" else with_interval(*lost.values())
        ratio = "-" if row["reuse_ratio"] is None else f"{row['reuse_ratio']:g}"
        rows.append([row["method"], ratio, *(row[key] for key in KEYS), interval, row["ms"], row["steps_ms"]])
    return table(["method", "R", *KEYS, "lost against full", "ms", "steps ms"], rows)


def write_reuse_report(folder: Path, summary: dict[str, Any], pictures: Sequence[Path]) -> None:
    """Write ``report.md`` with the table, plots against R and against t, and the pictures, which are there already."""
    folder.mkdir(parents=True, exist_ok=True)
    _plot_rows(
        folder / "error.png", summary, "NMSE, mean over maps", lambda row: row["nmse"], lambda row: row["against_full"]
    )
    _plot_rows(folder / "time.png", summary, "time per map, median [ms]", lambda row: row["ms"])
    _plot_latents(folder / "latents.png", summary)
    lines = [
        f"# What reuse costs: {CHANGED[summary['scenario']]}",
        "",
        *reuse_lines(summary),
        "",
        "## Error against R",
        "",
        "![error](error.png)",
        "",
        "Bars: interval of what is lost, about the mean.",
        "",
        "## Time against R",
        "",
        "![time](time.png)",
        "",
        "## Latents against t",
        "",
        "![latents](latents.png)",
        "",
        "NMSE of the latents that are kept against those of the map's own full chain, all pairs pooled. Dashed: with "
        "the energy that noise shared by both would have, where the sampling has none.",
    ]
    for path in pictures:
        lines += ["", f"## {path.stem}", "", f"![{path.stem}]({path.name})"]
    (folder / "report.md").write_text("\n".join(lines) + "\n")


def write_pair(path: Path, sample: Sample, answers: Sequence[Answer], ratio: float) -> None:
    """Draw truth and answers at one ratio of reuse, and below each answer its error."""
    from matplotlib.figure import Figure

    shown = [answer for answer in answers if answer.reuse_ratio in (None, ratio) and answer.method != "flux_short"]
    figure = Figure(figsize=(3.1 * (1 + len(shown)), 6.4), layout="compressed")
    axes = figure.subplots(2, 1 + len(shown), squeeze=False)
    x, y, z = sample.position
    free, at = sample.free, (float(x), float(y))
    drawn = draw_map(axes[0, 0], f"truth, {sample.name}, z = {z:.0f} m", sample.grey, free, at)
    axes[1, 0].set_axis_off()
    for column, answer in enumerate(shown, start=1):
        reused = "" if answer.reuse_ratio is None else f", R = {ratio:g}"
        error = np.where(free, sample.grey - answer.grey, 0.0)
        nmse = float(np.sum(error**2) / max(float(np.sum(np.where(free, sample.grey, 0.0) ** 2)), 1e-12))
        draw_map(axes[0, column], answer.method + reused, answer.grey, free, at)
        wrong = draw_map(axes[1, column], f"pathloss error, NMSE {nmse:.4f}", error, free, at, is_error=True)
    figure.colorbar(drawn, ax=axes[0, :], label="dB", shrink=0.8)
    figure.colorbar(wrong, ax=axes[1, :], label="dB", shrink=0.8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def _plot_rows(
    path: Path,
    summary: dict[str, Any],
    label: str,
    value: Callable[[dict[str, Any]], float],
    interval: Callable[[dict[str, Any]], dict[str, float]] | None = None,
) -> None:
    """Each method's figure against R; rows without R as lines across."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axis = figure.subplots()
    ratios = sorted({row["reuse_ratio"] for row in summary["rows"] if row["reuse_ratio"] is not None})
    for number, (name, colour) in enumerate(COLOURS.items()):
        rows = [row for row in summary["rows"] if row["method"] == name]
        if rows and rows[0]["reuse_ratio"] is None:
            axis.axhline(value(rows[0]), color=colour, linestyle="--", label=name)
        elif rows:
            places = [ratios.index(row["reuse_ratio"]) + 0.03 * (number - 3) for row in rows]  # bars side by side
            axis.plot(places, [value(row) for row in rows], color=colour, marker="o", markersize=4, label=name)
            if interval is not None:
                for place, row in zip(places, rows, strict=True):
                    lost = interval(row)
                    ends = [value(row) + lost[end] - lost["nmse"] for end in ("low", "high")]
                    axis.plot([place, place], ends, color=colour, linewidth=1)
    axis.set(xlabel="reuse ratio R", ylabel=label, yscale="log", xticks=range(len(ratios)))
    axis.set_xticklabels([f"{ratio:g}" for ratio in ratios])
    axis.grid(alpha=0.3, which="both")
    figure.legend(loc="outside right upper")
    figure.savefig(path, dpi=100)


def _plot_latents(path: Path, summary: dict[str, Any]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axis = figure.subplots()
    times = summary["latents"]["t"]
    for name, curve in summary["latents"].items():
        if name != "t":
            count = len(curve["nmse"])
            axis.plot(times[:count], curve["nmse"], color=COLOURS[name], label=name)
            axis.plot(times[:count], curve["with_noise"], color=COLOURS[name], linestyle="--")
    axis.set(xlabel="t", ylabel="NMSE of latents", yscale="log")
    axis.grid(alpha=0.3, which="both")
    axis.legend()
    figure.savefig(path, dpi=100)
