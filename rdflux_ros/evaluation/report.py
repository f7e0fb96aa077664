"""Pictures and reports: truth beside answer beside error, where the error sits, a flight as an animation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdflux_ros.evaluation.console import model_name, table, with_interval
from rdflux_ros.evaluation.error_sites import error_tables
from rdflux_ros.evaluation.metrics import KEYS
from rdflux_ros.radio.units import FLOOR_PATHLOSS_DB, GREY_SPAN_DB

ERROR_SPAN_DB = 20.0
"""Errors are drawn from minus to plus this [dB]."""
WORST, SPREAD = 3, 5
"""Maps of which a report has pictures: the worst ones, and others from bad to good."""

_BUILDING, _UNKNOWN, _TRANSMITTER, _TRACK = 252, 253, 254, 255
_MARKS = ((64, 64, 64), (225, 225, 225), (255, 40, 40), (255, 140, 60))
_LEVELS = 252
"""Shades of the colour scale; the rest of the 256 is for marks."""


@dataclass(frozen=True)
class Panel:
    """One row of a picture.

    Parameters
    ----------
    title
        Written above the answer.
    answer, truth
        [rows, cols] grey in [0, 1], row 0 = south; truth None where it is not known.
    free
        [rows, cols] cells that have a value.
    transmitter
        (x, y) in cells from the south-west corner.
    """

    title: str
    answer: NDArray[np.float32]
    truth: NDArray[np.float32] | None
    free: NDArray[np.bool_]
    transmitter: tuple[float, float]


def write_picture(path: Path, panels: Sequence[Panel]) -> None:
    """Draw truth, answer and their difference, a row for each panel; only the answer where there is no truth."""
    from matplotlib.figure import Figure

    columns = 3 if any(panel.truth is not None for panel in panels) else 1
    figure = Figure(figsize=(4.2 * columns, 3.7 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), columns, squeeze=False)
    for panel, row in zip(panels, axes, strict=True):
        images: list[tuple[str, NDArray[np.float32], bool]] = [(panel.title, panel.answer, False)]
        if panel.truth is not None:
            images = [
                ("truth", panel.truth, False),
                *images,
                ("answer minus truth, pathloss", panel.truth - panel.answer, True),
            ]
        for axis, (title, grey, is_error) in zip(row, images, strict=False):
            drawn = draw_map(axis, title, grey, panel.free, panel.transmitter, is_error=is_error)
            figure.colorbar(drawn, ax=axis, label="dB", shrink=0.85)
        for axis in row[len(images) :]:
            axis.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def draw_map(
    axis: Any,
    title: str,
    grey: NDArray[np.float32],
    free: NDArray[np.bool_],
    transmitter: tuple[float, float],
    *,
    is_error: bool = False,
    span_db: float = ERROR_SPAN_DB,
) -> Any:
    """Draw pathloss [dB] of a grey map, or an error of it within `span_db`, on matplotlib's axis; returns the image."""
    from matplotlib import colormaps

    best = FLOOR_PATHLOSS_DB - GREY_SPAN_DB
    shown = GREY_SPAN_DB * grey if is_error else FLOOR_PATHLOSS_DB - GREY_SPAN_DB * grey
    low, high = (-span_db, span_db) if is_error else (best, FLOOR_PATHLOSS_DB)
    drawn = axis.imshow(
        np.where(free, shown, np.nan), origin="lower", vmin=low, vmax=high, interpolation="nearest",
        cmap=colormaps["RdBu_r" if is_error else "viridis_r"].with_extremes(bad="0.25"),
        extent=(0, grey.shape[1], 0, grey.shape[0]),
    )  # fmt: skip
    axis.plot(*transmitter, marker="^", color="red", markersize=6, markeredgecolor="white")
    axis.set(title=title, xticks=[], yticks=[])
    axis.set_xlim(0, grey.shape[1])
    axis.set_ylim(0, grey.shape[0])
    axis.title.set_fontsize(9)
    return drawn


