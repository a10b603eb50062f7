# SPDX-License-Identifier: Apache-2.0
"""The SRGAN generator. Trained against a discriminator it may invent texture, and its output must say so.

The discriminator judges patches; it is MONAI's, which the training's configuration names directly:

>>> from monai.networks.nets import PatchDiscriminator
>>> judge = PatchDiscriminator(spatial_dims=2, channels=8, in_channels=1, num_layers_d=3)
>>> judge(torch.zeros(2, 1, 64, 64))[-1].shape  # a verdict for each patch; the features before it come first
torch.Size([2, 1, 6, 6])
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clarivox.errors import OptionError
from clarivox.networks.layers import LOCAL, activation, begin, block, convolution, without_local_mean
from clarivox.transforms.bicubic import bicubic


class _Residual(nn.Sequential):
    """x + two convolutions with an activation between them."""

    def __init__(self, features: int, norm: bool, bias: bool) -> None:
        first = block(2, features, features, norm=norm, bias=bias, name="prelu")
        super().__init__(*first, *block(2, features, features, norm=norm, bias=bias, name=None))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x."""
        change = x
        for layer in self:
            change = layer(change)
        return torch.add(x, change)


def steps(scale: int) -> list[int]:
    """The twos and threes whose product is the scale.

    Raises:
        OptionError: there are other factors, or the scale is below 2.

    >>> steps(4), steps(6)
    ([2, 2], [2, 3])
    """
    found, rest = [], scale
    for factor in (2, 3):
        while rest > 1 and rest % factor == 0:
            found.append(factor)
            rest //= factor
    if rest != 1 or not found:
        raise OptionError(f"scale must be a product of twos and threes; found {scale}")
    return found


class SrganGenerator(nn.Module):
    """Enlarges 2D images: residual blocks on the small grid, then pixel shuffles.

    The published form (SRResNet, the generator of SRGAN, x4), which the defaults build for one channel
    (`configs/published.yaml` of cxr_srgan_superres):

    | layers | grid | channels | parameters | kFLOP for each pixel of the output |
    | --- | --- | --- | --- | --- |
    | 9 x 9, PReLU | 1/4 | 1 to 64 | 5,249 | 1 |
    | 16 blocks of two 3 x 3, normalised, PReLU between | 1/4 | 64 | 1,183,760 | 147 |
    | 3 x 3, normalised, added to the first layer's result | 1/4 | 64 | 36,992 | 5 |
    | 3 x 3, pixel shuffle, PReLU | 1/4 to 1/2 | 64 to 256 to 64 | 147,713 | 18 |
    | 3 x 3, pixel shuffle, PReLU | 1/2 to 1 | 64 to 256 to 64 | 147,713 | 74 |
    | 9 x 9 | 1 | 64 to 1 | 5,185 | 10 |
    | 37 | | | 1,526,612 | 255 |

    The paper quotes neither count; about 1.5 M parameters are quoted elsewhere, for colour images.

    Args:
        scale: output pixels for each input pixel along X and Y, a product of twos and threes.
        blocks: residual blocks of two convolutions.
        features: channels.
        kernel: length of the first and the last kernel, odd.
        norm: batch normalisation in the blocks and after them.
        skip: add the bicubic image to the result. The published form has no skip.
        bias: whether anything constant is added; without, f(a x) = a f(x) for a > 0 in evaluation.
        centred: the layers see the image minus its local mean, which training in bfloat16 needs; with `skip` only.

    Attributes:
        stride: windows may begin anywhere: 1.
        halo: input pixels on each side that the result depends on; 40 as published.

    Raises:
        OptionError: an argument is out of range.

    Source:
        Ledig et al., Photo-realistic single image super-resolution using a generative adversarial network, CVPR 2017.

    >>> from clarivox.networks.cost import cost
    >>> cost(SrganGenerator, 1, 128, 128)
    Cost(layers=37, parameters=1526612, kflop=255)
    >>> def shipped(scale=2):  # as cxr_srgan_superres
    ...     return SrganGenerator(scale, 8, 32, kernel=5, norm=False, skip=True, bias=False, centred=True)
    >>> cost(shipped, 1, 128, 128), cost(lambda: shipped(4), 1, 128, 128)
    (Cost(layers=20, parameters=195146, kflop=99), Cost(layers=21, parameters=232011, kflop=44))
    >>> SrganGenerator(scale=3, blocks=1, features=4)(torch.zeros(1, 1, 5, 8)).shape
    torch.Size([1, 1, 15, 24])
    """

    def __init__(
        self,
        scale: int = 4,
        blocks: int = 16,
        features: int = 64,
        kernel: int = 9,
        norm: bool = True,
        skip: bool = False,
        bias: bool = True,
        centred: bool = False,
    ) -> None:
        super().__init__()
        if centred and not skip:
            raise OptionError("centred needs skip: without it nothing brings the local mean back")
        if kernel % 2 == 0 or blocks < 1:
            raise OptionError(f"kernel must be odd, and blocks 1 or more; found {kernel}, {blocks}")
        factors = steps(scale)
        self.scale, self.skip, self.centred, self.stride = scale, skip, centred, 1
        reach = kernel // 2
        for factor in reversed(factors):  # back through a shuffle and the convolution before it
            reach = -(-reach // factor) + 1
        self.halo = reach + 1 + 2 * blocks + kernel // 2 + (LOCAL // 2 if centred else 0)
        self.enter = nn.Sequential(convolution(2, 1, features, kernel, bias=bias), activation("prelu"))
        self.body = nn.Sequential(
            *[_Residual(features, norm, bias) for _ in range(blocks)],
            *block(2, features, features, norm=norm, bias=bias, name=None),
        )
        enlarging: list[nn.Module] = []
        for factor in factors:
            widened = convolution(2, features, features * factor**2, bias=bias)
            enlarging += [widened, nn.PixelShuffle(factor), activation("prelu")]
        self.enlarge = nn.Sequential(*enlarging)
        self.leave = convolution(2, features, 1, kernel, bias=bias)
        begin(self.leave, 0.1 if skip else 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges images.

        Args:
            x: shape (N, 1, X, Y), scaled so that the brightest values are near 1.

        Returns:
            Shape (N, 1, scale * X, scale * Y), on the same field of view.
        """
        features = self.enter(without_local_mean(x) if self.centred else x)
        detail: Tensor = self.leave(self.enlarge(torch.add(features, self.body(features))))
        return detail + bicubic(x, [n * self.scale for n in x.shape[2:]]) if self.skip else detail
