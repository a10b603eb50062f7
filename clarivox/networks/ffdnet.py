# SPDX-License-Identifier: Apache-2.0
"""FFDNet: a chain of convolutions at half the resolution, steered by a map of the noise level."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clarivox.errors import OptionError
from clarivox.networks.layers import aligned, begin, block, convolution, cropped, filled, level_map
from clarivox.networks.unet import fold, unfold


class Ffdnet(nn.Module):
    """Denoises images of any size; the noise level is given, or the network is blind to it.

    The published form for grey images has 15 layers of 64 features, all on a grid of half the sides:

        layers   convolution, 3 x 3   parameters     kFLOP a pixel of the image
        1        4 + 1 to 64          2,944          1.4
        2 to 14  64 to 64             36,928 each    18.4 each
        15       64 to 4              2,308          1.2
        all                           485,316        242

    The authors' grey network has 0.485 M parameters too, with the normalisation of its training merged into the
    convolutions; a multiply-add is two FLOPs.

    Args:
        spatial_dims: 2 or 3.
        layers: convolutions, all 3 wide, on a grid of half the sides; 3 or more.
        features: channels between them.
        sigma: noise level in units of x that is taken where the call gives none; None builds a network without a map.
        norm: batch normalisation in all but the first and the last layer.
        bias: whether anything constant is added; without, f(a x, a sigma) = a f(x, sigma) for a > 0 in evaluation.
        activation: "relu" as published, "leaky_relu", "prelu" or "gelu".

    Attributes:
        stride: windows must begin at even voxels: 2.
        halo: voxels on each side that the result depends on, a multiple of 2; 32 for 15 layers.

    Raises:
        OptionError: an argument is out of range.

    Source:
        Zhang et al., FFDNet: toward a fast and flexible solution for CNN-based image denoising, IEEE TIP 27 (2018).

    >>> from clarivox.networks.cost import cost
    >>> cost(Ffdnet)
    Cost(layers=15, parameters=485316, kflop=242)
    >>> net = Ffdnet(layers=3, features=4)
    >>> net(torch.zeros(2, 1, 9, 8), torch.tensor([0.1, 0.2])).shape
    torch.Size([2, 1, 9, 8])
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        layers: int = 15,
        features: int = 64,
        sigma: float | None = 25 / 255,
        norm: bool = False,
        bias: bool = True,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if layers < 3 or (sigma is not None and sigma < 0):
            raise OptionError(f"layers must be 3 or more, and sigma 0 or more; found {layers}, {sigma}")
        self.sigma, self.stride = sigma, 2
        self.halo = aligned(2 * layers, 2)
        folded = 2**spatial_dims
        parts = block(spatial_dims, folded + (sigma is not None), features, norm=False, bias=bias, name=activation)
        for _ in range(layers - 2):
            parts += block(spatial_dims, features, features, norm=norm, bias=bias, name=activation)
        last = convolution(spatial_dims, features, folded, bias=bias)
        begin(last, 0.5)
        self.chain = nn.Sequential(*parts, last)

    def forward(self, x: Tensor, sigma: Tensor | float | None = None) -> Tensor:
        """Denoises images.

        Args:
            x: shape (N, 1, X, Y) or (N, 1, X, Y, Z), scaled so that bright tissue is near 1; a second channel is the
                map, for callers that give one tensor.
            sigma: noise level in units of x: a number, one for each image (N,), or a map (N, 1, ...).

        Returns:
            Shape (N, 1, ...).

        Raises:
            OptionError: a noise level is given to a network without a map.
        """
        if x.shape[1] == 2:
            x, sigma = x[:, :1], x[:, 1:]
        parts = fold(filled(x, 2), 2)
        if self.sigma is not None:
            levels = level_map(x, self.sigma if sigma is None else sigma)
            parts = torch.cat([parts, fold(filled(levels, 2), 2).mean(dim=1, keepdim=True)], dim=1)
        elif sigma is not None:
            raise OptionError("this network is blind to the noise level: build it with sigma, or give none")
        return cropped(unfold(self.chain(parts), 2), x)
