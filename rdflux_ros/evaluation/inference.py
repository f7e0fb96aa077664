"""A model run outside the mapper: what the tables of methods and the benchmark share, and where its time goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from rdflux_ros.flux.conditions import mean_heights, streets_image
from rdflux_ros.flux.pipeline import FluxPipeline, PosePart, StreetsPart, Window
from rdflux_ros.mapping.inputs import Pose, StreetMap
from rdflux_ros.mapping.mapper import RadioMapper
from rdflux_ros.mapping.regions import Region, crop, footprint, nearest_region
from rdflux_ros.propagation.config import PhysicsConfig
from rdflux_ros.propagation.facades import Facades, trace_facades
from rdflux_ros.propagation.physics_layer import PhysicsLayer

T = TypeVar("T")


def finished(steps: Generator[None, None, T]) -> T:
    """The return value of a generator, once it has run to its end."""
    try:
        while True:
            next(steps)
    except StopIteration as stop:
        result: T = stop.value
        return result


class Stopwatch:
    """Milliseconds of the parts of one answer; a part ends where `lap` is called, the GPU's work included."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.parts: dict[str, float] = {}
        self._last = self._now()

    def lap(self, name: str) -> None:
        """Add the time since the last lap to part `name`."""
        now = self._now()
        self.parts[name] = self.parts.get(name, 0.0) + 1e3 * (now - self._last)
        self._last = now

    @property
    def total(self) -> float:
        """All parts together [ms]."""
        return sum(self.parts.values())

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def timed(device: torch.device, work: Callable[[], T]) -> tuple[T, float]:
    """What `work` returns and what it took [s], the GPU's work included and what was queued before it not."""
    watch = Stopwatch(device)
    result = work()
    watch.lap("work")
    return result, 1e-3 * watch.total


@contextmanager
def steps_apart(denoiser: nn.Module, watch: Stopwatch) -> Iterator[None]:
    """Inside, the time before the denoiser's first call counts as ``condition``, up to its last one as ``steps``."""

    def before(*_: Any) -> None:
        if "steps" not in watch.parts:
            watch.lap("condition")

    def after(*_: Any) -> None:
        watch.lap("steps")

    hooks = denoiser.register_forward_pre_hook(before), denoiser.register_forward_hook(after)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class PreparedRegion:
    """What is kept of a region, and its static image, which the full chain takes."""

    facades: Facades
    free: Tensor
    """[1, 256, 256] bool: cells without a building."""
    image: Tensor
    part: StreetsPart | None
    """None where the model has no first stage or no aligned one."""

    def kept_bytes(self) -> dict[str, int]:
        """What the cache of regions holds of it [bytes]."""
        found = {"walls": self.facades.nbytes, "footprint": self.free.nbytes}
        if self.part is not None:
            midpoint = self.part.midpoint.nbytes
            found |= {"midpoint": midpoint, "condition": self.part.nbytes - midpoint}
        return {**found, "total": sum(found.values())}


class Inference:
    """Answers poses of a map by a pipeline as the mapper does, every part timed.

    Parameters
    ----------
    mapper
        Of its map, its device and its settings.
    """

    def __init__(self, mapper: RadioMapper, streets: StreetMap) -> None:
        self._mapper, self._streets = mapper, streets
        self._layer = PhysicsLayer(PhysicsConfig(reflection_order=mapper.config.reflection_order))

    def prepared(self, pose: Pose, flux: FluxPipeline | None) -> tuple[PreparedRegion, Stopwatch]:
        """The pose's region; parts crop, walls, image, static_encoders and first_stage, the last two by `flux`."""
        config, device = self._mapper.config, self._mapper.device
        region = nearest_region(pose.x, pose.y)
        watch = Stopwatch(device)
        heights = crop(self._streets, region, config)
        buildings = footprint(self._streets, region, config)
        watch.lap("crop")
        facades = trace_facades(heights, self._streets.grid.resolution, device, touched=config.touched)
        watch.lap("walls")
        free = ~torch.from_numpy(buildings).to(device)[None]
        image = streets_image(mean_heights(facades)[None], ~free)
        watch.lap("image")
        part = None
        if flux is not None:
            steps = flux.streets(image, _window(region))
            next(steps)
            watch.lap("static_encoders")
            part = finished(steps)
            watch.lap("first_stage")
        return PreparedRegion(facades, free, image, part), watch

    def flux(self, pose: Pose, region: PreparedRegion, flux: FluxPipeline) -> Stopwatch:
        """Answer by the aligned second stage; parts as `_answered`."""
        part, window = region.part, _window(nearest_region(pose.x, pose.y))
        assert part is not None
        return self._answered(pose, region, flux, "aligned", lambda added: flux.answer(part, added, window))

    def full(self, pose: Pose, region: PreparedRegion, flux: FluxPipeline, steps: int | None = None) -> Stopwatch:
        """Answer by the full chain, in T steps unless told otherwise; parts as `_answered`."""
        window = _window(nearest_region(pose.x, pose.y))
        return self._answered(
            pose, region, flux, "conditional", lambda added: flux.full(region.image, added, window, steps=steps)
        )

    def _answered(
        self,
        pose: Pose,
        region: PreparedRegion,
        flux: FluxPipeline,
        stage: str,
        answer: Callable[[PosePart], Tensor],
    ) -> Stopwatch:
        """From the pose to a map in the computer's memory: physics, condition, steps, decode.

        ``condition`` are its images and the encoders that run for this pose, ``decode`` has the last update in it.
        """
        corner, antenna = nearest_region(pose.x, pose.y).grid, self._mapper.transmitter(pose)
        watch = Stopwatch(self._mapper.device)
        where = [[antenna.x - corner.origin_x, antenna.y - corner.origin_y, antenna.z]]
        transmitter = torch.tensor(where, dtype=torch.float32, device=self._mapper.device)
        gains = self._layer(region.facades, transmitter)
        watch.lap("physics")
        added = flux.pose_part(gains, transmitter, region.free, torch.zeros_like(region.free))
        with steps_apart(flux.model.stage(stage).denoiser, watch):
            answer(added).cpu()
        watch.lap("decode")
        return watch


def _window(region: Region) -> Window:
    return region.i, region.j
