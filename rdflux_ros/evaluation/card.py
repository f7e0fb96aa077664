"""The card of a model file: what its training wrote down, and the accuracy tables that were measured with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rdflux_ros.data.radiomapseer import DataError
from rdflux_ros.model import checkpoint
from rdflux_ros.model.card import CardFacts, Figures, model_card
from rdflux_ros.model.radio_model import STAGES, parameters

HEIGHTS = {"above_25m": "z ≥ 25 m", "below_25m": "z < 25 m"}
SCORES = {"nmse": "NMSE", "nmse_median": "median", "nmse_pooled": "pooled", "ssim": "SSIM", "psnr": "PSNR"}
LIMITS = (
    "5.9 GHz, vertical polarisation, isotropic antennas, concrete; receivers 1.5 m above flat ground.",
    "Trained on single transmitters over streets whose building heights are known.",
    "Cells that the ray tracer's first-order diffraction leaves dark are dark in the truth, too.",
)


def write_card(path: Path, tables: Sequence[Path], out: Path, summary: str, similarity: Path | None = None) -> None:
    """Write the card of a model file as markdown.

    Parameters
    ----------
    tables
        What `evaluate accuracy --json` wrote, measured with this very file.
    summary
        What the model is, in a few words.
    similarity
        What `evaluate similarity --json` wrote, measured with this file, too: the card states the threshold on D_env.

    Raises
    ------
    CheckpointError, DataError
        The model file cannot be used; a table is none, or was measured with another model.
    """
    model, found = checkpoint.load(path)
    stages = {name: found.notes[name] for name in STAGES if name in found.notes}
    if not stages:
        raise DataError(f"{path}: its notes hold no training; cards are made of files that `train` wrote")
    seconds = sum(_seconds(notes) for stage in stages.values() for notes in _rounds(stage))
    origin: dict[str, Any] = next((notes for notes in stages.values() if "data" in notes), {})
    figures = [_accuracy(table, found.digest) for table in tables]
    if similarity is not None:
        figures.append(_similarity(similarity, found.digest))
    facts = CardFacts(
        name=path.stem,
        summary=summary,
        digest=found.digest,
        parameters={name: parameters(stage) for name, stage in model.stages.items()},
        data=str(origin.get("data", "")),
        training={
            **{name: "; then ".join(_training(name, notes) for notes in _rounds(stages[name])) for name in stages},
            "in all": f"{seconds / 60:.0f} minutes",
        },
        figures=[*figures, *_curves(stages)],
        limits=LIMITS,
    )
    out.write_text(model_card(model.config, facts), encoding="utf-8")


def _rounds(notes: dict[str, Any]) -> list[dict[str, Any]]:
    """What each training of a stage wrote down, the first one first: one may have started from another's model."""
    before = notes.get("start", {}).get("notes", {})
    return [*(_rounds(before) if before else ()), notes]


def _seconds(notes: dict[str, Any]) -> float:
    """What a training took [s], to its last validation where it says so."""
    return max([notes["seconds"], *notes.get("curve", {}).get("seconds", ())])


def _command(name: str, notes: dict[str, Any]) -> str:
    start = f" --start {notes['start']['file']}" if "start" in notes else ""
    return f"train {name}{start} --config {notes.get('config', 'train.yaml')}"


def _training(name: str, notes: dict[str, Any]) -> str:
    start = f"from {notes['start']['digest'][:12]}, " if "start" in notes else ""
    steps = f"{start}best at step {notes['steps']} of {notes.get('batch', '?')} maps each"
    cost = f"{_seconds(notes) / 60:.0f} minutes on {notes.get('device', 'an unnamed device')}"
    control = ", from noise in the midpoint's place" if notes.get("midpoint") == "noise" else ""
    return f"{steps}{control}, {cost}, `{_command(name, notes)}`"


def _accuracy(path: Path, digest: str) -> Figures:
    """The scores of one table, above and below 25 m."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        measured, methods = found["model"], found["methods"]
        rows = [
            {
                "method": name,
                "transmitters": label,
                **{title: float(scored[where][key]) for key, title in SCORES.items()},
                "rms [dB]": float(scored[where]["rmse_db"]),
            }
            for name, scored in methods.items()
            for where, label in HEIGHTS.items()
            if scored[where]["nmse"] is not None
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no table of `evaluate accuracy --json` ({type(error).__name__})") from error
    _check_measured(path, measured, digest)
    resolution = f" --map-resolution {found['map_resolution']:g}"
    cars = " --cars" * bool(found["cars"])
    title = f"{found['split']} split of {found['data']}, walls at {found['map_resolution']:g} m, {found['maps']} maps"
    return Figures(title, rows, f"evaluate accuracy --split {found['split']}{resolution}{cars}")


def _similarity(path: Path, digest: str) -> Figures:
    """τ, the largest D_env at which changed streets keep their midpoint (F eq. 16), and what that costs."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        measured, updates = found["model"], found["updates"]
        row: dict[str, str | float | int] = {
            "threshold τ on D_env": float(found["threshold"]),
            "knee": float(found["knee"]),
            "updates": int(updates["pairs"]),
            "keep their midpoint": f"{updates['kept_share']:.0%}",
            "cost, rms [dB]": float(updates["kept_rmse_db"]),
            "at worst [dB]": float(updates["kept_rmse_db_worst"]),
        }
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no figures of `evaluate similarity --json` ({type(error).__name__})") from error
    _check_measured(path, measured, digest)
    return Figures(
        f"Midpoints across map updates, {found['split']} split of {found['data']}", [row],
        f"evaluate similarity --split {found['split']}",
    )  # fmt: skip


def _check_measured(path: Path, measured: dict[str, Any] | None, digest: str) -> None:
    if measured is None or measured["digest"] != digest:
        raise DataError(f"{path}: measured with another model than the card's")


def _curves(notes: dict[str, Any]) -> list[Figures]:
    """NMSE, or the loss, on validation by step of training."""
    curves = []
    for name, found in ((name, found) for name, stage in notes.items() for found in _rounds(stage)):
        curve = found.get("curve", {})
        answers = any(key.startswith("nmse") for key in curve)
        shown = {
            key: values for key, values in curve.items() if key.startswith(("nmse", "physics") if answers else "loss")
        }
        rows = [
            {"step": int(step), **{key: float(values[k]) for key, values in shown.items()}}
            for k, step in enumerate(curve.get("step", ()))
        ]
        if rows:
            start = f", from {found['start']['digest'][:12]}" if "start" in found else ""
            title = f"Learning curve of the {name} stage{start}, validation maps"
            curves.append(Figures(title, rows, _command(name, found)))
    return curves
