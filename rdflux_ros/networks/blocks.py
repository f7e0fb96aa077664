"""What encoders and denoiser are built of."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

GROUPS = 8
"""Groups of every normalisation; widths are multiples of it."""


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around a skip; the time's embedding, if any, scales and shifts between them.

    Parameters
    ----------
    embedding
        Channels of the embedding, 0 where there is none.
    """

    def __init__(self, inputs: int, outputs: int, embedding: int = 0) -> None:
        super().__init__()
        self.norm_1 = nn.GroupNorm(GROUPS, inputs)
        self.conv_1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.modulation = zeroed(nn.Linear(embedding, 2 * outputs)) if embedding else None
        self.norm_2 = nn.GroupNorm(GROUPS, outputs)
        self.conv_2 = zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """Features [B, outputs, H, W] from [B, inputs, H, W] and the embedding [B, `embedding`]."""
        h = self.norm_2(self.conv_1(silu(self.norm_1(x))))
        if self.modulation is not None:
            h = modulated(h, self.modulation(embedding))
        return self.skip(x) + self.conv_2(silu(h))


class ResidualBlocks(nn.ModuleList):
    """Residual blocks one after the other, all told the same time."""

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        for block in self:
            h = block(h, embedding)
        return h


class KeysValues(nn.Module):
    """Projections of condition features [B, features, size, size] to keys and values [B, heads, tokens, channels]."""

    place: Tensor

    def __init__(self, features: int, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.register_buffer("place", sinusoids(size, features), persistent=False)
        self.heads = heads
        self.norm = nn.GroupNorm(GROUPS, features)
        self.keys = nn.Linear(features, width, bias=False)
        self.values = nn.Linear(features, width, bias=False)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.norm(features).flatten(2).transpose(1, 2)
        return _by_head(self.keys(tokens + self.place), self.heads), _by_head(self.values(tokens), self.heads)


class CrossAttention(nn.Module):
    """Image features [B, width, size, size] look up the condition, which is key and value (R eq. 17-19)."""

    place: Tensor

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.register_buffer("place", sinusoids(size, width), persistent=False)
        self.heads = heads
        self.norm = nn.GroupNorm(GROUPS, width)
        self.query = nn.Linear(width, width, bias=False)
        self.output = zeroed(nn.Linear(width, width))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The features with what they found added."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        query = _by_head(self.query(tokens + self.place), self.heads)
        found = scaled_dot_product_attention(query, keys, values)
        return x + self.output(found.transpose(1, 2).flatten(2)).transpose(1, 2).reshape(x.shape)


def modulated(h: Tensor, modulation: Tensor) -> Tensor:
    """Features [B, C, H, W] scaled by one more than, and shifted by, the halves of a modulation [B, 2 C]."""
    scale, shift = modulation[:, :, None, None].chunk(2, dim=1)
    return torch.addcmul(shift, h, 1 + scale)


def zeroed(module: nn.Module) -> nn.Module:
    """The module with all weights 0: a branch that starts silent."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def sinusoids(size: int, channels: int) -> Tensor:
    """Where each of size x size tokens lies, [size², channels]: sines and cosines of row and column.

    Periods are parts of the window's edge, so that levels of different size agree. `channels` is a multiple of 4.
    """
    rates = math.pi * 2.0 ** torch.linspace(0, 5, channels // 4)
    phase = ((torch.arange(size) + 0.5) / size)[:, None] * rates
    waves = torch.cat([phase.sin(), phase.cos()], dim=1)
    rows, columns = waves[:, None].expand(size, size, -1), waves[None].expand(size, size, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)


def _by_head(tokens: Tensor, heads: int) -> Tensor:
    return tokens.unflatten(2, (heads, -1)).transpose(1, 2)
