"""The denoiser: a U-Net over 64 x 64 latents that looks up its condition, a thin full-resolution path beside it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import hardswish, interpolate, pixel_shuffle, pixel_unshuffle, silu

from rdflux_ros.networks.autoencoder import FACTOR
from rdflux_ros.networks.blocks import GROUPS, CrossAttention, ResidualBlock, ResidualBlocks, modulated, zeroed
from rdflux_ros.networks.condition import Condition, ConditionSource
from rdflux_ros.networks.spectral import AdaptiveFourier
from rdflux_ros.radio.grid import WINDOW_M

LATENT_SIZE = WINDOW_M // FACTOR


class FourierEmbedding(nn.Module):
    """Time to features: sines and cosines of log(t) / 4 at random fixed rates, mixed by two layers (as RadioDiff)."""

    rates: Tensor

    def __init__(self, width: int, scale: float = 16.0) -> None:
        super().__init__()
        self.register_buffer("rates", scale * 2.0 * torch.pi * torch.randn(width // 2))
        self.mix = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, 2 * width), nn.SiLU())

    def forward(self, t: Tensor) -> Tensor:
        """Features [B, 2 width] of times [B] > 0."""
        phase = (t.log() / 4.0)[:, None] * self.rates
        return self.mix(torch.cat([phase.sin(), phase.cos()], dim=1))


class FinePath(nn.Module):
    """Full resolution: sees latents laid out as cells, the condition and the trunk; what the 4 x 4 patches blur.

    Needs space-to-depth latents: 16 channels, one per cell of the block. At this size every pass over the memory
    counts, hence the cheap activation and head.
    """

    def __init__(self, width: int, trunk: int, embedding: int) -> None:
        super().__init__()
        self.latents = nn.Conv2d(1, width, 3, padding=1)
        self.trunk = nn.Conv2d(trunk, width * FACTOR**2, 1)
        self.modulations = nn.ModuleList(zeroed(nn.Linear(embedding, 2 * width)) for _ in range(2))
        self.hidden = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.head = zeroed(nn.Conv2d(width, 1, 1))

    def forward(self, z: Tensor, trunk: Tensor, embedding: Tensor, condition: Tensor | None) -> Tensor:
        """A share of the output, shaped as the latents z [B, 16, 64, 64].

        `trunk` [B, trunk, 64, 64] are the trunk's last features, `condition` [B, width, 256, 256] is the condition's
        full-resolution part.
        """
        h = self.latents(pixel_shuffle(z, FACTOR))
        h += pixel_shuffle(self.trunk(trunk), FACTOR)
        if condition is not None:
            h += condition
        for modulation, convolution in zip(self.modulations, self.hidden, strict=True):
            h = convolution(hardswish(modulated(h, modulation(embedding))))
        return pixel_unshuffle(self.head(hardswish(h)), FACTOR)


class Decoder(nn.Module):
    """The way up from the bottleneck: AFT, blocks with the encoder's features, one output shaped as the latents."""

    def __init__(self, latents: int, widths: Sequence[int], blocks: int, embedding: int, fine_width: int) -> None:
        super().__init__()
        self.fourier = AdaptiveFourier(widths[-1], LATENT_SIZE >> (len(widths) - 1))
        self.rise = nn.ModuleList(nn.Conv2d(below, here, 1) for here, below in pairwise(widths))
        self.levels = nn.ModuleList(
            ResidualBlocks(ResidualBlock(2 * width if k == 0 else width, width, embedding) for k in range(blocks))
            for width in widths
        )
        self.norm = nn.GroupNorm(GROUPS, widths[0])
        self.head = zeroed(nn.Conv2d(widths[0], latents, 3, padding=1))
        self.fine = FinePath(fine_width, widths[0], embedding) if fine_width else None

    def forward(
        self, z: Tensor, h: Tensor, skips: Sequence[Tensor], embedding: Tensor, condition: Tensor | None
    ) -> Tensor:
        """The output from the bottleneck's features `h` and the encoder's `skips`, finest first."""
        h = self.fourier(h)
        for level in reversed(range(len(self.levels))):
            h = self.levels[level](torch.cat([h, skips[level]], dim=1), embedding)
            if level:
                h = interpolate(self.rise[level - 1](h), scale_factor=2.0, mode="nearest")
        output = self.head(silu(self.norm(h)))
        return output if self.fine is None else output + self.fine(z, h, embedding, condition)


