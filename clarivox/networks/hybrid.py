# SPDX-License-Identifier: Apache-2.0
"""A classical filter first, then a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clarivox.errors import OptionError

SEES = ("residual", "filtered")
HALF = (torch.float16, torch.bfloat16)


class Hybrid(nn.Module):
    """A filter without weights takes the bulk of the noise; a network mends what it did.

    "residual": the network looks at what the filter took away and finds in it what should be put back. "filtered": the
    network looks at the filter's result and takes away what the filter left. Either can work in the wavelet domain:
    with a network that does (`clarivox.networks.mwcnn.Mwcnn`), or with a filter that does
    (`clarivox.classical.WaveletShrinkage`).

    Args:
        filter: takes and gives pictures of one shape; no gradient goes through it.
        network: likewise; it is what is trained.
        sees: "residual" or "filtered".

    Attributes:
        stride, halo: of filter and network together; the halo is None where one of them sees the whole picture.

    Raises:
        OptionError: `sees` is neither.

    Source:
        Zhang et al., Beyond a Gaussian denoiser, IEEE TIP 26 (2017), for what a network finds in a residual; Buades et
        al., A review of image denoising algorithms, MMS 4 (2005), for the structure that filters leave in it.

    >>> Hybrid(nn.AvgPool2d(3, 1, 1), nn.Identity())(torch.ones(1, 1, 5, 4)).unique()
    tensor([1.])
    """

    def __init__(self, filter: nn.Module, network: nn.Module, sees: str = "residual") -> None:
        super().__init__()
        if sees not in SEES:
            raise OptionError(f"a hybrid's network sees {' or '.join(SEES)}; found {sees}")
        self.filter, self.network, self.sees = filter, network, sees
        halos = [getattr(part, "halo", None) for part in (filter, network)]
        self.stride = max(int(getattr(part, "stride", 1)) for part in (filter, network))
        self.halo = None if None in halos else sum(int(reach) for reach in halos if reach is not None)

    def forward(self, x: Tensor) -> Tensor:
        """Restores pictures; shape (N, 1, *spatial), any that both parts take.

        Returns:
            The same shape.
        """
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            filtered: Tensor = self.filter(x.float() if x.dtype in HALF else x)
        if self.sees == "filtered":
            refined: Tensor = self.network(filtered)
            return refined
        restored: Tensor = filtered + self.network(x - filtered)
        return restored
