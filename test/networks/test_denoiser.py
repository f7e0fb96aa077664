"""The denoiser and what it is told, on a size that tests can afford."""

import pytest
import torch

from rdflux_ros.networks.blocks import sinusoids
from rdflux_ros.networks.condition import ConditionSource, ConvolutionalPyramid, SwinPyramid
from rdflux_ros.networks.denoiser import Denoiser, FourierEmbedding, Stage
from rdflux_ros.networks.spectral import AdaptiveFourier

WIDTHS = (8, 8, 16, 16)
STREETS, DYNAMICS = 2, 5


def stage(*, streets_only: bool = False, decoders: int = 1, fine_width: int = 8, encoder=None) -> Stage:
    torch.manual_seed(0)

    def source(channels: int, fine: int) -> ConditionSource:
        made = encoder(channels) if encoder else ConvolutionalPyramid(channels, WIDTHS, blocks=1)
        return ConditionSource(made, channels, widths=WIDTHS, levels=(2, 3), heads=2, fine_width=fine)

    denoiser = Denoiser(16, widths=WIDTHS, blocks=1, levels=(2, 3), heads=2, decoders=decoders, fine_width=fine_width)
    return awake(Stage(denoiser, source(STREETS, 0), None if streets_only else source(DYNAMICS, fine_width)).eval())


def awake(network: Stage) -> Stage:
    """Branches that start silent get something to say."""
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
    return network


def inputs(batch: int = 1) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    return (
        torch.randn(batch, 16, 64, 64),
        torch.linspace(0.02, 0.9, batch),
        torch.rand(batch, STREETS, 256, 256),
        torch.rand(batch, DYNAMICS, 256, 256),
    )


def far(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() > 1e-4)


@torch.no_grad()
def test_one_decoder_gives_one_output_and_two_give_two():
    z, t, streets, dynamics = inputs(2)
    first, second = stage()(z, t, streets, dynamics)
    assert first.shape == z.shape
    assert second is first
    first, second = stage(decoders=2)(z, t, streets, dynamics)
    assert far(first, second)


@torch.no_grad()
def test_everything_it_is_told_matters():
    network = stage()
    z, t, streets, dynamics = inputs()
    output = network(z, t, streets, dynamics)[0]
    assert far(network(z, t + 0.1, streets, dynamics)[0], output)
    assert far(network(z, t, 1 - streets, dynamics)[0], output)
    assert far(network(z, t, streets, 1 - dynamics)[0], output)
    assert far(network(z, t, streets)[0], output)


@torch.no_grad()
@pytest.mark.parametrize("part", ["stem", "keys", "values", "fine"])
def test_each_part_of_a_condition_reaches_the_output(part):
    network = stage()
    z, t, streets, dynamics = inputs()
    told = network.condition(network.streets(streets), dynamics)
    output = network.denoiser(z, t, told)[0]
    value = getattr(told, part)
    changed = tuple(-tensor for tensor in value) if isinstance(value, tuple) else -value
    assert far(network.denoiser(z, t, type(told)(**{**vars(told), part: changed}))[0], output)


@torch.no_grad()
def test_a_kept_streets_part_gives_the_same_without_its_encoder():
    network = stage()
    z, t, streets, dynamics = inputs()
    kept = network.streets(streets)
    expected = network(z, t, streets, dynamics)[0]
    network.streets.register_forward_hook(lambda *_: pytest.fail("encoded again"))
    assert torch.equal(network.denoiser(z, t, network.condition(kept, dynamics))[0], expected)


