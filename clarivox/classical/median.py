# SPDX-License-Identifier: Apache-2.0
"""The median filter."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from clarivox.errors import OptionError


class Median(nn.Module):
    """The median of the square around each pixel.

    Args:
        radius: of the square, in pixels: 1 is 3 x 3.

    Attributes:
        halo, stride: windows with a halo of `radius` give what the whole picture gives.

    Raises:
        OptionError: the radius is not a whole number from 1 on.

    Source:
        Tukey, Exploratory Data Analysis (1977).

    >>> import torch
    >>> Median()(torch.tensor([[[[0.0, 0, 0], [0, 9, 0], [0, 0, 0]]]])).max()
    tensor(0.)
    """

    stride = 1

    def __init__(self, radius: int = 1) -> None:
        super().__init__()
        if radius < 1:
            raise OptionError(f"the radius of a median must be 1 pixel or more; found {radius}")
        self.halo = radius

    def forward(self, x: Tensor) -> Tensor:
        """Filters pictures; beyond the border the last pixel is repeated.

        Args:
            x: shape (N, 1, X, Y).

        Returns:
            The same shape.
        """
        side = 2 * self.halo + 1
        wide = F.pad(x, (self.halo,) * 4, mode="replicate")
        squares = F.unfold(wide, side)
        middle: Tensor = squares.median(dim=1).values
        return middle.reshape(x.shape)
