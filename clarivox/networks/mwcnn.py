# SPDX-License-Identifier: Apache-2.0
"""MWCNN: a U-Net whose steps down and up are Haar transforms, so that nothing is lost on the way."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from clarivox.errors import OptionError
from clarivox.networks.haar import decompose, recompose
from clarivox.networks.layers import aligned, begin, block, convolution, cropped, filled


class Mwcnn(nn.Module):
    """Restores images of any size; the output is the input plus a learned change.

    The published form has 24 layers on 3 levels of 160, 256 and 256 features (about 16 M parameters); the paper gives
    no count of operations.

    Args:
        spatial_dims: 2 or 3.
        channels: features at each level, finest first; each level lies on a grid of half the sides of the one before,
            the first on half the image's.
        convolutions: at each level, on the way down and as many on the way up; 2 or more.
        norm: batch normalisation in all layers but the last.
        bias: whether anything constant is added; without, f(a x) = a f(x) for a > 0 in evaluation.
        activation: "relu" as published, "leaky_relu", "prelu" or "gelu".

    Attributes:
        stride: windows must begin at multiples of it; 8 for 3 levels.
        halo: voxels on each side that the result depends on, a multiple of `stride`; 120 as published.

    Raises:
        OptionError: an argument is out of range.

    Source:
        Liu et al., Multi-level wavelet-CNN for image restoration, CVPR Workshops 2018.

    >>> from clarivox.networks.cost import cost
    >>> cost(Mwcnn)
    Cost(layers=24, parameters=16152260, kflop=1766)
    >>> net = Mwcnn(channels=(4, 8), convolutions=2)
    >>> net(torch.zeros(1, 1, 9, 14)).shape, net.stride, net.halo
    (torch.Size([1, 1, 9, 14]), 4, 28)
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        channels: Sequence[int] = (160, 256, 256),
        convolutions: int = 4,
        norm: bool = True,
        bias: bool = True,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if not channels or convolutions < 2:
            raise OptionError(f"there must be a level and 2 convolutions or more; found {channels}, {convolutions}")
        bands = 2**spatial_dims
        self.stride = 2 ** len(channels)
        self.halo = aligned(2 * convolutions * (2 * self.stride - 2), self.stride)

        def chain(*widths: int) -> nn.Sequential:
            parts = (block(spatial_dims, a, b, norm=norm, bias=bias, name=activation) for a, b in pairwise(widths))
            return nn.Sequential(*[layer for part in parts for layer in part])

        inputs = [1, *channels[:-1]]
        self.down = nn.ModuleList(chain(bands * a, *[b] * convolutions) for a, b in zip(inputs, channels, strict=True))
        self.up = nn.ModuleList(
            chain(*[b] * convolutions, *([bands * a] if number else []))
            for number, (a, b) in enumerate(zip(inputs, channels, strict=True))
        )
        self.leave = convolution(spatial_dims, channels[0], bands, bias=bias)
        begin(self.leave, 0.1)  # near the identity

    def forward(self, x: Tensor) -> Tensor:
        """Restores images.

        Args:
            x: shape (N, 1, X, Y) or (N, 1, X, Y, Z), scaled so that bright tissue is near 1.

        Returns:
            The same shape.
        """
        y = padded = filled(x, self.stride)
        kept = []
        for down in self.down:
            y = down(decompose(y))
            kept.append(y)
        y = self.up[-1](kept.pop())
        for up, skip in zip(reversed(self.up[:-1]), reversed(kept), strict=True):
            y = up(torch.add(recompose(y), skip))
        change = recompose(self.leave(y))
        return cropped(torch.add(padded, change), x)
