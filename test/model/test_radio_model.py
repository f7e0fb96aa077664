"""The presets as networks: their size, and that they learn."""

import resource

import pytest
import torch

from rdflux_ros.diffusion import ddm
from rdflux_ros.model.config import COMPACT, PAPER
from rdflux_ros.model.radio_model import RadioModel, build_autoencoder, build_stage, parameters
from rdflux_ros.networks.denoiser import Stage


def loss(stage: Stage, channels: int) -> torch.Tensor:
    """Of one map: the same at each call."""
    torch.manual_seed(0)
    z_0, noise, t = torch.randn(1, channels, 64, 64), torch.randn(1, channels, 64, 64), torch.tensor([0.3])
    images = torch.rand(1, 2, 256, 256), torch.rand(1, 12, 256, 256)
    target = ddm.velocity(z_0, noise, t)
    first, second = stage(ddm.forward(z_0, noise, t), t, *images)
    return (first - target).square().mean() + (second - target).square().mean()


def descend(module: torch.nn.Module, error: torch.Tensor) -> None:
    """One training step, in the least memory; every weight must have a gradient."""
    error.backward()
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in weights)
    torch.optim.SGD(weights, lr=1e-2).step()


def test_the_shipped_size_is_what_two_cores_can_bear():
    model = RadioModel(COMPACT)
    assert list(model.stages) == ["conditional", "static", "aligned"]
    assert model.stage("static").dynamics is None
    assert 4e6 < parameters(model.stage("conditional")) < 6e6
    assert 4 * parameters(model) <= 64e6  # bytes of all that ships
    stage = model.stage("conditional")
    before = loss(stage, 16)
    descend(stage, before)
    with torch.no_grad():
        assert loss(stage, 16) < before


def test_a_stage_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"stage 'dynamic'.*conditional, static, aligned"):
        RadioModel(COMPACT, ["dynamic"])


@pytest.mark.timeout(180)
def test_the_papers_size_builds_and_takes_a_training_step(capsys):
    pytest.importorskip("transformers")
    pytest.importorskip("diffusers")
    stage = build_stage(PAPER, streets_only=False)
    autoencoder = build_autoencoder(PAPER.autoencoder)
    counts = {
        "Swin-B encoder": parameters(stage.streets.encoder),
        "denoiser": parameters(stage.denoiser),
        "stage": parameters(stage),
        "autoencoder": parameters(autoencoder),
    }
    with capsys.disabled():
        print("\n" + ", ".join(f"{part} {count / 1e6:.1f} M" for part, count in counts.items()))
    assert 86e6 < counts["Swin-B encoder"] < 90e6  # Swin-B without its classifier has 87 M
    assert 50e6 < counts["autoencoder"] < 60e6
    descend(stage, loss(stage, 3))
    maps, noise = torch.rand(1, 1, 128, 128), torch.randn(1, 3, 32, 32)  # a quarter of a map costs a quarter
    seen, divergence = autoencoder.reconstruct(maps, noise)
    descend(autoencoder, (seen - maps).square().mean() + 1e-6 * divergence.mean())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 8 * 2**20  # KiB
