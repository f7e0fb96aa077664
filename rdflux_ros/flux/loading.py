"""A model file, ready to be run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rdflux_ros.flux.conditions import check_channels
from rdflux_ros.model import checkpoint
from rdflux_ros.model.config import MethodConfig
from rdflux_ros.model.radio_model import RadioModel
from rdflux_ros.model.shipped import PHYSICS, model_path
from rdflux_ros.networks.autoencoder import MissingExtraError
from rdflux_ros.settings import SettingError


@dataclass(frozen=True)
class LoadedModel:
    """The networks of a model file, ready on their device."""

    path: Path
    digest: str
    model: RadioModel
    notes: dict[str, Any]
    """What its training wrote down, by stage."""

    def lacks(self, *stages: str) -> str | None:
        """Which of the stages the file does not hold, in words that name it; None where it holds all."""
        missing = [name for name in stages if name not in self.model.stages]
        return f"{self.path}: holds no stage {', '.join(missing)}" if missing else None

    def summary(self, method: MethodConfig) -> dict[str, Any]:
        """What a table says of the model, run by `method`."""
        return {
            "file": self.path.name,
            "digest": self.digest,
            "steps": method.steps,
            "reuse_ratio": method.reuse_ratio,
            "static_steps": method.static_steps,
            "temperature": method.temperature,
        }


def load_model(name: str, device: torch.device) -> LoadedModel | None:
    """The model that a command line names: ``shipped``, a file, or ``physics`` for none.

    Raises
    ------
    MissingModelError, CheckpointError
        There is no such file, or it cannot be used here.
    SettingError
        There is no such home directory.
    """
    if name == PHYSICS:
        return None
    path = model_path(name)
    try:
        model, found = checkpoint.load(path)
        check_channels(model.config)
    except (MissingExtraError, SettingError) as error:
        raise checkpoint.CheckpointError(f"{path}: {error}") from error
    return LoadedModel(path, found.digest, model.to(device), found.notes)
