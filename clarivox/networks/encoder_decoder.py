# SPDX-License-Identifier: Apache-2.0
"""A plain U-Net from given channels to given channels: the body of CBDNet and of the networks that predict kernels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from clarivox.errors import OptionError
from clarivox.networks.layers import TRANSPOSED, begin, block, convolution


class EncoderDecoder(nn.Module):
    """Stages of 3-wide convolutions down and up again; strided convolutions, transposed ones, additive skips.

    Args:
        spatial_dims: 2 or 3.
        inputs: channels of the input.
        outputs: channels of the output.
        channels: features at each level, finest first; each level halves the grid.
        convolutions: in each stage, down, bottom, up; 2 * levels - 1 numbers. The first of a stage on the way down is
            the strided one.
        bias: whether convolutions add constants.
        gain: of the last layer's first weights.
        activation: "relu", "leaky_relu", "prelu" or "gelu".

    Attributes:
        stride: the input's sides must be multiples of it.
        reach: voxels on each side that the result depends on, where the input begins at a multiple of `stride`.

    Raises:
        OptionError: channels and convolutions do not fit each other.

    >>> net = EncoderDecoder(2, 3, 7, (4, 8), (1, 2, 1))
    >>> net(torch.zeros(1, 3, 6, 8)).shape, net.stride, net.reach
    (torch.Size([1, 7, 6, 8]), 2, 5)
    """

    def __init__(
        self,
        spatial_dims: int,
        inputs: int,
        outputs: int,
        channels: Sequence[int],
        convolutions: Sequence[int],
        bias: bool = True,
        gain: float = 0.1,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        levels = len(channels)
        if not levels or len(convolutions) != 2 * levels - 1 or min(convolutions) < 1:
            found = f"{tuple(channels)} and {tuple(convolutions)}"
            raise OptionError(f"each of 2 * levels - 1 stages needs a convolution; found levels and stages {found}")
        self.stride = 2 ** (levels - 1)

        def stage(a: int, b: int, count: int, stride: int = 1) -> nn.Sequential:
            layers = block(spatial_dims, a, b, norm=False, bias=bias, name=activation, stride=stride)
            for _ in range(count - 1):
                layers += block(spatial_dims, b, b, norm=False, bias=bias, name=activation)
            return nn.Sequential(*layers)

        down, up = convolutions[:levels], convolutions[levels:]
        pairs = list(pairwise([inputs, *channels]))
        self.down = nn.ModuleList(
            stage(a, b, count, 2 if depth else 1) for depth, ((a, b), count) in enumerate(zip(pairs, down, strict=True))
        )
        self.enlarge = nn.ModuleList(
            TRANSPOSED[spatial_dims](b, a, 2, stride=2, bias=bias) for a, b in reversed(pairs[1:])
        )
        self.up = nn.ModuleList(stage(a, a, count) for (a, _), count in zip(reversed(pairs[1:]), up, strict=True))
        self.leave = convolution(spatial_dims, channels[0], outputs, 1, bias=bias)
        begin(self.leave, gain)
        # A strided convolution reads the finer grid, each later one its own.
        self.reach = sum(max(1, 2 ** (d - 1)) + (count - 1) * 2**d for d, count in enumerate(down))
        self.reach += sum(count * 2**d for d, count in zip(reversed(range(levels - 1)), up, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """From (N, inputs, ...) to (N, outputs, ...)."""
        y, kept = x, []
        for down in self.down:
            y = down(y)
            kept.append(y)
        kept.pop()
        for enlarge, up in zip(self.enlarge, self.up, strict=True):
            y = up(torch.add(enlarge(y), kept.pop()))
        predicted: Tensor = self.leave(y)
        return predicted
