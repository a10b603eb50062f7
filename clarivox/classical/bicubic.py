# SPDX-License-Identifier: Apache-2.0
"""Bicubic enlargement, as a module that a bundle names."""

from __future__ import annotations

from torch import Tensor, nn

from clarivox.errors import OptionError
from clarivox.transforms.bicubic import bicubic


class Bicubic(nn.Module):
    """Enlarges pictures as MATLAB's imresize and Pillow do.

    Args:
        scale: output pixels for each input pixel along each axis.

    Attributes:
        halo, stride: windows with a halo of 2 give what the whole picture gives.

    Raises:
        OptionError: the scale is not a whole number from 1 on.

    Source:
        Keys, Cubic convolution interpolation for digital image processing, IEEE TASSP 29 (1981).

    >>> import torch
    >>> Bicubic(3)(torch.ones(1, 1, 4, 5)).shape
    torch.Size([1, 1, 12, 15])
    """

    halo = 2
    stride = 1

    def __init__(self, scale: int = 2) -> None:
        super().__init__()
        if scale < 1:
            raise OptionError(f"a scale must be a whole number from 1 on; found {scale}")
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges pictures of shape (N, C, X, Y) to (N, C, scale * X, scale * Y)."""
        return bicubic(x, [n * self.scale for n in x.shape[2:]])
