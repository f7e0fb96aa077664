"""What a model is: typed, documented sections; anything unknown or out of bounds is refused by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rdflux_ros.diffusion.schedule import reused_steps
from rdflux_ros.settings import SettingError, checked_instance, from_mapping, setting

LEVELS = 4
"""Levels of encoders and denoiser: features of 4, 8, 16 and 32 m."""
MULTIPLE = 8
"""Widths are multiples of it."""


def _counts(section: Any, name: str, *, length: int) -> None:
    values = getattr(section, name)
    if len(values) != length or not all(type(value) is int and value > 0 for value in values):
        raise SettingError(f"{name} = {values!r}: must be {length} positive whole numbers")


def _multiples(section: Any, name: str) -> None:
    values = getattr(section, name)
    if any(value % MULTIPLE for value in (values if isinstance(values, tuple) else (values,))):
        raise SettingError(f"{name} = {values!r}: must be multiples of {MULTIPLE}")


@dataclass(frozen=True)
class MethodConfig:
    """What is denoised, and in which steps."""

    target: str = setting(
        "residual",
        "what a latent is of: the map, or what the map adds to the physics layer",
        choices=("map", "residual"),
    )
    steps: int = setting(100, "steps of the full chain (T)", minimum=1, maximum=1000)
    reuse_ratio: float = setting(0.98, "share of the chain that the midpoint spares (R)", minimum=0.0, maximum=0.999)
    static_steps: int = setting(10, "steps of the first stage as shipped; 0: the paper's R T", minimum=0, maximum=1000)
    temperature: float = setting(
        0.0,
        "scale of all noise in sampling: 1 draws a map from what the condition leaves open, 0 goes to its mean, which "
        "has half of the squared error",
        minimum=0.0,
        maximum=1.0,
    )
    seed: int = setting(0, "of all noise", minimum=0)
    lowest_z_m: float = setting(5.0, "lowest transmitter in training, above ground [m]", minimum=0.0)
    highest_z_m: float = setting(120.0, "highest transmitter in training, above ground [m]", minimum=0.0)

    def __post_init__(self) -> None:
        checked_instance(self)
        try:
            reused_steps(self.steps, self.reuse_ratio)
        except ValueError as error:
            raise SettingError(f"reuse_ratio: {error}") from error
        if self.lowest_z_m >= self.highest_z_m:
            raise SettingError(f"lowest_z_m = {self.lowest_z_m:g}: must be below highest_z_m = {self.highest_z_m:g}")


@dataclass(frozen=True)
class AutoencoderConfig:
    """How a map becomes a latent; all but `kind` are the KL autoencoder's."""

    kind: str = setting("space_to_depth", "lossless, or the papers' autoencoder", choices=("space_to_depth", "kl"))
    width: int = setting(128, "channels of the first level", minimum=MULTIPLE)
    multipliers: tuple[int, ...] = setting((1, 2, 4), "channels of each level in widths")
    blocks: int = setting(2, "residual blocks per level", minimum=1, maximum=8)
    latents: int = setting(3, "channels of a latent", minimum=1, maximum=64)

    def __post_init__(self) -> None:
        checked_instance(self)
        _counts(self, "multipliers", length=3)
        _multiples(self, "width")

    @property
    def latent_channels(self) -> int:
        """Channels of a latent of either kind."""
        return 16 if self.kind == "space_to_depth" else self.latents


@dataclass(frozen=True)
class EncoderConfig:
    """How a condition image becomes features."""

    kind: str = setting("conv", "small convolutional pyramid, or the papers' Swin", choices=("conv", "swin"))
    channels: int = setting(2, "of the image", minimum=1, maximum=64)
    widths: tuple[int, ...] = setting((32, 48, 64, 96), "channels of the features of 4, 8, 16 and 32 m")
    blocks: int = setting(1, "residual blocks per level of a pyramid", minimum=0, maximum=8)
    swin_embedding: int = setting(128, "channels of Swin's first stage", minimum=MULTIPLE)
    swin_depths: tuple[int, ...] = setting((2, 2, 18, 2), "blocks of Swin's stages")
    swin_heads: tuple[int, ...] = setting((4, 8, 16, 32), "attention heads of Swin's stages")
    swin_window: int = setting(7, "edge of Swin's attention windows", minimum=2, maximum=64)

    def __post_init__(self) -> None:
        checked_instance(self)
        for name in ("widths", "swin_depths", "swin_heads"):
            _counts(self, name, length=LEVELS)
        _multiples(self, "widths")
        for level, heads in enumerate(self.swin_heads):
            if self.swin_embedding * 2**level % heads:
                raise SettingError(f"swin_heads = {self.swin_heads}: must divide swin_embedding at each stage")