class Denoiser(nn.Module):
    """Latents at time t and a condition to the network outputs that `ddm.predictions` takes.

    Parameters
    ----------
    latents
        Channels of the latents.
    widths
        Channels by level, from 64 x 64 down; each half as large.
    blocks
        Residual blocks per level, down and up.
    levels, heads
        Which levels look up the condition, and with how many heads.
    decoders
        1: one output for both (v-prediction); 2: one for C, one for ε (R).
    fine_width
        Channels of the full-resolution path; 0: none.
    """

    def __init__(
        self,
        latents: int,
        *,
        widths: Sequence[int],
        blocks: int,
        levels: Sequence[int],
        heads: int,
        decoders: int,
        fine_width: int,
    ) -> None:
        super().__init__()
        if fine_width and latents != FACTOR**2:
            raise ValueError(f"a full-resolution path needs {FACTOR**2} latent channels, not {latents}")
        self.embedding = FourierEmbedding(2 * widths[0])
        embedding = 4 * widths[0]
        self.stem = nn.Conv2d(latents, widths[0], 3, padding=1)
        self.levels = nn.ModuleList(
            ResidualBlocks(ResidualBlock(width, width, embedding) for _ in range(blocks)) for width in widths
        )
        self.attention = nn.ModuleDict(
            {str(level): CrossAttention(widths[level], heads, LATENT_SIZE >> level) for level in levels}
        )
        self.descend = nn.ModuleList(nn.Conv2d(here, below, 3, stride=2, padding=1) for here, below in pairwise(widths))
        self.bottleneck = ResidualBlock(widths[-1], widths[-1], embedding)
        self.decoders = nn.ModuleList(Decoder(latents, widths, blocks, embedding, fine_width) for _ in range(decoders))

    def forward(self, z: Tensor, t: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """Both outputs (the same tensor where there is one decoder), shaped as z.

        Parameters
        ----------
        z
            Latents [B, latents, 64, 64].
        t
            Times [B] or [1] in (0, 1].
        """
        embedding = self.embedding(t)
        h = self.stem(z) + condition.stem
        skips: list[Tensor] = []
        found = iter(zip(condition.keys, condition.values, strict=True))
        for level, blocks in enumerate(self.levels):
            if level:
                h = self.descend[level - 1](h)
            h = blocks(h, embedding)
            if str(level) in self.attention:
                h = self.attention[str(level)](h, *next(found))
            skips.append(h)
        h = self.bottleneck(h, embedding)
        outputs = [decoder(z, h, skips, embedding, condition.fine) for decoder in self.decoders]
        return outputs[0], outputs[-1]


class Stage(nn.Module):
    """A denoiser with the encoders of what it is told: the streets, and what moves unless it is a first stage.

    A first stage's weights are a part of a full one's, by name: it can start from them.
    """

    def __init__(self, denoiser: Denoiser, streets: ConditionSource, dynamics: ConditionSource | None) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.streets = streets
        self.dynamics = dynamics

    def condition(self, streets: Condition, dynamics: Tensor | None = None) -> Condition:
        """What the denoiser is told: the streets' part (computed by `streets`, or kept) and the moving one."""
        if dynamics is None:
            return streets
        if self.dynamics is None:
            raise ValueError("a first stage knows the streets only")
        return streets.merged(self.dynamics(dynamics))

    def forward(self, z: Tensor, t: Tensor, streets: Tensor, dynamics: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The denoiser's outputs, all encoders included: what training calls.

        `streets` and `dynamics` are images [B, channels, 256, 256].
        """
        return self.denoiser(z, t, self.condition(self.streets(streets), dynamics))
