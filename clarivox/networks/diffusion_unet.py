# SPDX-License-Identifier: Apache-2.0
"""MONAI's diffusion U-Net, conditioned by the noisy volume, and a small form of it on wavelet subbands."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import DiffusionModelUNet
from torch import Tensor, nn

from clarivox.errors import OptionError
from clarivox.networks.haar import decompose, recompose


class ConditionedDiffusionUNet(nn.Module):
    """One step of a diffusion: from what is diffused, the noisy volume and the step's number to what the step needs.

    All three come as channels of one tensor, so that whatever runs, traces or trains a network of images can do so
    with this one. Group norm and attention see the whole window: its windows are blended.

    The field's configuration (`configs/published.yaml` of the two bundles: channels 64, 128, 256, 512, two residual
    blocks a level, attention at the last three levels and in the bottleneck, no wavelets) and the one that is shipped,
    for one window of 64^3 and one step, a multiply-add being two operations; a test counts them anew:

        stage            field: parameters   GFLOP    shipped: parameters   GFLOP
        conv_in                      3,520     1.8                 13,856     0.9
        time_embed                  82,432     0.0                 20,736     0.0
        down_blocks.0              586,688   239.2                 87,296     3.9
        down_blocks.1            2,198,912  1213.7                 53,376     2.3
        down_blocks.2            8,657,664    91.5
        down_blocks.3           27,276,288    28.7
        middle_block            29,632,512    30.6                 95,536     2.6
        up_blocks.0             72,245,248   125.9                168,820     6.3
        up_blocks.1             20,001,280   315.1                175,224    10.9
        up_blocks.2              5,052,672  2176.5
        up_blocks.3              1,185,792   594.9
        out                          1,857     0.9                  6,984     0.5
        all                    166,924,865  4818.8                621,828    27.3

    Half precision: 318 MiB and 1.2 MiB. No paper is at hand that prints such a table for this configuration; counted
    beside it from MONAI's network alone, before this one was written: 166.9 M, 318 MiB, 4.819 TFLOP.

    Args:
        spatial_dims: 2 or 3.
        channels, attention_levels, num_res_blocks, norm_num_groups, num_head_channels: as in MONAI.
        haar_levels: 0 gives the network the voxels, as the field does; 1 the Haar subbands of 2 x 2 x 2 blocks, which
            costs an eighth for the same channels.
        gain: the noisy volume, less 0.5, is multiplied by this at the entrance, so that its noise is not lost beside
            what is diffused.
        timesteps: steps of the whole diffusion.

    Attributes:
        stride: windows must begin at multiples of it.
        halo: None, for there is no bound.

    Raises:
        OptionError: the sides of a window are no multiples of the stride.

    Source:
        Ho et al., Denoising diffusion probabilistic models, arXiv 2006.11239; Pinaya et al., arXiv 2209.07162 (MONAI's
        network); Saharia et al., Image super-resolution via iterative refinement, arXiv 2104.07636 (the condition as a
        further channel).

    >>> from clarivox.networks.cost import cost
    >>> cost(ConditionedDiffusionUNet, 3, 64, 64, 64)
    Cost(layers=25, parameters=621828, kflop=75)
    """

    halo = None

    def __init__(
        self,
        spatial_dims: int = 3,
        channels: Sequence[int] = (32, 28),
        attention_levels: Sequence[bool] = (False, True),
        num_res_blocks: int = 1,
        norm_num_groups: int = 4,
        num_head_channels: int = 14,
        haar_levels: int = 1,
        gain: float = 5.0,
        timesteps: int = 1000,
    ) -> None:
        super().__init__()
        bands = 2 ** (spatial_dims * haar_levels)
        self.haar_levels, self.gain, self.timesteps = haar_levels, gain, timesteps
        self.stride = 2 ** (haar_levels + len(channels) - 1)
        self.unet = DiffusionModelUNet(
            spatial_dims,
            2 * bands,
            bands,
            num_res_blocks=num_res_blocks,
            channels=tuple(channels),
            attention_levels=tuple(attention_levels),
            norm_num_groups=norm_num_groups,
            num_head_channels=num_head_channels,
        )

    def forward(self, x: Tensor) -> Tensor:
        """The network's prediction.

        Args:
            x: shape (N, 3, *spatial): what is diffused, the noisy volume, and the step's number as a share of
                `timesteps`, the same at every voxel.

        Returns:
            Shape (N, 1, *spatial).
        """
        if any(n % self.stride for n in x.shape[2:]):
            sides = " x ".join(str(n) for n in x.shape[2:])
            raise OptionError(f"the sides of a window must be multiples of {self.stride} voxels; found {sides}")
        step = (x[:, 2].flatten(1)[:, 0].float() * self.timesteps).round()
        seen = torch.cat((x[:, :1], self.gain * (x[:, 1:2] - 0.5)), dim=1)
        return recompose(self.unet(decompose(seen, self.haar_levels), step), self.haar_levels)
