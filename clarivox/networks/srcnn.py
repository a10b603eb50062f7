# SPDX-License-Identifier: Apache-2.0
"""SRCNN: bicubic enlargement, then three convolutions that sharpen it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clarivox.errors import OptionError
from clarivox.transforms.bicubic import bicubic


class Srcnn(nn.Module):
    """Enlarges 2D images by a whole number.

    Args:
        scale: output pixels for each input pixel along X and Y.
        kernels: the three kernel lengths; (9, 1, 5) and (9, 5, 5) were published.
        features: features after the first and the second layer.
        skip: add the bicubic image to the last layer's output. The published form has no skip.
        bias: whether convolutions add constants; without, f(a x) = a f(x) for a > 0.

    Attributes:
        stride: windows may begin anywhere: 1.
        halo: input pixels on each side that the result depends on.

    Raises:
        OptionError: `scale` is not a whole number above 1, or a kernel length is even.

    Source:
        Dong et al., Image super-resolution using deep convolutional networks, TPAMI 2016.

    The published 9-1-5 has 8.1 k parameters and 16 kFLOP for each pixel of the output, 9-5-5 has 57 k and 114; the
    margin that is added before the first layer costs the rest.

    >>> from clarivox.networks.cost import cost
    >>> cost(lambda: Srcnn(kernels=(9, 1, 5)), 1, 256, 256), cost(Srcnn, 1, 256, 256)
    (Cost(layers=3, parameters=8129, kflop=16), Cost(layers=3, parameters=57281, kflop=116))
    >>> Srcnn(scale=3)(torch.zeros(1, 1, 5, 8)).shape
    torch.Size([1, 1, 15, 24])
    """

    def __init__(
        self,
        scale: int = 2,
        kernels: Sequence[int] = (9, 5, 5),
        features: Sequence[int] = (64, 32),
        skip: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if scale != int(scale) or scale < 2:
            raise OptionError(f"scale must be a whole number above 1; found {scale}")
        if any(length % 2 == 0 for length in kernels):
            raise OptionError(f"kernel lengths must be odd; found {tuple(kernels)}")
        self.scale, self.skip, self.stride = scale, skip, 1
        self.reach = sum(length // 2 for length in kernels)
        self.halo = -(-self.reach // scale) + 3  # Keys' kernel reaches 2 input pixels, sub-pixel offset 1
        widths = [1, *features, 1]

        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, k, bias=bias) for (a, b), k in zip(pairwise(widths), kernels, strict=True)
        )
        for layer in self.layers:  # He's initialisation keeps the size of what passes through
            nn.init.kaiming_normal_(cast(nn.Conv2d, layer).weight, nonlinearity="relu")
        if skip:  # begin near the bicubic image
            with torch.no_grad():
                cast(nn.Conv2d, self.layers[-1]).weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges images.

        Args:
            x: shape (N, 1, X, Y), scaled so that the brightest values are near 1.

        Returns:
            Shape (N, 1, scale * X, scale * Y), on the same field of view.
        """
        enlarged = bicubic(x, [n * self.scale for n in x.shape[2:]])
        y = F.pad(enlarged, [self.reach] * 4, mode="replicate")
        for layer in self.layers[:-1]:
            y = F.relu(layer(y))
        sharpened = cast(Tensor, self.layers[-1](y))
        return enlarged + sharpened if self.skip else sharpened
