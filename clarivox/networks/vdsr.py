# SPDX-License-Identifier: Apache-2.0
"""VDSR: bicubic enlargement, then a deep chain of convolutions that finds what it lacks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clarivox.errors import OptionError
from clarivox.networks.layers import LOCAL, begin, block, convolution, without_local_mean
from clarivox.transforms.bicubic import bicubic


class Vdsr(nn.Module):
    """Enlarges 2D images by a whole number; the weights do not depend on it, one network serves several.

    The published form, which the defaults build (`configs/published.yaml` of cxr_vdsr_superres):

    | layers | kernel | channels | parameters | kFLOP for each pixel of the output |
    | --- | --- | --- | --- | --- |
    | bicubic enlargement | | 1 | 0 | |
    | 1, ReLU | 3 x 3 | 1 to 64 | 640 | 1 |
    | 18, ReLU each | 3 x 3 | 64 to 64 | 664,704 | 1327 |
    | 1, added to the enlarged image | 3 x 3 | 64 to 1 | 577 | 1 |
    | 20 | | | 665,921 | 1329 |

    The paper describes the layers and quotes neither count; 665 k parameters are quoted for it elsewhere.

    Args:
        scale: output pixels for each input pixel along X and Y, where the call gives none; 1 sharpens only.
        layers: convolutions, all 3 wide; 2 or more.
        features: channels between them.
        bias: whether convolutions add constants; without, f(a x) = a f(x) for a > 0.
        centred: the layers see the image minus its local mean, which training in bfloat16 needs; as published they see
            the image.
        activation: "relu" as published, "leaky_relu", "prelu" or "gelu".

    Attributes:
        stride: windows may begin anywhere: 1.
        halo: input pixels on each side that the result depends on at `scale`.

    Raises:
        OptionError: `scale` is not a whole number, or there are fewer than 2 layers.

    Source:
        Kim et al., Accurate image super-resolution using very deep convolutional networks, CVPR 2016.

    >>> from clarivox.networks.cost import cost
    >>> cost(Vdsr)
    Cost(layers=20, parameters=665921, kflop=1329)
    >>> cost(lambda: Vdsr(layers=14, features=48, bias=False, centred=True))  # as cxr_vdsr_superres ships it
    Cost(layers=14, parameters=249696, kflop=499)
    >>> net = Vdsr(scale=2, layers=3, features=4)
    >>> net(torch.zeros(1, 1, 5, 8)).shape, net(torch.zeros(1, 1, 5, 8), scale=3).shape
    (torch.Size([1, 1, 10, 16]), torch.Size([1, 1, 15, 24]))
    """

    def __init__(
        self,
        scale: int = 2,
        layers: int = 20,
        features: int = 64,
        bias: bool = True,
        centred: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if scale != int(scale) or scale < 1 or layers < 2:
            raise OptionError(f"scale must be a whole number, and layers 2 or more; found {scale}, {layers}")
        self.scale, self.stride, self.centred = scale, 1, centred
        reach = layers + (LOCAL // 2 if centred else 0)
        self.halo = -(-reach // scale) + 3  # Keys' kernel reaches 2 input pixels, sub-pixel offset 1
        parts = block(2, 1, features, norm=False, bias=bias, name=activation)
        for _ in range(layers - 2):
            parts += block(2, features, features, norm=False, bias=bias, name=activation)
        last = convolution(2, features, 1, bias=bias)
        begin(last, 0.1)  # near the bicubic image
        self.detail = nn.Sequential(*parts, last)

    def forward(self, x: Tensor, scale: int | None = None) -> Tensor:
        """Enlarges images.

        Args:
            x: shape (N, 1, X, Y), scaled so that the brightest values are near 1.
            scale: instead of the network's own.

        Returns:
            Shape (N, 1, scale * X, scale * Y), on the same field of view.
        """
        enlarged = bicubic(x, [n * (scale or self.scale) for n in x.shape[2:]])
        return torch.add(enlarged, self.detail(without_local_mean(enlarged) if self.centred else enlarged))
