# SPDX-License-Identifier: Apache-2.0
"""RED-CNN: a residual encoder and decoder of 5-wide convolutions, for low-dose CT."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clarivox.errors import OptionError
from clarivox.networks.layers import CONV, TRANSPOSED, begin, cropped, filled


class Redcnn(nn.Module):
    """Denoises images: unpadded convolutions shrink the grid, transposed ones widen it again, with additive shortcuts.

    As published (`ct_redcnn_denoise/configs/published.yaml`), at 512 x 512; ours has 32 features and no constants:

        layers                     channels            side of the grid   parameters   kFLOP a pixel
        convolution 1              1 to 96             508                     2,496               5
        convolutions 2 to 5        96 to 96            504, ..., 492         921,984            1744
        transposed 1 to 4          96 to 96            496, ..., 508         921,984            1744
        transposed 5               96 to 1             512                     2,401               5
        all, the paper's counts                                              1.849 M            3497
        all with 32 features       without constants                         206,400             391

    Args:
        spatial_dims: 2 or 3.
        depth: convolutions, and as many transposed ones; a shortcut leaves the input and every second convolution.
        features: channels between them.
        kernel: length of all kernels, odd.
        positive: end with a ReLU as published; False lets values below 0 through.
        bias: whether convolutions add constants; without, f(a x) = a f(x) for a > 0.

    Attributes:
        stride: windows may begin anywhere: 1.
        halo: voxels on each side that the result depends on; 20 as published.

    Raises:
        OptionError: an argument is out of range.

    Source:
        Chen et al., Low-dose CT with a residual encoder-decoder convolutional neural network, IEEE TMI 36 (2017).

    >>> from clarivox.networks.cost import cost
    >>> cost(Redcnn)
    Cost(layers=10, parameters=1848865, kflop=3497)
    >>> Redcnn(features=4)(torch.zeros(1, 1, 30, 8)).shape
    torch.Size([1, 1, 30, 8])
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        depth: int = 5,
        features: int = 96,
        kernel: int = 5,
        positive: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if spatial_dims not in CONV or depth < 1 or kernel % 2 == 0:
            found = f"{spatial_dims}, {depth}, {kernel}"
            raise OptionError(f"spatial_dims must be 2 or 3, depth 1 or more, kernel odd; found {found}")
        conv, transposed = CONV[spatial_dims], TRANSPOSED[spatial_dims]
        self.positive, self.stride = positive, 1
        self.least = depth * (kernel - 1) + 1
        self.halo = 2 * depth * (kernel // 2)
        self.encoder = nn.ModuleList(conv(features if i else 1, features, kernel, bias=bias) for i in range(depth))
        self.decoder = nn.ModuleList(
            transposed(features, features if i < depth - 1 else 1, kernel, bias=bias) for i in range(depth)
        )
        for layer in [*self.encoder, *self.decoder]:
            begin(cast(nn.Conv2d, layer), 0.1 if layer is self.decoder[-1] else 0.7)

    def forward(self, x: Tensor) -> Tensor:
        """Denoises images.

        Args:
            x: shape (N, 1, X, Y) or (N, 1, X, Y, Z), scaled so that bright tissue is near 1; sides that the
                convolutions would use up are lengthened by repeating the last voxel.

        Returns:
            The same shape.
        """
        y = filled(x, 1, self.least)
        depth, kept = len(self.encoder), {}
        for number, layer in enumerate(self.encoder):
            if number % 2 == 0:
                kept[number] = y
            y = F.relu(layer(y))
        for number, layer in enumerate(self.decoder):
            y = layer(y)
            shortcut = kept.get(depth - 1 - number)
            y = y if shortcut is None else torch.add(y, shortcut)
            y = F.relu(y) if self.positive or number < depth - 1 else y
        return cropped(y, x)
