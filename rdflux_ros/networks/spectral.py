"""The adaptive Fourier transform of RadioDiff."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AdaptiveFourier(nn.Module):
    """AFT (R eq. 22-23): z + F⁻¹(w ⊙ F(z)) with a learned complex w per channel and frequency.

    Parameters
    ----------
    size
        Edge of the square features [B, channels, size, size].
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        # real and imaginary part apart: optimizers, casts and memory formats know real numbers
        self.weight = nn.Parameter(0.02 * torch.randn(2, channels, size, size // 2 + 1))

    def forward(self, z: Tensor) -> Tensor:
        real, imaginary = self.weight.float()
        spectrum = torch.fft.rfft2(z.float(), norm="ortho") * torch.complex(real, imaginary)
        return z + torch.fft.irfft2(spectrum, s=z.shape[-2:], norm="ortho").to(z.dtype)
