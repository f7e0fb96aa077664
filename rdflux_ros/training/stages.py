"""One training from its files: samples, network and what it starts from, loop, model file and card."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rdflux_ros.flux.conditions import check_channels
from rdflux_ros.flux.schedules import second_schedule
from rdflux_ros.model import checkpoint
from rdflux_ros.model.card import CardFacts, Figures, model_card
from rdflux_ros.model.config import ModelConfig
from rdflux_ros.model.radio_model import STAGES, RadioModel, parameters
from rdflux_ros.networks.autoencoder import Autoencoder, KlAutoencoder, SpaceToDepth
from rdflux_ros.networks.denoiser import Stage
from rdflux_ros.training.autoencoder import Reconstruction
from rdflux_ros.training.cache import PhysicsCache, spread
from rdflux_ros.training.config import TrainingConfig, load_config
from rdflux_ros.training.denoiser import Aligned, Chain, Latents, Objective, StreetMidpoints
from rdflux_ros.training.loop import HIGH_M, Trainer, TrainingError, Validation, validations
from rdflux_ros.training.parallel import Ranks
from rdflux_ros.training.samples import Maps, Samples

CALIBRATION_MAPS = 256
"""From whose latents mean and deviation are taken."""
MODEL_FILE = "model.safetensors"


def train(
    what: str, config: Path, data: Path, out: Path, *, cache: Path, ranks: Ranks, max_minutes: float | None
) -> bool:
    """Train one of `TRAININGS` for a slice of time, from where it was; False where steps are left.

    In `out` each training has a folder of its own, with its log and its best model; ``model.safetensors`` there holds
    all stages trained so far. `static` starts from the conditional stage, `aligned` from both.

    Raises
    ------
    SettingError
        The config does not fit.
    DataError
        The dataset does not fit.
    CheckpointError
        What the training starts from is missing or of another config.
    TrainingError
        It cannot start or go on.
    """
    model_config, training = load_config(config, what)
    check_channels(model_config)
    end = None if max_minutes is None else time.monotonic() + 60.0 * max_minutes
    model, start = _model(what, model_config, training, out)
    samples = _samples(data, cache, model_config, training, ranks.device, _stop(end))
    if samples is None:
        return False
    train_samples, validation = samples
    model.to(ranks.device)
    objective = start(train_samples)

    def keep(network: nn.Module, notes: Mapping[str, Any], found: Validation) -> None:
        _keep(what, model, network, notes, found, out, data, training, train_samples)

    trainer = Trainer(out / what, objective, train_samples, validation, model_config, training, ranks, keep)
    done = trainer.run(_stop(end))
    if ranks.first and what != "autoencoder":
        _join(model_config, out)
    return done


def _stop(end: float | None) -> Callable[[], bool]:
    return lambda: end is not None and time.monotonic() >= end


def _samples(
    data: Path,
    cache: Path,
    model: ModelConfig,
    training: TrainingConfig,
    device: torch.device,
    stop: Callable[[], bool],
) -> tuple[Samples, Samples] | None:
    """Training and validation maps, their physics channels computed; None where `stop` came first."""
    found = []
    for split, limit, cars, resolutions in (
        ("train", training.maps, training.cars, training.map_resolutions),
        ("val", training.validation_maps, False, ()),  # walls as fine as the data has them
    ):
        maps = PhysicsCache(cache, data, split, cars=cars, resolutions=resolutions, seed=training.seed)
        rows = spread(len(maps.names), limit)
        if not maps.fill(rows, device, stop):
            return None
        found.append(Samples(maps, rows, model, training.seed, training.augment and split == "train"))
    return found[0], found[1]


def _model(
    what: str, config: ModelConfig, training: TrainingConfig, out: Path
) -> tuple[RadioModel, Callable[[Samples], Objective]]:
    """The model with the one stage in training, and what makes its objective once samples and device are there."""
    torch.manual_seed(training.seed)
    if what == "autoencoder":
        model = RadioModel(config, ())
        autoencoder = model.autoencoder
        if not isinstance(autoencoder, KlAutoencoder):
            raise TrainingError("autoencoder.kind = 'space_to_depth': has nothing to train")
        residual = config.method.target == "residual"
        return model, lambda samples: Reconstruction(autoencoder, training, residual=residual)
    model = RadioModel(config, (what,))
    stage, latents = model.stage(what), Latents(model.autoencoder, config.method)
    if what == "conditional":
        lossless = isinstance(model.autoencoder, SpaceToDepth)
        if not lossless:
            model.autoencoder.load_state_dict(_best("autoencoder", config, out).autoencoder.state_dict())

        def chain(samples: Samples) -> Objective:
            if lossless:
                latents.calibrate(_spread_maps(samples, _device(model)))
            return Chain(stage, latents, config.method, training)

        return model, chain
    conditional = _best("conditional", config, out)
    model.autoencoder.load_state_dict(conditional.autoencoder.state_dict())
    _start_from(stage, conditional.stage("conditional"))
    if what == "static":
        return model, lambda samples: Chain(stage, latents, config.method, training)
    if second_schedule(config.method)[0] == 1.0:
        raise TrainingError("reuse_ratio = 0: there is no midpoint to align to")
    static = _best("static", config, out).stage("static")

    def aligned(samples: Samples) -> Objective:
        static.to(_device(model), memory_format=torch.channels_last)  # type: ignore[call-overload]
        return Aligned(
            stage, StreetMidpoints(static, latents, config.method, training.seed), latents, config.method, training
        )

    return model, aligned


def _start_from(stage: Stage, trained: Stage) -> None:
    """Take over the weights of the same name; a first stage is a part of a full one."""
    weights = trained.state_dict()
    stage.load_state_dict({name: weights[name] for name in stage.state_dict()})


def _best(what: str, config: ModelConfig, out: Path) -> RadioModel:
    """The best model of an earlier training; `CheckpointError` where it is missing or of another config."""
    path = out / what / "best.safetensors"
    if not path.is_file():
        raise checkpoint.CheckpointError(f"{path}: no such model; train '{what}' first, into the same folder")
    model, found = checkpoint.load(path)
    if found.config != config:
        raise checkpoint.CheckpointError(f"{path}: a model of another config; train '{what}' again")
    return model


def _keep(
    what: str,
    model: RadioModel,
    network: nn.Module,
    notes: Mapping[str, Any],
    found: Validation,
    out: Path,
    data: Path,
    training: TrainingConfig,
    samples: Samples,
) -> None:
    """Write the best model so far, and its card."""
    if what == "autoencoder":
        assert isinstance(network, Autoencoder)
        kept = RadioModel(model.config, ())
        kept.autoencoder.load_state_dict(network.state_dict())
        kept.to(_device(model))
        Latents(kept.autoencoder, model.config.method).calibrate(_spread_maps(samples, _device(model)))
    else:
        kept = RadioModel(model.config, (what,))
        kept.autoencoder.load_state_dict(model.autoencoder.state_dict())
        kept.stages[what].load_state_dict(network.state_dict())
    path = out / what / "best.safetensors"
    origin = {
        "data": f"{len(samples)} maps of the train split of {data.name}. {training.data_note}".strip(),
        "device": _device_name(_device(model)),
        "batch": training.batch,
        "seed": training.seed,
    }
    digest = checkpoint.save(kept, path, {"training": what, **notes, **origin})
    row = {
        "loss": found.loss,
        f"NMSE ≥ {HIGH_M:g} m": found.nmse_above,
        f"NMSE < {HIGH_M:g} m": found.nmse_below,
        f"physics layer ≥ {HIGH_M:g} m": found.physics_above,
        f"physics layer < {HIGH_M:g} m": found.physics_below,
    }
    facts = CardFacts(
        name=f"{out.name}: {what}",
        summary=f"The best of a training of `{what}`, by its validation maps.",
        digest=digest,
        parameters={name: parameters(part) for name, part in (("autoencoder", kept.autoencoder), *kept.stages.items())},
        data=str(origin["data"]),
        training={
            "steps": f"{notes['steps']} of {training.batch} maps",
            "time": f"{notes['seconds'] / 60:.1f} minutes",
            "device": str(origin["device"]),
            "seed": str(training.seed),
        },
        figures=[
            Figures("Validation", [{name: value for name, value in row.items() if value == value}], f"train {what}")
        ],
    )
    path.with_suffix(".md").write_text(model_card(model.config, facts), encoding="utf-8")


def _join(config: ModelConfig, out: Path) -> None:
    """One model file of all stages that are trained; its notes hold their learning curves."""
    paths = {name: out / name / "best.safetensors" for name in STAGES}
    held = [name for name, path in paths.items() if path.is_file() and checkpoint.read(path).config == config]
    if not held:
        return
    joined = RadioModel(config, held)
    notes = {}
    for name in held:
        part, found = checkpoint.load(paths[name])
        joined.stages[name].load_state_dict(part.stages[name].state_dict())
        joined.autoencoder.load_state_dict(part.autoencoder.state_dict())
        notes[name] = {**found.notes, "curve": validations(out / name)}
    checkpoint.save(joined, out / MODEL_FILE, notes, half=True)


def _spread_maps(samples: Samples, device: torch.device) -> list[Maps]:
    rows = [int(samples.rows[k]) for k in spread(len(samples), CALIBRATION_MAPS)]
    return [samples.maps([(row, 0) for row in rows[k : k + 16]], device) for k in range(0, len(rows), 16)]


def _device(model: RadioModel) -> torch.device:
    return model.autoencoder.latent_mean.device


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"
