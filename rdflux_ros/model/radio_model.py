"""The networks of a model, made from its config."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from rdflux_ros.model.config import AutoencoderConfig, EncoderConfig, ModelConfig
from rdflux_ros.networks.autoencoder import Autoencoder, KlAutoencoder, SpaceToDepth
from rdflux_ros.networks.condition import ConditionEncoder, ConditionSource, ConvolutionalPyramid, SwinPyramid
from rdflux_ros.networks.denoiser import Denoiser, Stage

STAGES = ("conditional", "static", "aligned")
"""The full chain (stage 2 as the papers have it), stage 1, and stage 2 trained on real midpoints."""


class RadioModel(nn.Module):
    """Autoencoder and stages of one config; a file may hold only some of the stages.

    Parameters
    ----------
    stages
        Names out of `STAGES`.
    """

    def __init__(self, config: ModelConfig, stages: Iterable[str] = STAGES) -> None:
        super().__init__()
        self.config = config
        self.autoencoder = build_autoencoder(config.autoencoder)
        self.stages = nn.ModuleDict()
        for name in stages:
            if name not in STAGES:
                raise ValueError(f"stage {name!r}: must be one of {', '.join(STAGES)}")
            self.stages[name] = build_stage(config, streets_only=name == "static")

    def stage(self, name: str) -> Stage:
        """A stage by name; `KeyError` where this model has none of that name."""
        stage = self.stages[name]
        assert isinstance(stage, Stage)
        return stage


def build_autoencoder(config: AutoencoderConfig) -> Autoencoder:
    """The autoencoder of a config, untrained; `MissingExtraError` where its library is not installed."""
    if config.kind == "space_to_depth":
        return SpaceToDepth()
    return KlAutoencoder(config.width, config.multipliers, config.blocks, config.latents)


def build_stage(config: ModelConfig, *, streets_only: bool) -> Stage:
    """A stage of a config, untrained; the first stage is told of the streets only."""
    settings = config.denoiser
    denoiser = Denoiser(
        config.autoencoder.latent_channels,
        widths=settings.widths,
        blocks=settings.blocks,
        levels=settings.attention_levels,
        heads=settings.heads,
        decoders=settings.decoders,
        fine_width=settings.fine_width,
    )
    streets = _source(config, config.streets)
    dynamics = None if streets_only else _source(config, config.dynamics)
    return Stage(denoiser, streets, dynamics)


def parameters(module: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _source(config: ModelConfig, encoder: EncoderConfig) -> ConditionSource:
    return ConditionSource(
        _encoder(encoder),
        encoder.channels,
        widths=config.denoiser.widths,
        levels=config.denoiser.attention_levels,
        heads=config.denoiser.heads,
        fine_width=config.denoiser.fine_width,
    )


def _encoder(config: EncoderConfig) -> ConditionEncoder:
    if config.kind == "conv":
        return ConvolutionalPyramid(config.channels, config.widths, config.blocks)
    return SwinPyramid(
        config.channels,
        config.widths,
        embedding=config.swin_embedding,
        depths=config.swin_depths,
        heads=config.swin_heads,
        window=config.swin_window,
    )
