"""Midpoints belong to streets: those of training and validation are told apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rdflux_ros.model.tiny import random_model
from rdflux_ros.training.cache import PhysicsCache
from rdflux_ros.training.denoiser import Latents, StartingNoise, StreetMidpoints
from rdflux_ros.training.samples import Maps, Samples


@pytest.mark.parametrize("kind", [StreetMidpoints, StartingNoise])
def test_scenes_of_equal_number_have_midpoints_of_their_own(kind: type[StreetMidpoints], city: Path) -> None:
    model = random_model(temperature=1.0)

    def first(split: str) -> Maps:
        cache = PhysicsCache(city.parent / "cache", city, split, cars=False, resolutions=())
        cache.fill([0])
        return Samples(cache, [0], model.config, 0, False).maps([(0, 0)], torch.device("cpu"))

    def midpoints() -> StreetMidpoints:
        method = model.config.method
        return kind(model.stage("static"), Latents(model.autoencoder, method), method, seed=0)

    train, val, shared = first("train"), first("val"), midpoints()
    assert (train.places, val.places) == ((("a_1", 0),), (("c_3", 0),))
    of_train, of_val = shared(train), shared(val)
    assert not torch.equal(of_train, of_val)
    assert torch.equal(midpoints()(val), of_val) and torch.equal(shared(train), of_train), "whoever was first"
