"""Latents of maps: nothing is lost where nothing may be, everything has unit variance where it is calibrated."""

import sys

import pytest
import torch

from rdflux_ros.networks.autoencoder import Autoencoder, KlAutoencoder, MissingExtraError, SpaceToDepth
from rdflux_ros.networks.condition import SwinPyramid


def kl_autoencoder() -> KlAutoencoder:
    pytest.importorskip("diffusers")
    torch.manual_seed(0)
    return KlAutoencoder(width=8, multipliers=(1, 2, 2), blocks=1, latent_channels=3).eval()


@pytest.fixture(params=[SpaceToDepth, kl_autoencoder], ids=["space_to_depth", "kl"])
def autoencoder(request) -> Autoencoder:
    return request.param()


@torch.no_grad()
def test_maps_go_to_latents_of_four_metres_and_back(autoencoder):
    maps = torch.rand(1, 1, 256, 256)
    latents = autoencoder.encode(maps)
    assert latents.shape == (1, autoencoder.latent_channels, 64, 64)
    assert autoencoder.decode(latents).shape == maps.shape


@torch.no_grad()
def test_calibrated_latents_have_unit_variance_and_decode_the_same(autoencoder):
    maps = torch.rand(2, 1, 256, 256)
    before = autoencoder.decode(autoencoder.encode(maps))
    raw = autoencoder.raw_latents(maps)
    autoencoder.calibrate(raw.mean(dim=(0, 2, 3)), raw.std(dim=(0, 2, 3)))
    latents = autoencoder.encode(maps)
    assert latents.std(dim=(0, 2, 3)).allclose(torch.ones(autoencoder.latent_channels), atol=1e-3)
    assert latents.mean(dim=(0, 2, 3)).abs().max() < 1e-4
    torch.testing.assert_close(autoencoder.decode(latents), before, rtol=1e-4, atol=1e-4)
    assert set(autoencoder.state_dict()) >= {"latent_mean", "latent_std"}  # they live in the checkpoint


def test_space_to_depth_loses_nothing():
    maps = torch.randn(2, 1, 256, 256)
    codec = SpaceToDepth()
    assert torch.equal(codec.decode(codec.encode(maps)), maps)
    peak = torch.zeros(1, 1, 256, 256)
    peak[0, 0, 41, 102] = 1.0
    assert codec.encode(peak)[0, (41 % 4) * 4 + 102 % 4, 41 // 4, 102 // 4] == 1.0


def test_the_kl_autoencoder_learns_from_its_reconstruction_and_its_divergence():
    model = kl_autoencoder().train()
    maps, noise = torch.rand(1, 1, 256, 256), torch.randn(1, 3, 64, 64)
    seen, divergence = model.reconstruct(maps, noise)
    assert divergence.shape == (1,)
    assert divergence.item() > 0
    assert (seen - model.reconstruct(maps, torch.zeros_like(noise))[0]).abs().max() > 1e-4
    ((seen - maps).square().mean() + 1e-6 * divergence.mean()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan"), float("inf")])
def test_statistics_that_cannot_scale_are_refused(std):
    with pytest.raises(ValueError, match="latent statistics"):
        SpaceToDepth().calibrate(torch.zeros(16), torch.full((16,), std))


def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"diffusers.*rdflux_ros\[papers\]"):
        KlAutoencoder(width=8, multipliers=(1, 2, 2), blocks=1, latent_channels=3)
    with pytest.raises(MissingExtraError, match=r"transformers.*rdflux_ros\[papers\]"):
        SwinPyramid(2, (8, 8, 8, 8), embedding=8, depths=(1, 1, 1, 1), heads=(1, 2, 2, 2), window=7)
