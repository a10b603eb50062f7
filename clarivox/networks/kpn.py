# SPDX-License-Identifier: Apache-2.0
"""Networks that predict the kernels of a filter: KPN, local and global dynamic filter networks, MWKPN."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clarivox.errors import OptionError
from clarivox.networks.dynamic_filter import filtered, scale_free
from clarivox.networks.encoder_decoder import EncoderDecoder
from clarivox.networks.haar import decompose, recompose
from clarivox.networks.layers import aligned, cropped, filled, level_map
from clarivox.networks.unet import fold

SCOPES, WEIGHTS = ("local", "global"), ("signed", "average")


class Kpn(nn.Module):
    """Denoises an image, or the frames of a burst into one, by filters that a U-Net predicts from the image.

    | name | arguments |
    | --- | --- |
    | KPN on a single frame | the defaults |
    | KPN on a burst | `frames=8` |
    | local dynamic filter network: a kernel for each voxel | `kernel=9, weights="average"` |
    | global dynamic filter network: one kernel for the image | the same and `scope="global"` |
    | MWKPN: kernels for each Haar subband, then the inverse transform | `haar_levels=2` |

    The U-Net has KPN's widths; its steps are strided and transposed convolutions and its skips are added, where the
    paper pools, interpolates and joins channels. The papers give no counts of parameters or operations.

    Args:
        spatial_dims: 2 or 3.
        frames: images that lie in the channels, the wanted one where training puts it (the middle, for neighbours).
        kernel: length of the predicted kernels, odd.
        channels: features of the U-Net at each level, finest first.
        blocks: convolutions in each stage of the U-Net.
        scope: "local", a kernel for each voxel, or "global", one for the image.
        weights: "signed", the identity plus whatever is predicted (as KPN), or "average", never negative and 1 in sum
            (as dynamic filter networks).
        haar_levels: how often image and frames are split into subbands before, for signed weights.
        sigma: noise level in units of x that is taken where the call gives none; None builds a blind network.
        bias: whether convolutions add constants; without, kernels do not depend on the image's brightness, and a blind
            network has f(a x) = a f(x) for a > 0.
        activation: "relu", "leaky_relu", "prelu" or "gelu".

    Attributes:
        stride: windows must begin at multiples of it; 16 for 5 levels, doubled by each Haar level.
        halo: voxels on each side that the result depends on, a multiple of `stride`; None for global kernels, which
            depend on the whole image: it cannot be cut into exact windows.

    Raises:
        OptionError: an argument is out of range.

    Source:
        Mildenhall et al., Burst denoising with kernel prediction networks, CVPR 2018; Jia et al., Dynamic filter
        networks, NeurIPS 2016. Kernels of subbands: the same operator after `clarivox.networks.haar`.

    >>> from clarivox.networks.cost import cost
    >>> cost(Kpn)
    Cost(layers=32, parameters=26040537, kflop=1702)
    >>> cost(lambda: Kpn(frames=8), 8, 512, 512)
    Cost(layers=32, parameters=26055944, kflop=1733)
    >>> cost(lambda: Kpn(kernel=9, weights="average"))
    Cost(layers=32, parameters=26044177, kflop=1709)
    >>> cost(lambda: Kpn(haar_levels=2))
    Cost(layers=32, parameters=26073552, kflop=110)
    >>> burst = Kpn(frames=3, channels=(4, 8), blocks=1)
    >>> burst(torch.zeros(1, 3, 9, 14)).shape, burst.stride, burst.halo
    (torch.Size([1, 1, 9, 14]), 2, 4)
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        frames: int = 1,
        kernel: int = 5,
        channels: Sequence[int] = (64, 128, 256, 512, 512),
        blocks: int = 3,
        scope: str = "local",
        weights: str = "signed",
        haar_levels: int = 0,
        sigma: float | None = None,
        bias: bool = True,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if frames < 1 or kernel % 2 == 0 or haar_levels < 0 or (sigma is not None and sigma < 0):
            found = f"{frames}, {kernel}, {haar_levels}, {sigma}"
            raise OptionError(f"frames must be 1 or more, kernel odd, haar_levels and sigma 0 or more; found {found}")
        if scope not in SCOPES or weights not in WEIGHTS:
            allowed = f"scope one of {', '.join(SCOPES)}, weights one of {', '.join(WEIGHTS)}"
            raise OptionError(f"allowed are {allowed}; found {scope!r}, {weights!r}")
        if haar_levels and weights == "average":
            raise OptionError("an average cannot shrink a detail subband: take weights='signed' with haar_levels")
        self.scope, self.weights, self.haar_levels, self.sigma = scope, weights, haar_levels, sigma
        images, self.taps = frames * 2 ** (spatial_dims * haar_levels), kernel**spatial_dims
        stages = [blocks] * (2 * len(channels) - 1)
        inputs = images + (sigma is not None)
        self.body = EncoderDecoder(
            spatial_dims, inputs, images * self.taps, channels, stages, bias, activation=activation
        )
        self.stride = self.body.stride << haar_levels
        reach = max(self.body.reach, kernel // 2) << haar_levels
        self.halo = aligned(reach, self.stride) if scope == "local" else None
        begin = torch.full((1, images, self.taps, *[1] * spatial_dims), 0.05 if weights == "signed" else 1.0)
        self.gain = None if bias else nn.Parameter(begin)

    def kernels(self, x: Tensor, sigma: Tensor | float | None = None) -> Tensor:
        """The kernels that `x` will be filtered with.

        Args:
            x: as for the call.
            sigma: as for the call.

        Returns:
            Shape (N, frames * subbands, kernel**d, *sides of a subband), or with sides of 1 for global kernels. Sides
            that are not multiples of `stride` are lengthened to the next one.

        Raises:
            OptionError: a noise level is given to a blind network.
        """
        subbands = decompose(filled(x, self.stride), self.haar_levels)
        return self._kernels(subbands, self._level(x, sigma))

    def _level(self, x: Tensor, sigma: Tensor | float | None) -> list[Tensor]:
        """The map of the noise level on the grid of the subbands, if the network takes one."""
        if self.sigma is not None:
            levels = filled(level_map(x, self.sigma if sigma is None else sigma), self.stride)
            return [fold(levels, 2**self.haar_levels).mean(dim=1, keepdim=True)]
        if sigma is not None:
            raise OptionError("this network is blind to the noise level: build it with sigma, or give none")
        return []

    def _kernels(self, subbands: Tensor, level: list[Tensor]) -> Tensor:
        predicted: Tensor = self.body(torch.cat([subbands, *level], dim=1)).to(subbands.dtype)
        if self.scope == "global":
            predicted = predicted.mean(dim=list(range(2, predicted.ndim)), keepdim=True)
        logits = predicted.reshape(predicted.shape[0], -1, self.taps, *predicted.shape[2:])
        if self.gain is not None:
            logits = scale_free(logits, subbands) * self.gain
        centre = torch.zeros_like(logits[:1, :1])
        centre[:, :, self.taps // 2] = 1
        if self.weights == "signed":
            return torch.add(logits, centre)
        # Nine tenths of the first weights lie in the centre; the frames share one sum.
        shared = logits + centre * math.log(9 * max(self.taps - 1, 1))
        share = torch.softmax(shared.flatten(1, 2), dim=1).reshape(logits.shape)
        return torch.mul(share, logits.shape[1])

    def per_frame(self, x: Tensor, sigma: Tensor | float | None = None) -> Tensor:
        """What each frame alone says of the result; the result is their mean.

        Training a burst weighs the error of each of these too, less and less (the paper's annealed loss).

        Args:
            x: as for the call.
            sigma: as for the call.

        Returns:
            The shape of x.

        Raises:
            OptionError: a noise level is given to a blind network.
        """
        subbands = decompose(filled(x, self.stride), self.haar_levels)
        kernels = self._kernels(subbands, self._level(x, sigma))
        return cropped(recompose(filtered(subbands, kernels), self.haar_levels), x)

    def forward(self, x: Tensor, sigma: Tensor | float | None = None) -> Tensor:
        """Denoises an image or a burst.

        Args:
            x: shape (N, frames, X, Y) or (N, frames, X, Y, Z), scaled so that bright tissue is near 1.
            sigma: noise level in units of x: a number, one for each image (N,), or a map (N, 1, X, Y).

        Returns:
            Shape (N, 1, X, Y) or (N, 1, X, Y, Z).

        Raises:
            OptionError: a noise level is given to a blind network.
        """
        return self.per_frame(x, sigma).mean(dim=1, keepdim=True)