def write_animation(path: Path, frames: Iterable[NDArray[np.uint8]], seconds: float = 0.2) -> None:
    """Write frames of `paint` (row 0 = south) as a GIF with north up, `seconds` a frame."""
    from matplotlib import colormaps
    from PIL import Image

    scale = (255 * colormaps["viridis"](np.linspace(0, 1, _LEVELS))[:, :3]).round().astype(np.uint8)
    palette = np.concatenate([scale, np.array(_MARKS, np.uint8)]).tobytes()
    images = []
    for frame in frames:
        image = Image.fromarray(np.ascontiguousarray(frame[::-1]))
        image.putpalette(palette)
        images.append(image)
    if images:
        path.parent.mkdir(parents=True, exist_ok=True)
        images[0].save(path, save_all=True, append_images=images[1:], duration=round(1000 * seconds), loop=0)


def paint(
    buildings: NDArray[np.bool_],
    window: tuple[int, int],
    grey: NDArray[np.float32],
    free: NDArray[np.bool_],
    track: NDArray[np.int64],
    step: int,
) -> NDArray[np.uint8]:
    """A frame of a flight as palette indices, row 0 = south.

    Parameters
    ----------
    buildings
        [rows, cols] of the canvas at 1 m.
    window
        (row, col) of the answer's south-west corner on the canvas; it lies on the canvas.
    grey, free
        The answer and its cells that have a value.
    track
        [n, 2] (row, col) of the transmitter so far; the last is where it is.
    step
        Only every `step`-th cell of the canvas is drawn.
    """
    frame = np.where(buildings, _BUILDING, _UNKNOWN).astype(np.uint8)
    shades = np.rint(grey * (_LEVELS - 1)).astype(np.uint8)
    row, col = window
    frame[row : row + grey.shape[0], col : col + grey.shape[1]] = np.where(free, shades, _BUILDING)
    for r, c in track:
        _dot(frame, r, c, step, _TRACK)
    _dot(frame, int(track[-1, 0]), int(track[-1, 1]), 4 * step, _TRANSMITTER)
    return frame[::step, ::step]


def _dot(frame: NDArray[np.uint8], row: int, col: int, radius: int, value: int) -> None:
    frame[max(row - radius, 0) : max(row + radius + 1, 0), max(col - radius, 0) : max(col + radius + 1, 0)] = value


