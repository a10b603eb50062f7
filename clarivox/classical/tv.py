# SPDX-License-Identifier: Apache-2.0
"""Total variation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clarivox.classical.noise import check_noise, noise_of
from clarivox.errors import OptionError

WEIGHT = 0.7
"""Weight of the variation for noise of standard deviation 1: what is near the best over CT, MR and photographs
(`python -m tests.benchmarks.classical`)."""


class TotalVariation(nn.Module):
    """The picture u nearest to f, as |u - f|^2 / 2 + weight * (sum of the lengths of u's gradients) counts near.

    The weight is as large as the noise. Solved on the dual by fast gradient projection.

    Args:
        level: multiplies the noise level; larger removes more.
        sigma: standard deviation of the noise in the picture's unit; 0 estimates it in each picture.
        iterations: steps; the error falls with their square.

    Attributes:
        halo, stride: the whole picture is treated at once.

    Raises:
        OptionError: an argument is out of range.

    Source:
        Rudin, Osher and Fatemi, Nonlinear total variation based noise removal algorithms, Physica D 60 (1992);
        Beck and Teboulle, Fast gradient-based algorithms for constrained total variation image denoising and
        deblurring problems, IEEE TIP 18 (2009).

    >>> TotalVariation(sigma=1.0)(torch.full((1, 1, 6, 9), 5.0)).unique()
    tensor([5.])
    """

    halo: int | None = None
    stride = 1

    def __init__(self, level: float = 1.0, sigma: float = 0.0, iterations: int = 60) -> None:
        super().__init__()
        check_noise(level, sigma)
        if iterations < 0:
            raise OptionError(f"iterations must be 0 or more; found {iterations}")
        self.level, self.sigma, self.iterations = level, sigma, iterations

    def forward(self, x: Tensor) -> Tensor:
        """Filters pictures.

        Args:
            x: shape (N, 1, X, Y).

        Returns:
            The same shape.
        """
        weight = WEIGHT * noise_of(x, self.level, self.sigma)
        unit = torch.where(weight > 0, weight, 1)
        return torch.where(weight > 0, x + unit * least_variation(x / unit, self.iterations), x)


def least_variation(picture: Tensor, iterations: int) -> Tensor:
    """What is added to a picture (N, 1, X, Y) so that it has least variation, at weight 1."""
    dual = picture.new_zeros((2, *picture.shape))
    ahead, momentum = dual, 1.0
    for _ in range(iterations):
        slope = gradient(picture + divergence(ahead))
        new = ahead + slope / 8
        new = new / torch.hypot(new[0], new[1]).clamp_min(1)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = new + (momentum - 1) / following * (new - dual)
        dual, momentum = new, following
    return divergence(dual)


def gradient(picture: Tensor) -> Tensor:
    """Differences to the next pixel along X and Y, 0 at the last: shape (2, N, 1, X, Y)."""
    along_x = F.pad(picture[..., 1:, :] - picture[..., :-1, :], (0, 0, 0, 1))
    return torch.stack([along_x, F.pad(picture[..., 1:] - picture[..., :-1], (0, 1))])


def divergence(field: Tensor) -> Tensor:
    """Minus the adjoint of `gradient`: shape (N, 1, X, Y).

    >>> picture, field = torch.rand(1, 1, 4, 5), torch.rand(2, 1, 1, 4, 5)
    >>> bool(torch.isclose((gradient(picture) * field).sum(), -(picture * divergence(field)).sum(), atol=1e-4))
    True
    """
    along_x, along_y = field[0][..., :-1, :], field[1][..., :-1]
    by_x = F.pad(along_x, (0, 0, 0, 1)) - F.pad(along_x, (0, 0, 1, 0))
    return by_x + F.pad(along_y, (0, 1)) - F.pad(along_y, (1, 0))
