"""What a denoiser is told: condition encoders behind one interface, and their contributions made once per condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rdflux_ros.networks.autoencoder import MissingExtraError
from rdflux_ros.networks.blocks import KeysValues, ResidualBlock
from rdflux_ros.radio.grid import WINDOW_M

STRIDES = (4, 8, 16, 32)
"""Edge of a feature in cells, by level."""
Pyramid = tuple[Tensor, ...]
"""Features [B, widths[l], 256 / STRIDES[l], 256 / STRIDES[l]] by level."""


class ConditionEncoder(nn.Module):
    """Images [B, channels, 256, 256] to a `Pyramid`.

    Parameters
    ----------
    widths
        Channels of the features by level.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)


class ConvolutionalPyramid(ConditionEncoder):
    """The small encoder: residual blocks over 4 x 4 patches, halved from level to level."""

    def __init__(self, channels: int, widths: Sequence[int], blocks: int) -> None:
        super().__init__(widths)
        self.levels = nn.ModuleList()
        for level, width in enumerate(self.widths):
            inputs, stride = (channels, STRIDES[0]) if level == 0 else (self.widths[level - 1], 2)
            shrink = nn.Conv2d(inputs, width, stride, stride)
            self.levels.append(nn.Sequential(shrink, *(ResidualBlock(width, width) for _ in range(blocks))))

    def forward(self, image: Tensor) -> Pyramid:
        features = []
        for level in self.levels:
            image = level(image)
            features.append(image)
        return tuple(features)


class SwinPyramid(ConditionEncoder):
    """The papers' encoder (transformers' `SwinBackbone`): four stages, each through a 1 x 1 convolution.

    Patches are embedded by 3 x 3 convolutions as in F. F takes Swin-B (embedding 128, depths 2-2-18-2, window 7).

    Raises
    ------
    MissingExtraError
        transformers is not installed.
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        *,
        embedding: int,
        depths: Sequence[int],
        heads: Sequence[int],
        window: int,
    ) -> None:
        super().__init__(widths)
        self.patches = nn.Sequential(
            nn.Conv2d(channels, embedding // 2, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(embedding // 2, embedding, 3, stride=2, padding=1),
        )
        self.backbone = _swin(
            image_size=WINDOW_M // STRIDES[0],
            num_channels=embedding,
            patch_size=1,  # the patches are embedded already
            embed_dim=embedding,
            depths=list(depths),
            num_heads=list(heads),
            window_size=window,
            out_features=[f"stage{k + 1}" for k in range(len(STRIDES))],
        )
        for name, parameter in self.backbone.named_parameters():
            if name.endswith(("swin.layernorm.weight", "swin.layernorm.bias")):
                parameter.requires_grad_(False)  # of a head that the backbone lacks: no gradient may be waited for
        self.outputs = nn.ModuleList(nn.Conv2d(embedding * 2**k, width, 1) for k, width in enumerate(self.widths))

    def forward(self, image: Tensor) -> Pyramid:
        stages = self.backbone(self.patches(image)).feature_maps
        return tuple(output(stage) for output, stage in zip(self.outputs, stages, strict=True))


@dataclass(frozen=True)
class Condition:
    """All that a condition contributes to a denoiser's steps, computed once for all of them.

    What the streets give is kept with their midpoint; what a pose adds is merged into it. Keys and values are those
    that D_env compares (F eq. 16).
    """

    stem: Tensor
    """[B, width, 64, 64], added to the projected latents."""
    keys: tuple[Tensor, ...]
    """[B, heads, tokens, channels] by attending level."""
    values: tuple[Tensor, ...]
    """As `keys`."""
    fine: Tensor | None = None
    """[B, fine width, 256, 256], added on the full-resolution path."""

    def merged(self, other: Condition) -> Condition:
        """Both at once; a batch of one is shared by all of the other's."""
        fine = other.fine if self.fine is None else self.fine if other.fine is None else self.fine + other.fine
        return Condition(
            self.stem + other.stem,
            tuple(_joined(mine, theirs) for mine, theirs in zip(self.keys, other.keys, strict=True)),
            tuple(_joined(mine, theirs) for mine, theirs in zip(self.values, other.values, strict=True)),
            fine,
        )

    @staticmethod
    def joined(parts: Sequence[Condition]) -> Condition:
        """One batch of several."""
        keys = [torch.cat(level) for level in zip(*(part.keys for part in parts), strict=True)]
        values = [torch.cat(level) for level in zip(*(part.values for part in parts), strict=True)]
        fine = [part.fine for part in parts if part.fine is not None]
        return Condition(
            torch.cat([part.stem for part in parts]), tuple(keys), tuple(values), torch.cat(fine) if fine else None
        )

    @property
    def nbytes(self) -> int:
        """Memory of all tensors."""
        fine = [] if self.fine is None else [self.fine]
        return sum(tensor.nbytes for tensor in (self.stem, *self.keys, *self.values, *fine))

    def to(self, target: torch.dtype | torch.device | str) -> Condition:
        """The condition in another dtype or on another device."""
        keys, values = (tuple(tensor.to(target) for tensor in tensors) for tensors in (self.keys, self.values))
        return Condition(self.stem.to(target), keys, values, None if self.fine is None else self.fine.to(target))


class ConditionSource(nn.Module):
    """One image of the world to what it contributes to a denoiser.

    Parameters
    ----------
    encoder
        Of the image.
    channels
        Of the image.
    widths, levels, heads
        The denoiser's features, the levels that attend, and their heads.
    fine_width
        Channels of the denoiser's full-resolution path to contribute to; 0: none.
    """

    def __init__(
        self,
        encoder: ConditionEncoder,
        channels: int,
        *,
        widths: Sequence[int],
        levels: Sequence[int],
        heads: int,
        fine_width: int = 0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.levels = tuple(levels)
        self.stem = nn.Conv2d(encoder.widths[0], widths[0], 1)
        self.keys_values = nn.ModuleList(
            KeysValues(encoder.widths[level], widths[level], heads, WINDOW_M // STRIDES[level]) for level in levels
        )
        self.fine = nn.Conv2d(channels, fine_width, 3, padding=1) if fine_width else None

    def forward(self, image: Tensor) -> Condition:
        """The contribution of an image [B, channels, 256, 256]."""
        features = self.encoder(image)
        pairs = [project(features[level]) for project, level in zip(self.keys_values, self.levels, strict=True)]
        keys, values = (tuple(pair[k] for pair in pairs) for k in (0, 1))
        return Condition(self.stem(features[0]), keys, values, None if self.fine is None else self.fine(image))


def _joined(mine: Tensor, theirs: Tensor) -> Tensor:
    """Tokens of both, [B, heads, tokens, channels]; a batch of one is repeated."""
    batch = max(len(mine), len(theirs))
    return torch.cat([mine.expand(batch, -1, -1, -1), theirs.expand(batch, -1, -1, -1)], dim=2)


def _swin(**arguments: Any) -> Any:
    try:
        from transformers import SwinBackbone, SwinConfig
    except ImportError as error:
        raise MissingExtraError("the Swin encoder needs transformers: pip install 'rdflux_ros[papers]'") from error
    return SwinBackbone(SwinConfig(**arguments))
