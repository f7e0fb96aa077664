"""The learning curve: error on the validation maps against training maps and against compute, of several trainings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rdflux_ros.data.radiomapseer import DataError
from rdflux_ros.evaluation.console import table
from rdflux_ros.model import checkpoint

HEIGHTS = {"above": "z ≥ 25 m", "below": "z < 25 m"}


def learning_curve(files: Sequence[Path], stage: str) -> dict[str, Any]:
    """What the model files that `train` wrote say of one stage's training: maps, steps, time, NMSE by step.

    Raises
    ------
    CheckpointError, DataError
        A file is no model, or holds no training of that stage whose answers were validated.
    """
    runs = [_run(path, stage) for path in files]
    return {"stage": stage, "runs": sorted(runs, key=lambda run: (run["maps"], run["steps"][-1]))}


def _run(path: Path, stage: str) -> dict[str, Any]:
    found = checkpoint.read(path)
    notes = found.notes.get(stage, {})
    curve = notes.get("curve", {})
    missing = [name for name in ("maps", "batch", "device") if name not in notes]
    missing += [f"curve.{name}" for name in ("step", "seconds", "nmse_above", "nmse_below") if not curve.get(name)]
    if missing:
        raise DataError(f"{path}: its notes on the training of '{stage}' lack {', '.join(missing)}")
    return {
        "file": f"{path.parent.name}/{path.name}",
        "digest": found.digest,
        "maps": int(notes["maps"]),
        "batch": int(notes["batch"]),
        "device": str(notes["device"]),
        "started_from": notes.get("start", {}).get("digest"),
        "steps": [int(step) for step in curve["step"]],
        "seconds": curve["seconds"],
        **{name: curve[name] for name in curve if name.startswith(("nmse", "physics"))},
    }


def learning_lines(result: dict[str, Any]) -> list[str]:
    """The last validation of every training, as markdown."""
    rows = []
    for run in result["runs"]:
        shown = run["steps"][-1] * run["batch"]
        last = [run[f"{what}_{where}"][-1] for where in HEIGHTS for what in ("nmse", "physics")]
        rows.append([run["maps"], shown, shown / run["maps"], run["seconds"][-1] / 60, *last, run["device"]])
    head = ["maps", "maps shown", "times each", "minutes"]
    head += [text for label in HEIGHTS.values() for text in (f"NMSE, {label}", f"physics, {label}")]
    return [
        f"Stage `{result['stage']}`: the last validation of each training, mean NMSE over the validation maps.",
        "",
        table([*head, "on"], rows),
    ]


def write_learning_report(folder: Path, result: dict[str, Any]) -> None:
    """Write ``report.md`` with the table and ``learning.png``: NMSE against maps shown, and against training maps."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(11.0, 8.0), layout="constrained")
    for (where, label), (left, right) in zip(HEIGHTS.items(), figure.subplots(2, 2), strict=True):
        for run in result["runs"]:
            shown = [step * run["batch"] for step in run["steps"]]
            left.plot(shown, run[f"nmse_{where}"], ".-", label=f"{run['maps']} maps")
        last = [(run["maps"], run[f"nmse_{where}"][-1]) for run in result["runs"]]
        right.plot(*zip(*last, strict=True), "k.-")
        for axis, what in ((left, "maps shown"), (right, "training maps")):
            axis.axhline(result["runs"][-1][f"physics_{where}"][-1], color="0.5", linestyle=":", label="physics layer")
            axis.set(xlabel=what, ylabel=f"NMSE, {label}", xscale="log", yscale="log")
            axis.grid(alpha=0.3, which="both")
        left.legend(fontsize=8)
    figure.savefig(folder / "learning.png", dpi=100)
    lines = ["# Error against training", "", *learning_lines(result), "", "![learning](learning.png)"]
    (folder / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
