"""The loop that every training shares: optimiser, moving average, validation, and a state that survives a kill.

What a step draws follows from the seed and its number alone, so a training that goes on after a kill takes the very
steps that it would have taken.
"""

from __future__ import annotations

import copy
import csv
import dataclasses
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rdflux_ros.diffusion.noise import seeded
from rdflux_ros.model.config import ModelConfig
from rdflux_ros.training.config import TrainingConfig
from rdflux_ros.training.denoiser import Objective
from rdflux_ros.training.losses import map_nmse
from rdflux_ros.training.parallel import Ranks
from rdflux_ros.training.samples import Maps, Samples

if TYPE_CHECKING:
    from tqdm import tqdm

HIGH_M = 25.0
"""Transmitters from here on count as above the roofs [m]."""
LOG = ("step", "loss", "learning_rate")
VALIDATION = ("step", "seconds", "loss", "nmse_above", "nmse_below", "physics_above", "physics_below")


class TrainingError(ValueError):
    """A training cannot start or go on; the message says why, in one line."""


@dataclass(frozen=True)
class Validation:
    """Scores on the validation maps: mean loss, and mean NMSE above and below 25 m beside the physics layer's.

    NaN where there is no such map, or the network answers none.
    """

    loss: float
    nmse_above: float
    nmse_below: float
    physics_above: float
    physics_below: float

    @property
    def criterion(self) -> float:
        """What the best checkpoint has least of: mean of both NMSEs, or the loss where nothing is answered."""
        known = [value for value in (self.nmse_above, self.nmse_below) if not math.isnan(value)]
        return sum(known) / len(known) if known else self.loss

    def __str__(self) -> str:
        line = f"loss {self.loss:.4f}"
        if not (math.isnan(self.nmse_above) and math.isnan(self.nmse_below)):
            line += (
                f", NMSE above / below {HIGH_M:g} m {self.nmse_above:.4f} / {self.nmse_below:.4f}"
                f" (physics layer {self.physics_above:.4f} / {self.physics_below:.4f})"
            )
        return line


Keep = Callable[[nn.Module, Mapping[str, Any], Validation], None]
"""Write the averaged network as the best so far, with notes on its training."""


