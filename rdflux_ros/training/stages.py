"""One training from its files: samples, network and what it starts from, loop, model file and card."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rdflux_ros.baselines import radiounet
from rdflux_ros.baselines.radiounet import RadioUNet
from rdflux_ros.data.radiomapseer import spread
from rdflux_ros.flux.conditions import DYNAMICS, check_channels
from rdflux_ros.flux.schedules import second_schedule
from rdflux_ros.model import checkpoint
from rdflux_ros.model.card import CardFacts, Figures, model_card
from rdflux_ros.model.config import MethodConfig, ModelConfig
from rdflux_ros.model.radio_model import STAGES, RadioModel, parameters
from rdflux_ros.networks.autoencoder import Autoencoder, KlAutoencoder, SpaceToDepth
from rdflux_ros.networks.denoiser import Stage
from rdflux_ros.training.autoencoder import Reconstruction
from rdflux_ros.training.baselines import Regression
from rdflux_ros.training.cache import PhysicsCache
from rdflux_ros.training.config import TrainingConfig, load_config
from rdflux_ros.training.denoiser import Aligned, Chain, Latents, Objective, StartingNoise, StreetMidpoints
from rdflux_ros.training.loop import HIGH_M, Trainer, TrainingError, Validation, validations
from rdflux_ros.training.parallel import Ranks
from rdflux_ros.training.samples import Maps, Samples

CALIBRATION_MAPS = 256
"""From whose latents mean and deviation are taken."""
MODEL_FILE = "model.safetensors"
BEST_FILE = "best.safetensors"


def train(
    what: str,
    config: Path,
    data: Path,
    out: Path,
    *,
    cache: Path,
    ranks: Ranks,
    max_minutes: float | None,
    start: Path | None = None,
    maps: int | None = None,
) -> bool:
    """Train one of `TRAININGS` for a slice of time, from where it was; False where steps are left.

    In `out` each training has a folder of its own, with its log and its best model; ``model.safetensors`` there holds
    all stages trained so far. `static` starts from the conditional stage, `aligned` from both; with `start`, a model
    file, a stage starts from the same one there, and the stages that `out` lacks are taken from there as they are.
    `maps` is how many of the train split are used, in place of what the config says.

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
    if maps is not None:
        training = replace(training, maps=maps)
    check_channels(model_config)
    end = None if max_minutes is None else time.monotonic() + 60.0 * max_minutes
    if what == "radiounet":
        return _radiounet(model_config, training, config.name, data, out, cache, ranks, _stop(end), start)
    origin = None if start is None else _origin(start, what, model_config)
    model, begin, parents = _model(what, model_config, training, out, origin)
    samples = _samples(data, cache, model_config, training, ranks.device, _stop(end))
    if samples is None:
        return False
    train_samples, validation = samples
    model.to(ranks.device)
    objective = begin(train_samples)

    def keep(network: nn.Module, notes: Mapping[str, Any], found: Validation) -> None:
        notes = {**notes, "config": config.name}
        if what == "aligned":
            notes["midpoint"] = training.midpoint
        if origin is not None:
            notes["start"] = origin.summary(what)
        _keep(what, model, network, notes, found, out, data, training, train_samples)

    origins = {"start": "" if origin is None else origin.digest, "data": _data(*samples), **parents}
    done = Trainer(
        out / what, objective, train_samples, validation, model_config, training, ranks, keep, origins=origins
    ).run(_stop(end))  # fmt: skip
    if ranks.first and what != "autoencoder":
        _join(model_config, out, origin)
    return done


def _radiounet(
    model: ModelConfig,
    training: TrainingConfig,
    config_name: str,
    data: Path,
    out: Path,
    cache: Path,
    ranks: Ranks,
    stop: Callable[[], bool],
    start: Path | None,
) -> bool:
    """The baseline: its best file is ``radiounet/best.safetensors`` in `out`."""
    if start is not None:
        raise TrainingError(f"{start}: RadioUNet starts from weights of its own")
    if training.inputs == "physics" and model.dynamics.channels != len(DYNAMICS):
        raise TrainingError(f"inputs = 'physics': dynamics.channels must be {len(DYNAMICS)}, with physics channels")
    samples = _samples(data, cache, model, training, ranks.device, stop)
    if samples is None:
        return False
    torch.manual_seed(training.seed)
    network = RadioUNet(training.inputs)

    def keep(average: nn.Module, notes: Mapping[str, Any], found: Validation) -> None:
        assert isinstance(average, RadioUNet)
        more = _whence(data, training, samples[0], ranks.device)
        radiounet.save(average, out / "radiounet" / BEST_FILE, {**notes, **more, "config": config_name})

    return Trainer(
        out / "radiounet", Regression(network, training), *samples, model, training, ranks, keep,
        origins={"data": _data(*samples)},
    ).run(stop)  # fmt: skip


