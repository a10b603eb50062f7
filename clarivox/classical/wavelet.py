# SPDX-License-Identifier: Apache-2.0
"""Wavelet shrinkage."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clarivox.classical.noise import check_noise, noise_of
from clarivox.errors import OptionError
from clarivox.networks.haar import decompose, recompose


class WaveletShrinkage(nn.Module):
    """Haar details moved towards 0 by what the noise in each subband suggests, as the mean over shifts of the grid.

    Args:
        level: multiplies the noise level; larger removes more.
        sigma: standard deviation of the noise in the picture's unit; 0 estimates it in each picture.
        levels: how often the picture is halved.
        shifts: shifts along each axis that are averaged; 1 shows the grid's blocks.

    Attributes:
        halo, stride: the whole picture is treated at once, since it decides how strong its noise is.

    Raises:
        OptionError: an argument is out of range.

    Source:
        Chang, Yu and Vetterli, Adaptive wavelet thresholding for image denoising and compression, IEEE TIP 9 (2000);
        Coifman and Donoho, Translation-invariant de-noising (1995).

    >>> WaveletShrinkage(sigma=1.0)(torch.full((1, 1, 6, 9), 5.0)).unique()
    tensor([5.])
    """

    halo: int | None = None
    stride = 1

    def __init__(self, level: float = 1.0, sigma: float = 0.0, levels: int = 3, shifts: int = 4) -> None:
        super().__init__()
        check_noise(level, sigma)
        if levels < 1 or shifts < 1:
            raise OptionError(f"levels and shifts must be 1 or more; found {levels}, {shifts}")
        self.level, self.sigma, self.levels, self.shifts = level, sigma, levels, shifts

    def forward(self, x: Tensor) -> Tensor:
        """Filters pictures.

        Args:
            x: shape (N, 1, X, Y).

        Returns:
            The same shape.
        """
        noise = noise_of(x, self.level, self.sigma)
        rows, columns = x.shape[2:]
        cell, first = 2**self.levels, self.shifts - 1
        # A level of 0 would be lost in the rounding of large values: shrinkage works on what lies around the mean.
        mean = x.mean((2, 3), keepdim=True)
        sides = [-(-(n + first) // cell) * cell for n in (rows, columns)]
        ends = (first, sides[1] + first - columns - first, first, sides[0] + first - rows - first)
        wide = F.pad(x - mean, ends, mode="replicate")
        total = torch.zeros_like(x)
        for i in range(self.shifts):
            for j in range(self.shifts):
                part = shrunk(wide[..., i : i + sides[0], j : j + sides[1]], noise, self.levels)
                total += part[..., first - i : first - i + rows, first - j : first - j + columns]
        return mean + total / self.shifts**2


def shrunk(picture: Tensor, noise: Tensor, levels: int) -> Tensor:
    """A picture (N, 1, X, Y), sides divisible by 2**levels, with its details shrunk; `noise` has shape (N, 1, 1, 1)."""
    bands = decompose(picture)
    smooth, details = bands[:, :1], bands[:, 1:]
    variance = noise.square()
    signal = (details.square().mean((2, 3), keepdim=True) - variance).clamp_min(0).sqrt()
    # Where a subband holds nothing but noise the threshold is infinite: all of it goes.
    threshold = torch.where(noise > 0, variance / signal, 0)
    details = details.sign() * (details.abs() - threshold).clamp_min(0)
    if levels > 1:
        smooth = shrunk(smooth, noise, levels - 1)
    return recompose(torch.cat([smooth, details], 1))
