# SPDX-License-Identifier: Apache-2.0
"""Non-local means."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clarivox.classical.noise import check_noise, noise_of
from clarivox.errors import OptionError

STRICTNESS = 0.7
"""Width of the kernel that weighs distances, in standard deviations of the noise: near the best over photographs, MR
and CT (`python -m tests.benchmarks.classical`)."""


class NonLocalMeans(nn.Module):
    """Each pixel becomes a mean over its surroundings, weighted by how alike the patches around both are.

    The distance of two patches is the mean of their squared differences, less what the noise alone makes.

    Args:
        level: multiplies the noise level; larger removes more.
        sigma: standard deviation of the noise in the picture's unit; 0 estimates it in each picture.
        patch: radius of the patches, in pixels; 2 is 5 x 5.
        search: how far like patches are sought, in pixels.

    Attributes:
        halo, stride: the whole picture is treated at once, since it decides how strong its noise is.

    Raises:
        OptionError: an argument is out of range.

    Source:
        Buades, Coll and Morel, A non-local algorithm for image denoising, CVPR (2005).

    >>> NonLocalMeans(sigma=1.0)(torch.full((1, 1, 6, 9), 5.0)).unique()
    tensor([5.])
    """

    halo: int | None = None
    stride = 1

    def __init__(self, level: float = 1.0, sigma: float = 0.0, patch: int = 2, search: int = 6) -> None:
        super().__init__()
        check_noise(level, sigma)
        if patch < 0 or search < 1:
            raise OptionError(f"patch must be 0 or more and search 1 or more, in pixels; found {patch}, {search}")
        self.level, self.sigma, self.patch, self.search = level, sigma, patch, search

    def forward(self, x: Tensor) -> Tensor:
        """Filters pictures.

        Args:
            x: shape (N, 1, X, Y).

        Returns:
            The same shape.
        """
        noise = noise_of(x, self.level, self.sigma)
        unit = torch.where(noise > 0, noise, 1)
        near, far = self.patch, self.search
        centre = x / unit
        outer = mirrored(centre, near + far)
        origin, (rows, columns) = near + far, x.shape[2:]

        def there(i: int, j: int, height: int = rows, width: int = columns) -> Tensor:
            return outer[..., origin + i : origin + i + height, origin + j : origin + j + width]

        # Sums start at the pixel itself, whose weight is 1; differences from it keep what large values would lose.
        total, weights = torch.zeros_like(centre), torch.ones_like(centre)
        for i in range(far + 1):
            for j in range(-far if i else 1, far + 1):
                # The distance to what lies at (i, j) from a pixel is that of the pixel there to what lies at (-i, -j).
                first = min(0, -j)
                sides = (rows + i + 2 * near, columns + abs(j) + 2 * near)
                change = there(-i - near, first - near, *sides) - there(-near, first + j - near, *sides)
                distance = boxed(change.square(), near)
                weight = torch.exp((distance - 2).clamp_min_(0) * (-1 / STRICTNESS**2))
                ahead = weight[..., i : i + rows, -first : columns - first]
                behind = weight[..., :rows, -j - first : columns - j - first]
                for part, k, m in ((ahead, i, j), (behind, -i, -j)):
                    total.addcmul_(part, there(k, m) - centre)
                    weights += part
        return torch.where(noise > 0, (centre + total / weights) * unit, x)


def boxed(x: Tensor, radius: int) -> Tensor:
    """Means over squares of this radius, where they lie inside; shape (N, C, X - 2 radius, Y - 2 radius).

    >>> boxed(torch.arange(9.0).reshape(1, 1, 3, 3), 1)
    tensor([[[[4.]]]])
    """
    side = 2 * radius + 1
    for axis in (2, 3):
        inside = x.shape[axis] - side + 1
        total = x.narrow(axis, 0, inside).clone()
        for start in range(1, side):
            total += x.narrow(axis, start, inside)
        x = total
    return x / side**2


def mirrored(x: Tensor, width: int) -> Tensor:
    """A picture (N, C, X, Y) with `width` pixels more on each side: its mirror image, the border not repeated.

    It is mirrored as often as it takes, so that a picture may be narrower than what it is extended by.

    >>> mirrored(torch.arange(3.0).reshape(1, 1, 1, 3), 3)[0, 0, 0]
    tensor([1., 2., 1., 0., 1., 2., 1., 0., 1.])
    """
    for axis in (2, 3):
        n = x.shape[axis]
        period = max(1, 2 * n - 2)
        places = torch.arange(-width, n + width, device=x.device) % period
        x = x.index_select(axis, torch.minimum(places, period - places) if n > 1 else places * 0)
    return x
