# SPDX-License-Identifier: Apache-2.0
"""What a network costs, counted without computing anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

_LAYERS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class Cost(NamedTuple):
    """The size of a network."""

    layers: int
    """Convolutions, transposed ones included."""
    parameters: int
    kflop: int
    """Thousands of floating-point operations in convolutions for each voxel of the output; a multiply-add is two."""


def cost(make: Callable[[], nn.Module], *shape: int) -> Cost:
    """Counts a network on torch's meta device, which has shapes but no numbers.

    Args:
        make: gives the network; its class, if the defaults are meant.
        shape: channels and sides of the input; (1, 512, 512) unless told.

    >>> cost(lambda: nn.Conv2d(1, 64, 3, padding=1))
    Cost(layers=1, parameters=640, kflop=1)
    """
    with torch.device("meta"), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network = make().eval()
        output = network(torch.empty(1, *(shape or (1, 512, 512))))
    counts = counter.get_flop_counts()["Global"]
    flops = sum(count for operation, count in counts.items() if "convolution" in str(operation))
    return Cost(
        sum(isinstance(module, _LAYERS) for module in network.modules()),
        sum(parameter.numel() for parameter in network.parameters()),
        round(flops / output[0, 0].numel() / 1000),
    )
