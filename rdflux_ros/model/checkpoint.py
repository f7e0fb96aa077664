"""A model as one file: weights (safetensors), config, and a digest of both that loading checks."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rdflux_ros.model.config import ModelConfig, model_config
from rdflux_ros.model.radio_model import STAGES, RadioModel
from rdflux_ros.settings import SettingError

FORMAT = "rdflux_ros"
VERSION = 1
"""Of the file; another version is refused."""


class CheckpointError(ValueError):
    """A model file cannot be used; the message names the file and says why, in one line."""


@dataclass(frozen=True)
class Checkpoint:
    """What a model file holds."""

    config: ModelConfig
    weights: dict[str, Tensor]
    digest: str
    """SHA-256 of config and weights, hexadecimal: the model's identity, in midpoint keys and cards."""
    notes: dict[str, Any]
    """Where it comes from: whatever training wrote down."""


@dataclass(frozen=True)
class File:
    """Settings (JSON), weights, digest of both, and notes of a file."""

    settings: str
    weights: dict[str, Tensor]
    digest: str
    notes: dict[str, Any]


def save(model: RadioModel, path: Path, notes: Mapping[str, Any] | None = None, *, half: bool = False) -> str:
    """Write a model with all its stages; the file appears whole or not at all. Returns the digest.

    `notes` is anything JSON can hold. `half` writes kernels and matrices in float16, which loading widens again: half
    of the size for an error far below the model's; what scales or shifts stays float32.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        kernels = [name for name, parameter in model.named_parameters() if parameter.ndim > 1]
        weights |= {name: weights[name].half() for name in kernels}
    return write_file(path, FORMAT, json.dumps(model.config.as_dict(), sort_keys=True), weights, notes)


def write_file(
    path: Path, kind: str, settings: str, weights: Mapping[str, Tensor], notes: Mapping[str, Any] | None = None
) -> str:
    """Write weights with their settings (JSON); the file appears whole or not at all. Returns the digest of both."""
    digest = _digest(settings, weights)
    metadata = {
        "format": kind,
        "version": str(VERSION),
        "config": settings,
        "digest": digest,
        "notes": json.dumps(notes or {}, sort_keys=True),
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(dict(weights), partial, metadata)
        partial.chmod(0o644)  # safetensors writes for the owner alone
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return digest


def read(path: Path, digest: str | None = None) -> Checkpoint:
    """Read and check a model file.

    Parameters
    ----------
    digest
        The digest that the file must have; None takes any that fits its content.

    Raises
    ------
    CheckpointError
        The file is missing, no model, of another version, damaged, or not the one with `digest`.
    """
    found = read_file(path, FORMAT)
    if digest is not None and found.digest != digest:
        raise CheckpointError(f"{path}: another model: digest {found.digest}, expected {digest}")
    try:
        config = model_config(json.loads(found.settings))
    except SettingError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return Checkpoint(config, found.weights, found.digest, found.notes)


def read_file(path: Path, kind: str) -> File:
    """What `write_file` wrote; `CheckpointError` where it is missing, damaged, or of another kind or version."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such model file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error
    if metadata.get("format") != kind:
        raise CheckpointError(f"{path}: not a model of {kind}")
    if metadata.get("version") != str(VERSION):
        raise CheckpointError(f"{path}: model version {metadata.get('version')}, this release reads {VERSION}")
    found = _digest(metadata.get("config", ""), weights)
    if found != metadata.get("digest"):
        raise CheckpointError(f"{path}: damaged: digest {found}, written as {metadata.get('digest')}")
    try:
        notes = json.loads(metadata.get("notes", "{}"))
    except json.JSONDecodeError as error:  # the digest leaves notes out
        raise CheckpointError(f"{path}: damaged: notes are no JSON ({error})") from error
    return File(metadata["config"], weights, found, notes)


def load(path: Path, digest: str | None = None) -> tuple[RadioModel, Checkpoint]:
    """The model of a file with the stages that it holds, in evaluation mode; parameters and errors as `read`.

    Raises
    ------
    MissingExtraError
        The model needs a library that is not installed.
    """
    checkpoint = read(path, digest)
    held = [name for name in STAGES if any(key.startswith(f"stages.{name}.") for key in checkpoint.weights)]
    model = RadioModel(checkpoint.config, held)
    try:
        model.load_state_dict(checkpoint.weights)
    except RuntimeError as error:
        *_, why = str(error).splitlines()[:2]  # the first line only says where
        raise CheckpointError(f"{path}: weights do not fit the config ({shorten(why, 200)})") from error
    return model.eval(), checkpoint


def _digest(settings: str, weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over the config and every tensor's name, dtype, shape and bytes, whatever their order in the file."""
    digest = hashlib.sha256(settings.encode())
    for name in sorted(weights):
        tensor = weights[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