def _data(*samples: Samples) -> str:
    return " ".join(maps.cache.identity for maps in samples)


def _whence(data: Path, training: TrainingConfig, samples: Samples, device: torch.device) -> dict[str, Any]:
    """What a model file says of the data and the machine that it was trained on."""
    return {
        "data": f"{len(samples)} maps of the train split of {data.name}. {training.data_note}".strip(),
        "maps": len(samples),
        "device": _device_name(device),
        "batch": training.batch,
        "seed": training.seed,
    }


@dataclass(frozen=True)
class Origin:
    """The model file that a training starts from."""

    path: Path
    model: RadioModel
    digest: str
    notes: Mapping[str, Any]

    def notes_of(self, what: str) -> Mapping[str, Any]:
        """What the training of one part wrote down; nothing where it wrote nothing."""
        alone = self.notes.get("training") == what  # a part's own file
        return self.notes if alone else self.notes.get(what, {})

    def summary(self, what: str) -> dict[str, Any]:
        """What the card of a model says that started here."""
        return {"file": self.path.name, "digest": self.digest, "notes": self.notes_of(what)}


def _origin(path: Path, what: str, config: ModelConfig) -> Origin:
    """Raises `CheckpointError` where the file is no model of this config, or lacks what is trained.

    The reuse ratio may be another: a model can be taught anew for fewer steps.
    """
    model, found = checkpoint.load(path)
    if _but_for_reuse(found.config) != _but_for_reuse(config):
        raise checkpoint.CheckpointError(f"{path}: a model of another config; a training starts from one of its own")
    if what in STAGES and what not in model.stages:
        raise checkpoint.CheckpointError(f"{path}: holds no stage {what}")
    return Origin(path, model, found.digest, found.notes)


def _but_for_reuse(config: ModelConfig) -> dict[str, dict[str, Any]]:
    sections = config.as_dict()
    del sections["method"]["reuse_ratio"]
    return sections


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
        if split == "train":
            _check_heights(maps.positions[rows, 2], model.method)
        if not maps.fill(rows, stop):
            return None
        found.append(Samples(maps, rows, model, training.seed, training.augment and split == "train", device))
    return found[0], found[1]


def _check_heights(z: NDArray[np.float32], method: MethodConfig) -> None:
    """Beyond its heights above ground [m] a model answers as if within, so there it must not be trained."""
    low, high = z.min(), z.max()
    if low < np.float32(method.lowest_z_m):
        raise TrainingError(f"method.lowest_z_m = {method.lowest_z_m:g}: must be at most {low:g} (train split)")
    if high > np.float32(method.highest_z_m):
        raise TrainingError(f"method.highest_z_m = {method.highest_z_m:g}: must be at least {high:g} (train split)")


def _model(
    what: str, config: ModelConfig, training: TrainingConfig, out: Path, origin: Origin | None
) -> tuple[RadioModel, Callable[[Samples], Objective], dict[str, str]]:
    """The model with the one stage in training, and what makes its objective once samples and device are there.

    With them the digests of the earlier trainings' models that it rests on, by their files in `out`.
    """
    parents: dict[str, str] = {}

    def best(name: str, origin: Origin | None = None) -> RadioModel:
        found, parents[f"{name}/{BEST_FILE}"] = _best(name, config, out, origin)
        return found

    torch.manual_seed(training.seed)
    if what == "autoencoder":
        model = RadioModel(config, ())
        autoencoder = model.autoencoder
        if not isinstance(autoencoder, KlAutoencoder):
            raise TrainingError("autoencoder.kind = 'space_to_depth': has nothing to train")
        if origin is not None:
            autoencoder.load_state_dict(origin.model.autoencoder.state_dict())
        residual = config.method.target == "residual"
        return model, lambda samples: Reconstruction(autoencoder, training, residual=residual), parents
    model = RadioModel(config, (what,))
    stage, latents = model.stage(what), Latents(model.autoencoder, config.method)
    lossless = isinstance(model.autoencoder, SpaceToDepth)
    calibrated = origin is not None or what != "conditional"
    if origin is not None:
        model.autoencoder.load_state_dict(origin.model.autoencoder.state_dict())
        stage.load_state_dict(origin.model.stage(what).state_dict())
    elif what == "conditional":
        if not lossless:
            model.autoencoder.load_state_dict(best("autoencoder").autoencoder.state_dict())
    else:
        conditional = best("conditional")
        model.autoencoder.load_state_dict(conditional.autoencoder.state_dict())
        _start_from(stage, conditional.stage("conditional"))
    if what != "aligned":

        def chain(samples: Samples) -> Objective:
            if lossless and not calibrated:
                latents.calibrate(_spread_maps(samples, _device(model)))
            return Chain(stage, latents, config.method, training)

        return model, chain, parents
    if second_schedule(config.method)[0] == 1.0:
        raise TrainingError("reuse_ratio = 0: there is no midpoint to align to")
    first = best("static", origin)
    _check_scale(first, model, out)
    static = first.stage("static")

    def aligned(samples: Samples) -> Objective:
        static.to(_device(model), memory_format=torch.channels_last)  # type: ignore[call-overload]
        kind = StreetMidpoints if training.midpoint == "streets" else StartingNoise
        return Aligned(stage, kind(static, latents, config.method, training.seed), latents, config.method, training)

    return model, aligned, parents


