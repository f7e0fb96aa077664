"""The two stages as they are run: what is kept, what is told, what equals what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdflux_ros.data.radiomapseer import RadioMapSeer
from rdflux_ros.diffusion import ddm
from rdflux_ros.evaluation.methods import Workbench
from rdflux_ros.flux.loading import load_model
from rdflux_ros.flux.pipeline import FluxPipeline, PosePart, StreetsPart, predictor
from rdflux_ros.flux.schedules import first_schedule
from rdflux_ros.model.radio_model import RadioModel
from rdflux_ros.model.shipped import SHIPPED
from rdflux_ros.model.tiny import TINY, random_model
from rdflux_ros.networks.condition import ConditionSource
from rdflux_ros.radio.units import GREY_SPAN_DB
from rdflux_ros.settings import SettingError

STREETS = Path(__file__).parents[2] / "examples" / "streets"

WINDOW = (3, -2)
TOLERANCE = 0.002
"""Of a grey where float16 is kept in place of float32: 0.2 dB."""


@pytest.fixture(scope="module")
def model() -> RadioModel:
    return random_model()


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.rand(1, 2, 256, 256, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def pose() -> PosePart:
    generator = torch.Generator().manual_seed(2)
    dynamics = torch.rand(2, TINY["dynamics"]["channels"], 256, 256, generator=generator)
    free = torch.rand(1, 1, 256, 256, generator=generator) > 0.3
    return PosePart(dynamics, 0.5 * dynamics[:, :1] * free, free)


def finished(pipeline: FluxPipeline, image: Tensor, **options: bool) -> tuple[StreetsPart, int]:
    steps, count = pipeline.streets(image, WINDOW, **options), 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, count
        count += 1


def test_stage_1_stops_after_each_step(model: RadioModel, image: Tensor) -> None:
    for static_steps in (2, 5):
        part, count = finished(FluxPipeline(model, static_steps=static_steps), image)
        assert count == 1 + static_steps
        assert part.midpoint.shape == (1, 16, 64, 64) and part.midpoint.dtype == torch.float16


@pytest.mark.parametrize("aligned", [True, False])
def test_kept_and_recomputed_midpoints_give_the_same_map(
    model: RadioModel, image: Tensor, pose: PosePart, aligned: bool
) -> None:
    pipeline = FluxPipeline(model)
    part, _ = finished(pipeline, image, aligned=aligned)
    static = model.stage("static")
    with torch.no_grad():
        predict = predictor(static, static.streets(image))
        midpoint = ddm.sample(predict, torch.zeros(1, 16, 64, 64), first_schedule(pipeline.method), lambda _: 0.0)
        streets = model.stage("aligned" if aligned else "conditional").streets(image)
    exact = pipeline.answer(StreetsPart(midpoint, streets), pose, WINDOW, aligned=aligned)
    assert (pipeline.answer(part, pose, WINDOW, aligned=aligned) - exact).abs().max() < TOLERANCE
    other = StreetsPart(midpoint + 1.0, streets)
    assert (pipeline.answer(other, pose, WINDOW, aligned=aligned) - exact).abs().max() > 2 * TOLERANCE


def test_a_batch_is_its_poses_one_by_one(model: RadioModel, image: Tensor, pose: PosePart) -> None:
    pipeline = FluxPipeline(model, temperature=1.0)
    part, _ = finished(pipeline, image)
    both = pipeline.answer(part, pose, WINDOW)
    for k in range(2):
        single = PosePart(pose.dynamics[k : k + 1], pose.base[k : k + 1], pose.free)
        assert torch.allclose(pipeline.answer(part, single, WINDOW)[0], both[k], atol=1e-4)
    assert not torch.allclose(both[0], both[1], atol=1e-2)


def test_cells_without_value_are_0_and_greys_within_1(model: RadioModel, image: Tensor, pose: PosePart) -> None:
    pipeline = FluxPipeline(model)
    found = pipeline.answer(finished(pipeline, image)[0], pose, WINDOW)
    assert found.shape == (2, 1, 256, 256) and found.min() >= 0 and found.max() <= 1
    assert (found[~pose.free.expand_as(found)] == 0).all()


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_a_latent_that_is_not_finite_is_no_grey(model: RadioModel, pose: PosePart, value: float) -> None:
    found = FluxPipeline(model).decoded(torch.full((2, 16, 64, 64), value), pose)
    assert found[pose.free.expand_as(found)].isnan().all()


def test_one_midpoint_serves_several_poses(model: RadioModel, image: Tensor, pose: PosePart) -> None:
    pipeline = FluxPipeline(model)
    one = pipeline.own_midpoint(image, pose, WINDOW)[:1]
    both = pipeline.vanilla(one.expand(2, -1, -1, -1), image, pose, WINDOW)
    assert torch.equal(pipeline.vanilla(one, image, pose, WINDOW), both)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_vanilla_reuse_of_its_own_midpoint_is_the_full_chain(
    model: RadioModel, image: Tensor, pose: PosePart, temperature: float
) -> None:
    pipeline = FluxPipeline(model, reuse_ratio=0.9, temperature=temperature)
    own = pipeline.own_midpoint(image, pose, WINDOW)
    full = pipeline.full(image, pose, WINDOW)
    assert torch.allclose(pipeline.vanilla(own, image, pose, WINDOW), full, atol=1e-4)
    others = own.flip(0)
    assert not torch.allclose(pipeline.vanilla(others, image, pose, WINDOW), full, atol=1e-3)


def test_the_aligned_stage_is_told_times_relative_to_the_midpoint(
    model: RadioModel, image: Tensor, pose: PosePart
) -> None:
    pipeline, times = FluxPipeline(model), []
    part, _ = finished(pipeline, image)
    frozen, _ = finished(pipeline, image, aligned=False)
    for name in ("aligned", "conditional"):
        hook = model.stage(name).denoiser.register_forward_pre_hook(lambda _, given: times.append(float(given[1])))
        pipeline.answer(part if name == "aligned" else frozen, pose, WINDOW, aligned=name == "aligned")
        hook.remove()
    assert times == pytest.approx([1.0, 0.5, 0.02, 0.01])


def test_noise_follows_from_the_place_and_the_temperature(model: RadioModel, image: Tensor, pose: PosePart) -> None:
    cold, warm = FluxPipeline(model), FluxPipeline(model, temperature=1.0)
    part, _ = finished(cold, image)

    def full(pipeline: FluxPipeline, window: tuple[int, int]) -> Tensor:
        return pipeline.full(image, pose, window, steps=3)

    assert torch.equal(full(cold, WINDOW), full(cold, (0, 0))), "no noise, no place"
    assert torch.equal(full(warm, WINDOW), full(warm, WINDOW))
    assert not torch.allclose(full(warm, WINDOW), full(warm, (0, 0)), atol=1e-2)
    moved = warm.answer(part, pose, WINDOW) - warm.answer(part, pose, (0, 0))
    assert moved.abs().max() > 1e-4, "the second stage has noise of its own"


def test_a_ratio_that_leaves_no_whole_steps_is_refused(model: RadioModel) -> None:
    with pytest.raises(SettingError, match=r"reuse_ratio: reuse ratio 0\.985 of 100 steps"):
        FluxPipeline(model, reuse_ratio=0.985)


def test_a_latent_of_the_map_itself_needs_no_base(image: Tensor, pose: PosePart) -> None:
    pipeline = FluxPipeline(random_model(target="map"))
    part, _ = finished(pipeline, image)
    shifted = PosePart(pose.dynamics, pose.base + 0.2, pose.free)
    assert torch.equal(pipeline.answer(part, pose, WINDOW), pipeline.answer(part, shifted, WINDOW))


def test_on_a_gpu_encoders_run_in_bfloat16_and_weights_are_cast_once(
    image: Tensor, pose: PosePart, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shown on a CPU: whatever is computed is within an autocast, all last steps within one."""
    model = random_model(steps=4, reuse_ratio=0.5)  # a CPU may lack the instructions
    regions: list[str] = []

    @contextmanager
    def bfloat16(_: torch.device) -> Iterator[None]:
        if not torch.is_autocast_enabled("cpu"):
            regions.append("region")
        with torch.autocast("cpu", torch.bfloat16):
            yield

    monkeypatch.setattr("rdflux_ros.flux.pipeline.autocast", bfloat16)
    pipeline = FluxPipeline(model, reuse_ratio=0.5, static_steps=2)
    encoders = [module for module in model.modules() if isinstance(module, ConditionSource)]
    hooks = [e.register_forward_hook(lambda *call: regions.append(str(call[2].stem.dtype))) for e in encoders]
    found = finished(pipeline, image)[0]
    assert regions == ["region", "torch.bfloat16"] * 2 + ["region"] * 2, "two encodings, two steps"
    regions.clear()
    pipeline.answer(found, pose, WINDOW)
    assert regions == ["region", "torch.bfloat16", "region"]
    regions.clear()
    pipeline.full(image, pose, WINDOW)
    assert regions == ["region", "torch.bfloat16", "torch.bfloat16", "region"]
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_bfloat16_moves_the_shipped_models_answer_by_less_than_half_a_decibel(device: str) -> None:
    """A GPU computes in it; what it does to a map shows on a CPU too."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    sample = RadioMapSeer(STREETS, "val")[0]

    def answer(device: str, bfloat16: bool) -> NDArray[np.float32]:
        loaded = load_model(SHIPPED, torch.device(device))
        assert loaded is not None
        bench = Workbench(device, loaded=loaded, flux=FluxPipeline(loaded.model))
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            return bench.answer("aligned", sample)[0]

    moved_db = GREY_SPAN_DB * np.abs(answer(device, True) - answer("cpu", False))
    assert 0.0 < moved_db.max() < 0.5
