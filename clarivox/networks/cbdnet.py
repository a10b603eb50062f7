# SPDX-License-Identifier: Apache-2.0
"""CBDNet: one network estimates a map of the noise level, a second removes noise of that level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clarivox.errors import OptionError
from clarivox.networks.encoder_decoder import EncoderDecoder
from clarivox.networks.layers import aligned, begin, block, convolution, cropped, filled, level_map


class Cbdnet(nn.Module):
    """Denoises images whose noise is unknown and differs from place to place; x plus a learned change.

    As published the estimator has 5 layers of 32 features, the U-Net 16 convolutions of 64, 128 and 256 features with 2
    transposed ones and a last layer beside them. About 4.3 M parameters are quoted; no count of operations is.

    Args:
        spatial_dims: 2 or 3.
        channels: features of the U-Net at each level, finest first.
        convolutions: of the U-Net in each stage, down, bottom, up: 2 * levels - 1 numbers.
        estimator: features of the estimator.
        layers: convolutions of the estimator; 2 or more.
        bias: whether convolutions add constants; without, f(a x) = a f(x) for a > 0, and so does the noise level.
        activation: "relu" as published, "leaky_relu", "prelu" or "gelu"; the estimator ends with a ReLU always.

    Attributes:
        stride: windows must begin at multiples of it; 4 for 3 levels.
        halo: voxels on each side that the result depends on, a multiple of `stride`; 48 as published.

    Raises:
        OptionError: an argument is out of range.

    Source:
        Guo et al., Toward convolutional blind denoising of real photographs, CVPR 2019.

    >>> from clarivox.networks.cost import cost
    >>> cost(Cbdnet)
    Cost(layers=24, parameters=4361794, kflop=1124)
    >>> net = Cbdnet(channels=(4, 8), convolutions=(1, 1, 1), estimator=4)
    >>> x = torch.zeros(1, 1, 9, 14)
    >>> net(x).shape, net.noise_level(x).shape
    (torch.Size([1, 1, 9, 14]), torch.Size([1, 1, 9, 14]))
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        channels: Sequence[int] = (64, 128, 256),
        convolutions: Sequence[int] = (2, 3, 6, 3, 2),
        estimator: int = 32,
        layers: int = 5,
        bias: bool = True,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if layers < 2:
            raise OptionError(f"the estimator needs 2 layers or more; found {layers}")
        parts = block(spatial_dims, 1, estimator, norm=False, bias=bias, name=activation)
        for _ in range(layers - 2):
            parts += block(spatial_dims, estimator, estimator, norm=False, bias=bias, name=activation)
        last = convolution(spatial_dims, estimator, 1, bias=bias)
        begin(last, 0.1)
        with torch.no_grad():
            last.weight.abs_()  # above 0 at first: a ReLU that begins at 0 everywhere never learns
        self.estimator = nn.Sequential(*parts, last, nn.ReLU())
        self.body = EncoderDecoder(spatial_dims, 2, 1, channels, convolutions, bias, activation=activation)
        self.stride = self.body.stride
        self.halo = aligned(layers + self.body.reach, self.stride)

    def noise_level(self, x: Tensor) -> Tensor:
        """The estimated standard deviation of the noise, in units of x and of its shape, 0 or more.

        An estimator that says too little does more harm than one that says too much: training weighs the first more.
        """
        estimated: Tensor = self.estimator(x)
        return estimated

    def forward(self, x: Tensor, sigma: Tensor | float | None = None) -> Tensor:
        """Denoises images.

        Args:
            x: shape (N, 1, X, Y) or (N, 1, X, Y, Z), scaled so that bright tissue is near 1.
            sigma: noise level in units of x instead of the estimated one: a number, one for each image (N,), or a map
                of the shape of x.

        Returns:
            The same shape.
        """
        padded = filled(x, self.stride)
        levels = self.noise_level(padded) if sigma is None else filled(level_map(x, sigma), self.stride)
        change = self.body(torch.cat([padded, levels], dim=1))
        return cropped(torch.add(padded, change), x)