class Trainer:
    """Trains one objective in a folder of its own, from where the folder's state says.

    Parameters
    ----------
    folder
        Holds ``state.pt``, ``log.csv``, ``validation.csv``, ``loss.png``.
    keep
        Called whenever validation is better than ever.
    ranks
        The processes that train together: each takes its share of every batch, the first one writes.
    origins
        Digests, by name, of what else the training comes from: models, data.

    Raises
    ------
    TrainingError
        The folder's state is of another config or origin, or unreadable, or a batch cannot be shared out evenly.
    """

    def __init__(
        self,
        folder: Path,
        objective: Objective,
        train: Samples,
        validation: Samples,
        model: ModelConfig,
        config: TrainingConfig,
        ranks: Ranks,
        keep: Keep,
        *,
        origins: Mapping[str, str],
    ) -> None:
        if config.batch % ranks.count:
            raise TrainingError(f"batch = {config.batch}: {ranks.count} processes cannot share it evenly")
        self.folder, self.config = folder, config
        self._objective, self._train, self._validation = objective, train, validation
        self._ranks, self._device, self._keep = ranks, ranks.device, keep
        device = ranks.device
        self.network = objective.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self._optimiser = torch.optim.AdamW(
            [parameter for parameter in self.network.parameters() if parameter.requires_grad],
            config.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=config.weight_decay,
        )
        self._of = {"config": _digest(model, config), **origins}
        self.step, self.seconds, self.best = 0, 0.0, math.inf
        self._validated = 0
        self._whole = True
        self._since = time.monotonic()
        self._unwritten: list[tuple[int, float, float]] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        self._bfloat16 = config.bfloat16 and has_bfloat16()
        if config.bfloat16 and not self._bfloat16 and device.type == "cpu" and ranks.first:
            print(f"{folder.name}: this CPU has no bfloat16 instructions: float32 in its place", file=sys.stderr)

    def run(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Train to the last step, or until `stop`; False where steps are left. The state is saved either way."""
        from tqdm import tqdm

        first, config, ranks = self.step, self.config, self._ranks
        bar = tqdm(
            total=config.steps, initial=first, desc=self.folder.name, unit="step", dynamic_ncols=True,
            disable=not ranks.first,
        )  # fmt: skip
        self._since = time.monotonic()
        try:
            self._validate_if_due(bar)  # where that was interrupted
            shares = self._train.training(first, config.steps, config.batch, self._device, (ranks.rank, ranks.count))
            for maps in shares:
                if ranks.agreed(stop()):
                    break
                bar.set_postfix(loss=f"{self._take(maps):.4f}", refresh=False)
                bar.update()
                self._validate_if_due(bar)
                if self.step % config.save_every == 0:
                    self.save()
            if self.step > first:
                self._validate_if_due(bar, cut_off=True)
        finally:
            if self._whole:
                self.save()
            bar.close()
        return self.step == config.steps

    def _validate_if_due(self, bar: tqdm[Any], *, cut_off: bool = False) -> None:
        """Validate every so often, after the last step and where a slice is cut off; the first process, once a step."""
        due = cut_off or self.step % self.config.validate_every == 0 or self.step == self.config.steps
        if self._ranks.first and due and self.step > self._validated:  # the others wait in their next step
            bar.write(f"{self.folder.name} {self.step}: {self._validate()}")

    def _take(self, maps: Maps) -> float:
        """One step; its loss."""
        rate = self._rate()
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self.network.train()
        rank = [self._ranks.rank] if self._ranks.rank else []
        generator = seeded(self.config.seed, self.step, *rank)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
            loss = self._objective.loss(self.network, maps, generator)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        mean = self._ranks.average(loss, self.network.parameters())
        parameters = [parameter for parameter in self.network.parameters() if parameter.grad is not None]
        norm = nn.utils.clip_grad_norm_(parameters, self.config.gradient_norm)
        if not torch.isfinite(norm):
            raise TrainingError(f"{self.folder}: gradients are not finite at step {self.step}")
        self._whole = False  # interrupted from here on, the step is half taken and must not be saved
        self._optimiser.step()
        self._move_average()
        self.step += 1
        self._unwritten.append((self.step, mean, rate))
        self._whole = True
        return mean

    def _rate(self) -> float:
        """Linear rise, then half a cosine down."""
        config = self.config
        rise = min(1.0, (self.step + 1) / config.warmup)
        fall = config.final_share + (1 - config.final_share) * 0.5 * (1 + math.cos(math.pi * self.step / config.steps))
        return config.learning_rate * rise * fall

    @torch.no_grad()
    def _move_average(self) -> None:
        """The average follows faster at first, so that it forgets where it started."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        mine, theirs = list(self.average.parameters()), list(self.network.parameters())
        torch._foreach_lerp_(mine, theirs, 1.0 - decay)

    @torch.no_grad()
    def _validate(self) -> Validation:
        """Score the average; keep it if it is the best. Interrupted, it is as if it had not begun."""
        losses: list[float] = []
        scores: dict[str, list[float]] = {name: [] for name in VALIDATION[3:]}
        generator = seeded(self.config.seed, -1)
        for maps in self._validation.validation(self.config.batch, self._device):
            losses += [float(self._objective.loss(self.average, maps, generator))] * len(maps)
            answers = self._objective.answers(self.average, maps, generator)
            physics = map_nmse(maps.base, maps.truth, maps.free)
            nmse = physics * math.nan if answers is None else map_nmse(answers.clamp(0, 1), maps.truth, maps.free)
            for z, ours, theirs in zip(maps.z.tolist(), nmse.tolist(), physics.tolist(), strict=True):
                where = "above" if z >= HIGH_M else "below"
                scores[f"nmse_{where}"].append(ours)
                scores[f"physics_{where}"].append(theirs)
        found = Validation(_mean(losses), **{name: _mean(values) for name, values in scores.items()})
        if found.criterion < self.best:
            notes = {"steps": self.step, "seconds": round(self._elapsed()), **dataclasses.asdict(found)}
            self._keep(self.average, {key: value for key, value in notes.items() if value == value}, found)
            self.best = found.criterion
        self._append("validation.csv", VALIDATION, [(self.step, self._elapsed(), *dataclasses.astuple(found))])
        self._validated = self.step
        return found

    def save(self) -> None:
        """Write log, plot and state, in the first process; the state appears whole or not at all."""
        if not self._ranks.first:
            return
        self._append("log.csv", LOG, self._unwritten)
        self._unwritten.clear()
        state = {
            "of": self._of,
            "step": self.step,
            "seconds": self._elapsed(),
            "best": self.best,
            "validated": self._validated,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }
        partial = self.folder / f".state.pt.{os.getpid()}"
        torch.save(state, partial)
        os.replace(partial, self.folder / "state.pt")
        plot_losses(self.folder)

    def _resume(self) -> None:
        path = self.folder / "state.pt"
        if not path.is_file():
            self._cut_logs()
            return
        try:
            state = torch.load(path, map_location=self._device, weights_only=True)
            other = next((name for name, digest in self._of.items() if state["of"].get(name) != digest), None)
        except Exception as error:
            raise TrainingError(f"{path}: not a readable training state ({type(error).__name__})") from error
        if other is not None:
            raise TrainingError(f"{path}: a training with another {other}; choose another folder, or remove this one")
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
        self._validated = state["validated"]
        self._cut_logs()

    def _cut_logs(self) -> None:
        """Forget what was logged beyond the saved state: that is done again."""
        if not self._ranks.first:
            return
        for name, last in (("log.csv", self.step), ("validation.csv", self._validated)):
            path = self.folder / name
            if path.is_file():
                header, *rows = path.read_text().splitlines() or [""]
                kept = [row for row in rows if _step_of(row) <= last]
                partial = path.with_name(f".{name}.{os.getpid()}")
                partial.write_text("".join(f"{line}\n" for line in (header, *kept)))
                os.replace(partial, path)

    def _append(self, name: str, header: Sequence[str], rows: Sequence[Sequence[float]]) -> None:
        path = self.folder / name
        new = not path.is_file()
        with path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(header)
            writer.writerows([[f"{value:.7g}" if isinstance(value, float) else value for value in row] for row in rows])

    def _elapsed(self) -> float:
        """Seconds of training so far, over all slices."""
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now
        return self.seconds


def has_bfloat16() -> bool:
    """Whether this CPU has the instructions, without which bfloat16 is slow; where PyTorch cannot tell, it has."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: True)() for name in names)


def validations(folder: Path) -> dict[str, list[float]]:
    """The columns of a folder's ``validation.csv``; what the network does not answer is left out."""
    columns = _columns(folder / "validation.csv")
    return {name: values for name, values in columns.items() if not any(math.isnan(value) for value in values)}


def plot_losses(folder: Path) -> None:
    """Draw ``loss.png`` from a folder's logs: loss by step, and NMSE on validation beside the physics layer's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    log, validation = _columns(folder / "log.csv"), _columns(folder / "validation.csv")
    if not log.get("step"):
        return
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    width = max(1, len(log["loss"]) // 200)
    smooth = [_mean(log["loss"][max(0, k - width) : k + 1]) for k in range(len(log["loss"]))]
    left.plot(log["step"], smooth, linewidth=1, label="training")
    if validation.get("step"):
        left.plot(validation["step"], validation["loss"], "o-", markersize=3, label="validation")
        for name, style in zip(VALIDATION[3:], ("C0-", "C1-", "C0:", "C1:"), strict=True):
            right.plot(validation["step"], validation[name], style, label=name.replace("_", ", "))
        right.legend(fontsize="small")
    left.set(xlabel="step", ylabel="loss", yscale="log")
    right.set(xlabel="step", ylabel=f"NMSE on validation ({HIGH_M:g} m)")
    left.legend(fontsize="small")
    figure.savefig(folder / "loss.png", dpi=110)


def _columns(path: Path) -> dict[str, list[float]]:
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}


def _step_of(row: str) -> float:
    """Number of the step that a line of a log is about; infinite for a line cut off by a kill."""
    cells = row.split(",")
    return int(cells[0]) if cells[0].isdigit() and len(cells) in (len(LOG), len(VALIDATION)) else math.inf


def _digest(model: ModelConfig, config: TrainingConfig) -> str:
    content = [model.as_dict(), dataclasses.asdict(config)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