@dataclass(frozen=True)
class DenoiserConfig:
    """The U-Net over the latents."""

    widths: tuple[int, ...] = setting((32, 64, 128, 192), "channels of the features of 4, 8, 16 and 32 m")
    blocks: int = setting(1, "residual blocks per level, down and up", minimum=1, maximum=8)
    attention_levels: tuple[int, ...] = setting((2, 3), "levels (0 to 3) that look up the condition")
    heads: int = setting(4, "of each attention", minimum=1, maximum=64)
    decoders: int = setting(1, "one for both outputs, or the papers' two", minimum=1, maximum=2)
    fine_width: int = setting(16, "channels of the full-resolution path; 0: none", minimum=0, maximum=256)

    def __post_init__(self) -> None:
        checked_instance(self)
        _counts(self, "widths", length=LEVELS)
        _multiples(self, "widths")
        levels = self.attention_levels
        fit = levels and all(type(level) is int and 0 <= level < LEVELS for level in levels)
        if not fit or list(levels) != sorted({*levels}):
            raise SettingError(
                f"attention_levels = {levels!r}: must be rising levels from 0 to {LEVELS - 1}, one at least"
            )
        if any(self.widths[level] % self.heads for level in levels):
            raise SettingError(f"heads = {self.heads}: must divide widths = {self.widths} at the attending levels")


@dataclass(frozen=True)
class ModelConfig:
    """A model: what it denoises, in which latents, told what, by which network."""

    method: MethodConfig = field(default_factory=MethodConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    streets: EncoderConfig = field(default_factory=EncoderConfig)
    dynamics: EncoderConfig = field(default_factory=lambda: EncoderConfig(channels=12))
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)

    def __post_init__(self) -> None:
        if self.denoiser.fine_width and self.autoencoder.kind != "space_to_depth":
            raise SettingError("denoiser.fine_width: must be 0 unless autoencoder.kind is 'space_to_depth'")

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Plain sections that `model_config` takes back, from JSON or YAML too."""
        return dataclasses.asdict(self)


COMPACT = ModelConfig()
"""The shipped size: for two CPU cores."""
PAPER = ModelConfig(
    method=MethodConfig(target="map", static_steps=0),
    autoencoder=AutoencoderConfig(kind="kl"),
    streets=EncoderConfig(kind="swin", widths=(128, 256, 512, 512)),
    dynamics=EncoderConfig(channels=12, widths=(128, 256, 512, 512)),
    denoiser=DenoiserConfig(
        widths=(128, 256, 512, 512), blocks=2, attention_levels=(0, 1, 2, 3), heads=8, decoders=2, fine_width=0
    ),
)
"""Swin-B for the streets (F), RadioDiff's autoencoder and its U-Net's widths with two decoders (R)."""
PRESETS = {"compact": COMPACT, "paper": PAPER}


def model_config(values: Mapping[str, Any], base: ModelConfig = COMPACT) -> ModelConfig:
    """`base`, or the preset that `values` names under `preset`, with what the sections of `values` change.

    Raises
    ------
    SettingError
        A section, a setting or a preset is unknown, or a value does not fit; the message names section and key.
    """
    sections = dict(values)
    preset = sections.pop("preset", None)
    if preset is not None:
        if not isinstance(preset, str) or preset not in PRESETS:
            raise SettingError(f"preset = {preset!r}: must be one of {', '.join(PRESETS)}")
        base = PRESETS[preset]
    known = [section.name for section in dataclasses.fields(ModelConfig)]
    unknown = sorted(str(name) for name in sections if name not in known)
    if unknown:
        raise SettingError(f"unknown section {', '.join(unknown)}; known are {', '.join(known)}")
    changes = {name: _changed(name, getattr(base, name), section) for name, section in sections.items()}
    return dataclasses.replace(base, **changes)


def _changed(name: str, section: Any, values: Any) -> Any:
    """A section with other values; lists, as files have them, become tuples."""
    if not isinstance(values, Mapping):
        raise SettingError(f"{name} = {values!r}: must be a section of settings")
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    try:
        return from_mapping(type(section), {**dataclasses.asdict(section), **given})
    except SettingError as error:
        raise SettingError(f"{name}: {error}") from error
