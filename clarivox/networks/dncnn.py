# SPDX-License-Identifier: Apache-2.0
"""DnCNN: a chain of convolutions that finds the noise, which is then taken away."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clarivox.errors import OptionError
from clarivox.networks.layers import begin, block, convolution


class Dncnn(nn.Module):
    """Denoises images of any size by x - noise(x).

    The published DnCNN-S, for one noise level, has 17 layers; DnCNN-B and DnCNN-3 have 20.

        layers   convolution, 3 x 3   normalised   parameters     kFLOP a pixel
        1        1 to 64              no           640            1.2
        2 to 16  64 to 64             yes          36,992 each    73.7 each
        17       64 to 1              no           577            1.2
        all                                        556,097        1108
        with 20 layers                             667,073        1329

    The paper's own networks have 0.556 M and 0.667 M parameters, as here. The FLOPs, which it does not give, lie in the
    convolutions alone; a multiply-add is two.

    Args:
        spatial_dims: 2 or 3.
        layers: convolutions, all 3 wide; 3 or more.
        features: channels between them.
        norm: batch normalisation in all but the first and the last layer.
        bias: whether anything constant is added; without, f(a x) = a f(x) for a > 0 in evaluation.
        activation: "relu" as published, "leaky_relu", "prelu" or "gelu".

    Attributes:
        stride: windows may begin anywhere: 1.
        halo: voxels on each side that the result depends on; 17 for 17 layers. In training the normalisation sees
            the whole batch.

    Raises:
        OptionError: an argument is out of range.

    Source:
        Zhang et al., Beyond a Gaussian denoiser: residual learning of deep CNN for image denoising, IEEE TIP 26 (2017).

    >>> from clarivox.networks.cost import cost
    >>> cost(Dncnn)
    Cost(layers=17, parameters=556097, kflop=1108)
    >>> cost(lambda: Dncnn(layers=20))
    Cost(layers=20, parameters=667073, kflop=1329)
    >>> Dncnn(3, layers=3, features=4, bias=False)(torch.zeros(1, 1, 5, 6, 7)).shape
    torch.Size([1, 1, 5, 6, 7])
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        layers: int = 17,
        features: int = 64,
        norm: bool = True,
        bias: bool = True,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if layers < 3:
            raise OptionError(f"layers must be 3 or more; found {layers}")
        self.stride, self.halo = 1, layers
        parts = block(spatial_dims, 1, features, norm=False, bias=bias, name=activation)
        for _ in range(layers - 2):
            parts += block(spatial_dims, features, features, norm=norm, bias=bias, name=activation)
        last = convolution(spatial_dims, features, 1, bias=bias)
        begin(last, 0.1)  # near the identity
        self.noise = nn.Sequential(*parts, last)

    def forward(self, x: Tensor) -> Tensor:
        """Denoises images.

        Args:
            x: shape (N, 1, X, Y) or (N, 1, X, Y, Z), scaled so that bright tissue is near 1.

        Returns:
            The same shape.
        """
        noise: Tensor = self.noise(x)
        return torch.sub(x, noise)
