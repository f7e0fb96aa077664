"""What a training file says: the model's sections and how to train it. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rdflux_ros.model.config import ModelConfig, model_config
from rdflux_ros.settings import SettingError, checked_instance, from_mapping, setting

TRAININGS = ("autoencoder", "conditional", "static", "aligned", "radiounet")
"""What is trained: a model in this order; the baseline by itself."""


@dataclass(frozen=True)
class TrainingConfig:
    """How one stage is trained."""

    data_note: str = setting("", "what the card says of the data: its source, its attribution")
    steps: int = setting(20000, "optimiser steps; the learning rate falls to its end over them", minimum=1)
    batch: int = setting(8, "maps in a step", minimum=1, maximum=4096)
    learning_rate: float = setting(1e-3, "highest learning rate of AdamW", minimum=1e-7, maximum=0.1)
    warmup: int = setting(100, "steps over which the learning rate rises", minimum=1)
    final_share: float = setting(0.05, "share of the learning rate that is left at the end", minimum=0.0, maximum=1.0)
    weight_decay: float = setting(0.01, "of AdamW", minimum=0.0, maximum=1.0)
    gradient_norm: float = setting(1.0, "longer gradients are cut to it", minimum=1e-3)
    bfloat16: bool = setting(
        False, "compute gradients in bfloat16 on a CPU too, where it has the instructions (a GPU always does)"
    )
    ema: float = setting(0.999, "decay of the moving average of the weights, which is what is kept", maximum=0.99999)
    seed: int = setting(0, "of weights, order, augmentation and noise", minimum=0)
    drift_weight: float = setting(1.0, "λ1, of C", minimum=0.0)
    noise_weight: float = setting(1.0, "λ2, of ε", minimum=0.0)
    jump_weight: float = setting(1.0, "λ3, of the one-jump estimate", minimum=0.0)
    map_weight: float = setting(
        10.0, "of the decoded map's NMSE, in the aligned stage and at the states that the chain visits", minimum=0.0
    )
    divergence_weight: float = setting(1e-6, "of the autoencoder's Kullback-Leibler divergence", minimum=0.0)
    used_share: float = setting(
        0.5,
        "share of the times that are drawn from those really stepped from (by the first stage; by the chain that "
        "validates the conditional one); the others are uniform",
        minimum=0.0,
        maximum=1.0,
    )
    visited_share: float = setting(
        0.5,
        "share of the chain's steps of training that are taken at states which the chain itself reaches at the "
        "method's temperature, not at the noised truth",
        minimum=0.0,
        maximum=1.0,
    )
    visited_steps: int = setting(3, "the chain takes at most so many to such a state; drawn", minimum=1, maximum=1000)
    midpoint: str = setting(
        "streets",
        "where the aligned stage starts: at the first stage's midpoint, or, as a control, at the noise that the first "
        "stage starts from",
        choices=("streets", "noise"),
    )
    inputs: str = setting(
        "physics",
        "what RadioUNet sees: the city and the transmitter's cell, as published, or all that our own networks see, to "
        "correct the physics layer",
        choices=("published", "physics"),
    )
    augment: bool = setting(True, "turn and mirror the maps")
    map_resolutions: tuple[float, ...] = setting((0.25, 0.5, 1.0), "resolutions [m] of the maps of streets, drawn")
    cars: bool = setting(True, "train on the maps with cars too")
    maps: int = setting(0, "maps of the train split to use, evenly spread; 0: all", minimum=0)
    validation_maps: int = setting(48, "maps of the val split to use, evenly spread; 0: all", minimum=0)
    validation_steps: int = setting(5, "steps of the chain that validates the conditional stage", minimum=1)
    validate_every: int = setting(500, "steps", minimum=1)
    save_every: int = setting(100, "steps between saved states, where a killed training goes on", minimum=1)

    def __post_init__(self) -> None:
        checked_instance(self)
        known = all(type(value) is float and value > 0 for value in self.map_resolutions)
        if not self.map_resolutions or not known:
            raise SettingError(f"map_resolutions = {self.map_resolutions!r}: must be positive numbers [m]")


def load_config(path: Path, what: str) -> tuple[ModelConfig, TrainingConfig]:
    """Read a training file: yaml with the optional sections `model`, `training`, and one for each of `TRAININGS`.

    A training takes what its own section says, then what `training` says.

    Raises
    ------
    SettingError
        The file is no such yaml, a key is unknown or a value out of bounds; the message names file and key.
    OSError
        The file cannot be read.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"{path}: not valid yaml ({error})") from error
    known = ("model", "training", *TRAININGS)
    try:
        sections = _mapping("file", content)
        unknown = sorted(str(name) for name in set(sections) - set(known))
        if unknown:
            raise SettingError(f"unknown section {', '.join(unknown)}; known are {', '.join(known)}")
        model = model_config(_mapping("model", sections.get("model") or {}))
        common = _mapping("training", sections.get("training") or {})
        own = {name: {**common, **_mapping(name, sections.get(name) or {})} for name in TRAININGS}
        return model, {name: _training(name, values) for name, values in own.items()}[what]
    except SettingError as error:
        raise SettingError(f"{path}: {error}") from error


def _training(name: str, values: dict[str, Any]) -> TrainingConfig:
    def typed(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return tuple(float(entry) if type(entry) is int else entry for entry in value)

    try:
        return from_mapping(TrainingConfig, {key: typed(value) for key, value in values.items()})
    except SettingError as error:
        raise SettingError(f"training or {name}: {error}") from error


def _mapping(name: str, values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise SettingError(f"{name} = {values!r}: must be a section of settings")
    return values