def _start_from(stage: Stage, trained: Stage) -> None:
    """Take over the weights of the same name; a first stage is a part of a full one."""
    weights = trained.state_dict()
    stage.load_state_dict({name: weights[name] for name in stage.state_dict()})


def _best(what: str, config: ModelConfig, out: Path, origin: Origin | None) -> tuple[RadioModel, str]:
    """The best model of an earlier training, or the one that this training starts from where `out` holds none; digest.

    Raises `CheckpointError` where it is missing or of another config.
    """
    path = out / what / BEST_FILE
    if not path.is_file():
        if origin is not None and what in origin.model.stages:
            return origin.model, origin.digest
        raise checkpoint.CheckpointError(f"{path}: no such model; train '{what}' first, into the same folder")
    model, found = checkpoint.load(path)
    if found.config != config:
        raise checkpoint.CheckpointError(f"{path}: a model of another config; train '{what}' again")
    return model, found.digest


def _check_scale(part: RadioModel, model: RadioModel, out: Path) -> None:
    """Stages of one model see latents of one scale; `CheckpointError` where they do not."""
    mine, theirs = model.autoencoder.state_dict(), part.autoencoder.state_dict()
    if not all(torch.equal(mine[name], theirs[name]) for name in mine):
        raise checkpoint.CheckpointError(
            f"{out}: its stages see latents of different scales; train them all there, or all from the same start"
        )


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
    path = out / what / BEST_FILE
    origin = _whence(data, training, samples, _device(model))
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
            "start": "{file}, digest {digest}".format(**notes["start"]) if "start" in notes else "own weights",
        },
        figures=[
            Figures("Validation", [{name: value for name, value in row.items() if value == value}], f"train {what}")
        ],
    )
    path.with_suffix(".md").write_text(model_card(model.config, facts), encoding="utf-8")


def _join(config: ModelConfig, out: Path, origin: Origin | None) -> None:
    """One model file of all stages: trained here, or as they are where the training started; its notes hold curves."""
    parts: dict[str, tuple[RadioModel, Mapping[str, Any]]] = {}
    for name in STAGES:
        path = out / name / BEST_FILE
        if path.is_file() and checkpoint.read(path).config == config:
            part, found = checkpoint.load(path)
            parts[name] = part, {**found.notes, "curve": validations(out / name)}
        elif origin is not None and name in origin.model.stages:
            parts[name] = origin.model, origin.notes_of(name)
    if not parts:
        return
    joined = RadioModel(config, parts)
    joined.autoencoder.load_state_dict(next(iter(parts.values()))[0].autoencoder.state_dict())
    for name, (part, _) in parts.items():
        _check_scale(part, joined, out)
        joined.stages[name].load_state_dict(part.stages[name].state_dict())
    checkpoint.save(joined, out / MODEL_FILE, {name: notes for name, (_, notes) in parts.items()}, half=True)


def _spread_maps(samples: Samples, device: torch.device) -> list[Maps]:
    rows = [int(samples.rows[k]) for k in spread(len(samples), CALIBRATION_MAPS)]
    return [samples.maps([(row, 0) for row in rows[k : k + 16]], device) for k in range(0, len(rows), 16)]


def _device(model: RadioModel) -> torch.device:
    return model.autoencoder.latent_mean.device


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' * (threads > 1)}"
