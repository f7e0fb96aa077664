"""What the chain is taught: noised truth, and the states that it comes to itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_city import TINY

from rdflux_ros.model.config import model_config
from rdflux_ros.model.radio_model import RadioModel
from rdflux_ros.training.cache import PhysicsCache
from rdflux_ros.training.config import TrainingConfig
from rdflux_ros.training.denoiser import Chain, Latents
from rdflux_ros.training.losses import map_nmse
from rdflux_ros.training.samples import Maps, Samples


@pytest.fixture(scope="module")
def maps(city: Path) -> Maps:
    """Both maps of the validation scene."""
    cache = PhysicsCache(city.parent / "cache", city, "val", cars=False, resolutions=())
    cache.fill(range(2))
    samples = Samples(cache, range(2), model_config(TINY["model"]), seed=0, augment=False)
    return samples.maps([(0, 0), (1, 0)], torch.device("cpu"))


def chain(what: str, maps: Maps, **training: float) -> tuple[Chain, Latents]:
    """The objective of an untrained stage, whose estimate of z_0 is (1 - t) z_t / v: 0 on its own way from z_1 = 0."""
    torch.manual_seed(0)
    model = RadioModel(model_config(TINY["model"]), [what])
    latents = Latents(model.autoencoder, model.config.method)
    latents.calibrate([maps])
    return Chain(model.stage(what), latents, model.config.method, TrainingConfig(**training)), latents  # type: ignore[arg-type]


def loss(objective: Chain, maps: Maps, seed: int) -> float:
    return float(objective.loss(objective.network, maps, torch.Generator().manual_seed(seed)).detach())


def test_visited_states_hold_nothing_of_the_truth(maps: Maps) -> None:
    """Untrained, the chain stays at 0 whatever the time: its loss is the zero latent's, the map's NMSE included."""
    objective, latents = chain("conditional", maps, visited_share=1.0, map_weight=20.0)
    z_0 = latents.encoded(maps)
    nmse = map_nmse(latents.decoded(torch.zeros_like(z_0), maps), maps.truth, maps.free).mean()
    expected = float(2 * z_0.square().mean() + 20.0 * nmse)
    for seed in range(3):
        assert loss(objective, maps, seed) == pytest.approx(expected, rel=1e-4)


def test_a_map_without_energy_does_not_spoil_the_step(maps: Maps) -> None:
    silent = replace(maps, truth=maps.truth * torch.tensor([0.0, 1.0]).view(2, 1, 1, 1))
    objective, _ = chain("conditional", silent, visited_share=1.0, map_weight=20.0)
    objective.loss(objective.network, silent, torch.Generator().manual_seed(0)).backward()
    gradients = [parameter.grad for parameter in objective.network.parameters() if parameter.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)


def test_the_first_stage_answers_no_map(maps: Maps) -> None:
    objective, latents = chain("static", maps, visited_share=1.0, map_weight=20.0)
    assert loss(objective, maps, 0) == pytest.approx(float(2 * latents.encoded(maps).square().mean()), rel=1e-4)


def test_the_share_of_steps_is_the_configs(maps: Maps) -> None:
    """At λ2 alone the visited states, which have no true ε, cost nothing; noised truth does."""
    objective, _ = chain("static", maps, visited_share=0.4, drift_weight=0.0, jump_weight=0.0)
    losses = [loss(objective, maps, seed) for seed in range(100)]
    assert 25 <= sum(found == 0.0 for found in losses) <= 55
    assert all(found == 0.0 or found > 1e-3 for found in losses)