def write_accuracy_report(
    folder: Path,
    summary: dict[str, Any],
    panel: Callable[[int, str], Panel],
    *,
    pictures: bool = True,
) -> None:
    """Write ``report.md`` with tables, where the error sits, and pictures of each method's maps from bad to good.

    Parameters
    ----------
    summary
        What `accuracy.evaluate_accuracy` returns.
    panel
        From (number of the map, name of the method) to its row of the picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "# Accuracy",
        "",
        accuracy_head(summary),
        "",
        *accuracy_tables(summary),
        "",
        "## Where the error sits",
        "",
        "![Share of the squared error and rms by class of cell](sites.png)",
    ]
    _plot_sites(folder / "sites.png", summary)
    head = [
        "",
        "share of cells",
        *(f"{m}: {what}" for m in summary["methods"] for what in ("share of error", "rms dB")),
    ]
    for name, rows in error_tables(summary).items():
        lines += ["", f"By {name}:", "", table(head, rows)]
    names = summary["nmse"]["maps"]
    for method in summary["methods"] if pictures else ():
        errors = summary["nmse"][method]
        chosen = _worst_and_spread(errors)
        write_picture(folder / f"{method}.png", [panel(number, method) for number in chosen])
        listed = ", ".join(f"{names[number]} ({errors[number]:.4f})" for number in chosen)
        lines += ["", f"## {method}", "", f"![{method}]({method}.png)", "", f"Maps and their NMSE: {listed}."]
    (folder / "report.md").write_text("\n".join(lines) + "\n")


def _plot_sites(path: Path, summary: dict[str, Any]) -> None:
    """For each kind of class, each method's share of its squared error and its rms there."""
    from matplotlib.figure import Figure

    tables = error_tables(summary)
    figure = Figure(figsize=(4.0 * len(tables), 6.0), layout="constrained")
    axes = figure.subplots(2, len(tables), squeeze=False)
    for (name, rows), column in zip(tables.items(), axes.T, strict=True):
        for axis, (label, first) in zip(column, (("share of the squared error", 2), ("rms [dB]", 3)), strict=True):
            for k, method in enumerate(summary["methods"]):
                axis.plot([row[first + 2 * k] for row in rows], "o-", markersize=3, label=method)
            axis.set(ylabel=label, xticks=range(len(rows)), ylim=(0, None))
            axis.set_xticklabels([row[0] for row in rows], rotation=35, ha="right", fontsize=7)
            axis.grid(alpha=0.3)
        column[0].set_title(name, fontsize=10)
    axes[0, 0].legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def accuracy_head(summary: dict[str, Any]) -> str:
    """What an accuracy summary is of: maps, model, draws, and what the times are of."""
    model = summary["model"]
    sentences = [
        f"{summary['maps']} maps of {summary['data']}, split {summary['split']}, walls at "
        f"{summary['map_resolution']:g} m, {'with' if summary['cars'] else 'without'} cars.",
        "Time per map: physics layer" + (", condition, steps and decoding" if model else "")
        + ", without what is kept: walls" + (", midpoint and static condition." if model else "."),
    ]  # fmt: skip
    if model:
        sentences[1:1] = [
            f"Model {model_name(model)}, R = {model['reuse_ratio']:g} of T = "
            f"{model['steps']}, {model['static_steps']} static steps, full chain of {model['full_steps']}, "
            f"temperature {model['temperature']:g}; donors and other midpoints drawn by seed {summary['seed']}."
        ]
        sentences.append(
            "Full chain and vanilla compute the static condition each time; the autoencoder's time is its own."
        )
    return " ".join(sentences)


def accuracy_tables(summary: dict[str, Any]) -> list[str]:
    """Markdown of an accuracy summary: scores, comparison with the reference, and where the error sits."""
    rows: list[list[Any]] = []
    where: list[list[Any]] = []
    for name, scored in summary["methods"].items():
        for label, part in (("all", scored), ("z >= 25 m", scored["above_25m"]), ("z < 25 m", scored["below_25m"])):
            scores = [part[key] for key in KEYS]
            rows.append([name, label, part.get("maps", summary["maps"]), *scores, part["ms_per_map"]])
            where += [[name, label, place, *found.values()] for place, found in part.get("where", {}).items()]
    return [
        table(["method", "transmitters", "maps", *KEYS, "ms"], rows),
        *_paired_lines(summary),
        "",
        table(["method", "transmitters", "place", "share of cells", "share of error", "bias dB", "rms dB"], where),
    ]


def _paired_lines(summary: dict[str, Any]) -> list[str]:
    from rdflux_ros.evaluation.accuracy import shortest_chain

    if "paired" not in summary:
        return []
    rows = []
    for name, found in summary["paired"].items():
        for where, label in (("above_25m", "z >= 25 m"), ("below_25m", "z < 25 m")):
            less, over = (
                [found[where][key] for key in keys]
                for keys in (("difference", "low", "high"), ("ratio", "ratio_low", "ratio_high"))
            )
            rows.append([name, label, with_interval(*less), with_interval(*over, spec=".3f")])
    reference = summary["reference"]
    chain = shortest_chain(summary)
    return [
        "",
        f"NMSE against {reference}, map by map, with bootstrap intervals (95 %) over scenes:",
        "",
        table(["method", "transmitters", f"less {reference}'s", f"over {reference}'s"], rows),
        *(["", chain] if chain else []),
    ]


def _worst_and_spread(errors: Sequence[float]) -> list[int]:
    order = np.argsort(-np.nan_to_num(np.asarray(errors)), kind="stable")
    rest = order[WORST:]
    spread = rest[np.linspace(0, len(rest) - 1, SPREAD).round().astype(int)] if len(rest) > SPREAD else rest
    return [int(number) for number in [*order[:WORST], *spread]]