@torch.no_grad()
def test_one_region_serves_a_batch_of_transmitters():
    network = stage()
    z, t, streets, dynamics = inputs(3)
    batch = network.denoiser(z, t, network.condition(network.streets(streets[:1]), dynamics))[0]
    for k in range(3):
        alone = network(z[k : k + 1], t[k : k + 1], streets[:1], dynamics[k : k + 1])[0]
        torch.testing.assert_close(batch[k : k + 1], alone, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_first_stage_starts_from_a_full_one_and_says_what_that_says_of_the_streets():
    full, first = stage(), stage(streets_only=True)
    weights = full.state_dict()
    first.load_state_dict({name: weights[name] for name in first.state_dict()})
    z, t, streets, dynamics = inputs()
    assert torch.equal(first(z, t, streets)[0], full(z, t, streets)[0])
    with pytest.raises(ValueError, match="streets only"):
        first(z, t, streets, dynamics)


def test_every_weight_learns():
    network = stage(decoders=2).train()
    z, t, streets, dynamics = inputs(2)
    first, second = network(z, t, streets, dynamics)
    (first.square().mean() + second.square().mean()).backward()
    silent = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert silent == []


@torch.no_grad()
def test_half_a_kept_condition_costs_little():
    network = stage()
    z, t, streets, dynamics = inputs()
    exact = network(z, t, streets, dynamics)[0]
    kept = network.streets(streets).to(torch.float16).to(torch.float32)
    rounded = network.denoiser(z, t, network.condition(kept, dynamics))[0]
    assert 0 < (rounded - exact).abs().max() < 5e-3 * exact.abs().max()


@torch.no_grad()
def test_channels_last_gives_the_same():
    z, t, streets, dynamics = inputs()
    expected = stage()(z, t, streets, dynamics)[0]
    fast = stage().to(memory_format=torch.channels_last)
    torch.testing.assert_close(fast(z, t, streets, dynamics)[0], expected, rtol=1e-4, atol=1e-4)


def test_a_full_resolution_path_needs_latents_that_are_cells():
    with pytest.raises(ValueError, match="16 latent channels, not 3"):
        Denoiser(3, widths=WIDTHS, blocks=1, levels=(3,), heads=2, decoders=1, fine_width=8)


@torch.no_grad()
def test_swin_serves_where_the_pyramid_does():
    pytest.importorskip("transformers")

    def swin(channels: int) -> SwinPyramid:
        return SwinPyramid(channels, WIDTHS, embedding=8, depths=(1, 1, 1, 1), heads=(1, 2, 2, 2), window=7)

    _, _, streets, _ = inputs()
    mine, theirs = swin(STREETS)(streets), ConvolutionalPyramid(STREETS, WIDTHS, blocks=0)(streets)
    assert [level.shape for level in mine] == [level.shape for level in theirs]
    network = stage(encoder=swin)
    z, t, streets, dynamics = inputs()
    assert network(z, t, streets, dynamics)[0].shape == z.shape


@torch.no_grad()
def test_the_fourier_transform_scales_each_frequency():
    layer = AdaptiveFourier(3, 8)
    layer.weight.zero_()
    z = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(layer(z), z)
    layer.weight[0, 1] = 1.0  # real part of w, second channel: its z doubles
    torch.testing.assert_close(layer(z), z * torch.tensor([1.0, 2.0, 1.0]).view(1, 3, 1, 1))
    layer.weight.zero_()
    layer.weight[0, 0, 0, 0] = 1.0  # the mean only
    expected = z.clone()
    expected[:, 0] += z[:, 0].mean(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(layer(z), expected)


def test_times_that_flux_needs_are_told_apart():
    embedding = FourierEmbedding(32)
    t = torch.tensor([1.0, 0.5, 0.03, 0.02, 0.01, 1e-4])
    phase = t.log()[:, None] / 4 * embedding.rates
    waves = torch.cat([phase.sin(), phase.cos()], dim=1)
    assert torch.pdist(waves).min() > 0.5


def test_places_are_told_apart_and_agree_between_levels():
    fine, coarse = sinusoids(16, 64), sinusoids(8, 64)
    assert torch.pdist(fine).min() > 0.1
    nearest = torch.cdist(coarse, fine).argmin(dim=1)
    rows, columns = nearest // 16, nearest % 16
    expected = torch.arange(64)
    assert ((rows // 2 == expected // 8) & (columns // 2 == expected % 8)).all()
