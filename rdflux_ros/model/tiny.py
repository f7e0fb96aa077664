"""A tiny untrained model whose every part matters: for what has to run but not to be right, tests and soaks.

What training starts at zero is random here.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from rdflux_ros.model import checkpoint
from rdflux_ros.model.config import model_config
from rdflux_ros.model.radio_model import STAGES, RadioModel

TINY: dict[str, dict[str, Any]] = {
    "method": {"static_steps": 2},
    "streets": {"widths": [8, 8, 8, 8], "blocks": 0},
    "dynamics": {"channels": 12, "widths": [8, 8, 8, 8], "blocks": 0},
    "denoiser": {"widths": [8, 8, 8, 8], "heads": 2, "attention_levels": [3], "fine_width": 4},
}


def random_model(stages: Iterable[str] = STAGES, **method: Any) -> RadioModel:
    """The model of `TINY` with settings of its method, in evaluation mode, the same at every call."""
    torch.manual_seed(0)
    model = RadioModel(model_config({**TINY, "method": {**TINY["method"], **method}}), stages)
    silent = [parameter for parameter in model.parameters() if not parameter.any()]
    for parameter in silent:
        torch.nn.init.normal_(parameter, std=0.3)
    model.autoencoder.calibrate(torch.zeros(16), torch.full((16,), 0.1))
    return model.eval()


def model_file(path: Path, stages: Iterable[str] = STAGES, **method: Any) -> Path:
    """`random_model` as a file."""
    checkpoint.save(random_model(stages, **method), path)
    return path
