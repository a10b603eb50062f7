# SPDX-License-Identifier: Apache-2.0
"""A U-Net that restores images: residual, without normalisation, so that it sees a finite neighbourhood only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clarivox.errors import OptionError
from clarivox.networks.layers import CONV, TRANSPOSED, activation


def fold(x: Tensor, factor: int) -> Tensor:
    """Moves each block of factor**d voxels into the channels: (N, C, *s) to (N, C * factor**d, *(s / factor)).

    >>> fold(torch.zeros(1, 1, 6, 8), 2).shape
    torch.Size([1, 4, 3, 4])
    """
    dims = x.ndim - 2
    split = [part for n in x.shape[2:] for part in (n // factor, factor)]
    blocks = x.reshape(*x.shape[:2], *split)
    order = [0, 1, *range(3, 2 + 2 * dims, 2), *range(2, 2 + 2 * dims, 2)]
    return blocks.permute(order).reshape(x.shape[0], -1, *[n // factor for n in x.shape[2:]])


def unfold(x: Tensor, factor: int) -> Tensor:
    """The inverse of `fold`.

    >>> x = torch.arange(36.0).reshape(1, 1, 6, 6)
    >>> bool((unfold(fold(x, 3), 3) == x).all())
    True
    """
    dims = x.ndim - 2
    channels = x.shape[1] // factor**dims
    blocks = x.reshape(x.shape[0], channels, *[factor] * dims, *x.shape[2:])
    order = [0, 1] + [axis for d in range(dims) for axis in (2 + dims + d, 2 + d)]
    return blocks.permute(order).reshape(x.shape[0], channels, *[n * factor for n in x.shape[2:]])


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), 3 wide, zero padded, or with another activation."""

    def __init__(self, spatial_dims: int, channels: int, bias: bool, name: str = "relu") -> None:
        super().__init__()
        self.bend = activation(name)
        conv = CONV[spatial_dims]
        self.first = conv(channels, channels, 3, padding=1, bias=bias)
        self.second = conv(channels, channels, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x."""
        change: Tensor = self.second(self.bend(self.first(x)))
        return x + change


class RestorationUNet(nn.Module):
    """Encoder and decoder of residual blocks with additive skips; the output is the input plus a learned change.

    With `bias=False` nothing is ever added but features, so that f(a x) = a f(x) for a > 0: the result does not depend
    on how the image was scaled, and levels outside the training range are handled alike.

    DRUNet, of the same form, has 4 levels of 64 to 512 features with 4 blocks each; 32.64 M parameters and 4231 kFLOP a
    pixel are counted for it with a map of the noise level as a second channel.

    Args:
        spatial_dims: 2 or 3.
        channels: features at each level, finest first; each level halves the grid.
        blocks: residual blocks a level on each side, and at the bottom.
        fold_factor: voxels along each axis that are moved into channels at the entrance; 2 costs a quarter in 2D.
        bias: whether convolutions add constants.
        activation: "relu", "leaky_relu", "prelu" or "gelu" (which knows the image's scale even without constants).

    Attributes:
        stride: windows must begin at multiples of it.
        halo: voxels on each side that the result of one voxel depends on, a multiple of `stride`.

    Raises:
        OptionError: spatial_dims is neither 2 nor 3, or there is no level.

    Source:
        Ronneberger et al., U-Net (2015); Zhang et al., DRUNet, arXiv 2008.13751; Mohan et al., bias-free networks,
        arXiv 1906.05478.

    >>> from clarivox.networks.cost import cost
    >>> cost(RestorationUNet)
    Cost(layers=26, parameters=768256, kflop=89)
    >>> cost(lambda: RestorationUNet(channels=(64, 128, 256, 512), blocks=4, fold_factor=1))
    Cost(layers=64, parameters=32638080, kflop=4229)
    >>> net = RestorationUNet(channels=(8, 16))
    >>> net(torch.zeros(1, 1, 13, 18)).shape, net.stride, net.halo
    (torch.Size([1, 1, 13, 18]), 4, 40)
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        channels: Sequence[int] = (32, 64, 96),
        blocks: int = 2,
        fold_factor: int = 2,
        bias: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if spatial_dims not in CONV or not channels:
            raise OptionError(f"spatial_dims must be 2 or 3 with one level or more; found {spatial_dims}, {channels}")
        conv, transposed = CONV[spatial_dims], TRANSPOSED[spatial_dims]
        folded = fold_factor**spatial_dims
        self.fold_factor = fold_factor
        self.stride = fold_factor << (len(channels) - 1)
        self.halo = self._halo(len(channels), blocks)
        pairs = list(pairwise(channels))

        def level(width: int) -> nn.Sequential:
            return nn.Sequential(*[ResidualBlock(spatial_dims, width, bias, activation) for _ in range(blocks)])

        self.entrance = conv(folded, channels[0], 3, padding=1, bias=bias)
        self.encoder = nn.ModuleList(level(width) for width in channels[:-1])
        self.down = nn.ModuleList(conv(a, b, 2, stride=2, bias=bias) for a, b in pairs)
        self.bottom = level(channels[-1])
        self.up = nn.ModuleList(transposed(b, a, 2, stride=2, bias=bias) for a, b in pairs)
        self.decoder = nn.ModuleList(level(width) for width in channels[:-1])
        self.leave = conv(channels[0], folded, 3, padding=1, bias=bias)
        self._begin_near_identity()

    def _halo(self, levels: int, blocks: int) -> int:
        """Every 3-wide layer adds its own voxel size; the grid's coarsest cell bounds what alignment adds."""
        reach = 2 * self.fold_factor  # entrance and exit
        for depth in range(levels):
            sides = 1 if depth == levels - 1 else 2
            reach += sides * blocks * 2 * (self.fold_factor << depth)
        return -(-(reach + self.stride - 1) // self.stride) * self.stride

    @torch.no_grad()
    def _begin_near_identity(self) -> None:
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                module.second.weight.mul_(0.2)
        self.leave.weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Restores images.

        Args:
            x: shape (N, 1, X, Y) or (N, 1, X, Y, Z), any size, scaled so that bright tissue is near 1.

        Returns:
            The same shape.
        """
        sizes = x.shape[2:]
        missing = [-n % self.stride for n in sizes]
        padded = F.pad(x, [side for m in reversed(missing) for side in (0, m)], mode="replicate")
        y = self.entrance(fold(padded, self.fold_factor))
        kept = []
        for encode, down in zip(self.encoder, self.down, strict=True):
            y = encode(y)
            kept.append(y)
            y = down(y)
        y = self.bottom(y)
        for up, decode, skip in zip(reversed(self.up), reversed(self.decoder), reversed(kept), strict=True):
            y = decode(up(y) + skip)
        restored = padded + unfold(self.leave(y), self.fold_factor)
        return restored[(slice(None), slice(None), *[slice(0, n) for n in sizes])]
