"""A tiny dataset in RadioMapSeer's layout with heights; its truth is the physics layer's plus what can be learnt."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml

from rdflux_ros.flux.conditions import grey
from rdflux_ros.propagation.facades import trace_facades
from rdflux_ros.propagation.physics_layer import PhysicsLayer

TINY = {
    "model": {
        "method": {"static_steps": 2},
        "streets": {"widths": [8, 8, 8, 8], "blocks": 0},
        "dynamics": {"channels": 12, "widths": [8, 8, 8, 8], "blocks": 0},
        "denoiser": {"widths": [8, 8, 8, 8], "heads": 2, "attention_levels": [3], "fine_width": 4},
    },
    "training": {
        "steps": 12,
        "batch": 2,
        "learning_rate": 2e-2,
        "warmup": 2,
        "ema": 0.8,
        "used_share": 0.8,
        "map_resolutions": [1.0],
        "validation_maps": 2,
        "validation_steps": 2,
        "validate_every": 6,
        "save_every": 3,
    },
    "static": {"steps": 8, "validate_every": 8},
    "aligned": {"steps": 8, "validate_every": 8, "learning_rate": 1e-2},
}


def make_city(root: Path) -> Path:
    """Two training scenes and one for validation, two transmitters each (one below 25 m), one with cars."""
    layer, generator = PhysicsLayer(), np.random.default_rng(0)
    splits = {"train": ["a_1", "b_2"], "val": ["c_3"], "test": []}
    for folder in ("antenna", "png/buildingsWHeight", "png/surroundings", "png/cars", "gain/static", "gain/cars"):
        (root / folder).mkdir(parents=True)
    (root / "split.json").write_text(json.dumps(splits))
    for scene in [*splits["train"], *splits["val"]]:
        coarse = np.zeros((304, 304), np.float32)
        for x, y in generator.integers(40, 220, (6, 2)):
            coarse[y : y + 30, x : x + 24] = 18.0
        heights = coarse[24:280, 24:280]
        cars = np.zeros((256, 256), bool)
        cars[5:7, 30:35] = True
        antennas = [[20.5, 10.25, 12.0], [200.0, 240.0, 60.0]]
        write(root / "png" / "buildingsWHeight" / f"{scene}.png", heights.astype(np.uint8))
        write(root / "png" / "surroundings" / f"{scene}.png", np.kron(100 * coarse, np.ones((4, 4))).astype(np.uint16))
        write(root / "png" / "cars" / f"{scene}.png", 255 * cars.astype(np.uint8))
        (root / "antenna" / f"{scene}.json").write_text(json.dumps(antennas))
        found = grey(layer(trace_facades(coarse, 1.0, touched=False), torch.tensor(antennas)).total).numpy()
        near = cv2.dilate((heights > 0).astype(np.float32), np.ones((17, 17)))  # what the streets alone tell
        for k, physics in enumerate(found):
            shift = 0.06 * (1 - k) - 0.03 + 0.1 * near  # lower transmitters stronger, higher ones weaker
            truth = np.rint(255 * np.clip(physics + shift * (physics > 0), 0, 1)) * (heights == 0)
            write(root / "gain" / "static" / f"{scene}_{k}.png", truth.astype(np.uint8))
            if k == 0 and scene == "a_1":
                write(root / "gain" / "cars" / f"{scene}_{k}.png", (truth * ~cars).astype(np.uint8))
    return root


def write(path: Path, south_up: np.ndarray) -> None:
    """Save an image; files have row 0 in the north."""
    assert cv2.imwrite(str(path), south_up[::-1])


def write_config(path: Path, **training: object) -> Path:
    """A training file of the tiny model with other training settings."""
    path.write_text(yaml.safe_dump({**TINY, "training": {**TINY["training"], **training}}))
    return path


def arguments(what: str, config: Path, city: Path, out: Path) -> list[str]:
    """The command line of a training on the CPU; the physics channels are shared by all of a city."""
    pairs = {"--config": config, "--data": city, "--out": out, "--cache": city.parent / "cache", "--device": "cpu"}
    return [what, *(str(part) for pair in pairs.items() for part in pair)]
