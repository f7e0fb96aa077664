"""The physics layer's mechanisms, each apart, against the ray tracer's own parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdflux_ros.data.radiomapseer import DataError, RadioMapSeer, read_grey, spread
from rdflux_ros.evaluation.accuracy import ROOF_HEIGHT_M
from rdflux_ros.evaluation.methods import Workbench
from rdflux_ros.evaluation.metrics import scores, summarise
from rdflux_ros.radio.units import GREY_SPAN_DB, gain_from_grey, grey_from_gain

PARTS = ("reflections", "first_reflections", "diffraction")
REACHED = 0.5 / 255
"""Grey from which a cell counts as reached: what an 8-bit image would round to 1."""


@dataclass(frozen=True)
class PartScore:
    """One mechanism on one map: cells reached by truth, by the answer, by both; errors [dB] where both reach."""

    in_truth: int
    in_answer: int
    in_both: int
    errors_db: NDArray[np.float32]


def compare_part(answer: NDArray[np.float32], truth: NDArray[np.float32], mask: NDArray[np.bool_]) -> PartScore:
    """Compare a part's grey [256, 256] with its truth where `mask` holds."""
    reached, expected = (answer >= REACHED) & mask, (truth >= REACHED) & mask
    both = reached & expected
    return PartScore(
        in_truth=int(expected.sum()),
        in_answer=int(reached.sum()),
        in_both=int(both.sum()),
        errors_db=GREY_SPAN_DB * (answer[both] - truth[both]),
    )


def summarise_parts(maps: list[PartScore]) -> dict[str, float]:
    """Over maps: bias, rms and median absolute error [dB] over cells where both reach, shares of misses and false.

    ``missed`` is the share of the truth's cells that the answer does not reach, ``false`` the share of the
    answer's cells that the truth does not reach.
    """
    errors = np.concatenate([part.errors_db for part in maps]) if maps else np.zeros(0, np.float32)
    in_truth, in_answer, in_both = (sum(getattr(p, key) for p in maps) for key in ("in_truth", "in_answer", "in_both"))
    some = len(errors) > 0
    return {
        "bias_db": float(np.mean(errors, dtype=np.float64)) if some else float("nan"),
        "rms_db": float(np.sqrt(np.mean(errors.astype(np.float64) ** 2))) if some else float("nan"),
        "median_abs_db": float(np.median(np.abs(errors))) if some else float("nan"),
        "missed": 1.0 - in_both / in_truth if in_truth else float("nan"),
        "false": 1.0 - in_both / in_answer if in_answer else float("nan"),
        "cells": float(in_both),
    }


def find_folders(data: Path) -> tuple[Path, Path]:
    """(dataset, parts) from the folder that holds both, or from the dataset with the parts beside it."""
    for dataset, parts in ((data / "city", data / "parts"), (data, data.resolve().parent / "parts")):
        if dataset.is_dir() and parts.is_dir():
            return dataset, parts
    raise DataError(f"{data}: neither city/ and parts/ in it, nor parts/ beside it")


def evaluate_physics(
    data: Path, *, map_resolution: float | None = None, device: str = "auto", limit: int | None = None
) -> dict[str, Any]:
    """Compare reflections and diffraction, each apart, with the truth's parts.

    Reflections include the ground's. Diffraction is compared in the shadow, where the layer gives it. ``nmse``
    is the whole map's, and what it would be with the truth's part in place of the layer's.

    Raises
    ------
    DataError
        The folders or files are not there.
    """
    import torch
    from tqdm import tqdm

    root, parts_folder = find_folders(data)
    named = {path.name[: -len("_diffraction.png")] for path in parts_folder.glob("*_diffraction.png")}
    samples = [(ds, i) for ds in _splits(root) for i, name in enumerate(ds.names) if name in named]
    if not samples:
        raise DataError(f"{parts_folder}: no parts of any map of {root}")
    samples = [samples[k] for k in spread(len(samples), limit)]
    bench, one_wall, no_wall = Workbench(device), Workbench(device, 1), Workbench(device, 0)
    found: dict[str, list[tuple[bool, PartScore]]] = {part: [] for part in PARTS}
    whole: dict[str, list[tuple[bool, dict[str, float]]]] = {}
    for dataset, index in tqdm(samples, desc="physics", unit="map", dynamic_ncols=True):
        sample = dataset[index]
        if map_resolution is not None and map_resolution != sample.resolution:
            from rdflux_ros.data.transforms import coarsened

            sample = coarsened(sample, map_resolution)
        above = bool(sample.position[2] >= ROOF_HEIGHT_M)
        truth = {part: read_grey(parts_folder / f"{sample.name}_{part}.png") for part in PARTS}
        ours = bench.parts(sample)
        reflections = ours.reflections + ours.ground_bounces
        # One interaction: a wall without the ground, or the ground without a wall.
        first = one_wall.parts(sample).reflections + no_wall.parts(sample).ground_bounces
        shadow = sample.free & ~bench.visible(sample)
        for part, gain, mask in (
            ("reflections", reflections, sample.free),
            ("first_reflections", first, sample.free),
            ("diffraction", ours.diffraction, shadow),
        ):
            found[part].append((above, compare_part(_grey(gain), truth[part], mask)))
        true_reflections = torch.as_tensor(_linear(truth["reflections"]), device=reflections.device)[None]
        true_diffraction = torch.as_tensor(_linear(truth["diffraction"]), device=reflections.device)[None]
        true_diffraction = torch.where(ours.visible, ours.diffraction, true_diffraction)
        for name, gain in {
            "physics": ours.total,
            "with_true_reflections": ours.line_of_sight + ours.diffraction + true_reflections,
            "with_true_diffraction": ours.line_of_sight + true_diffraction + reflections,
            "with_both": ours.line_of_sight + true_diffraction + true_reflections,
        }.items():
            whole.setdefault(name, []).append((above, scores(_grey(gain), sample.grey, sample.free)))
    return {"maps": len(samples), **_by_height(found, whole)}


def _splits(root: Path) -> list[RadioMapSeer]:
    return [RadioMapSeer(root, split) for split in ("val", "test", "train")]


def _grey(gain: Any) -> NDArray[np.float32]:
    return grey_from_gain(10.0 * gain[0].clamp_min(1e-30).log10().cpu().numpy())


def _linear(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(grey >= REACHED, 10.0 ** (gain_from_grey(grey) / 10.0), 0.0).astype(np.float32)


def _by_height(
    found: dict[str, list[tuple[bool, PartScore]]], whole: dict[str, list[tuple[bool, dict[str, float]]]]
) -> dict[str, Any]:
    def summary(wanted: set[bool]) -> dict[str, Any]:
        return {
            "parts": {k: summarise_parts([part for above, part in v if above in wanted]) for k, v in found.items()},
            "nmse": {k: summarise([s for above, s in v if above in wanted])["nmse"] for k, v in whole.items()},
        }

    return {**summary({True, False}), "above_25m": summary({True}), "below_25m": summary({False})}
