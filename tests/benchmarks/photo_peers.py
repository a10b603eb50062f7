# SPDX-License-Identifier: Apache-2.0
"""Filters of scikit-image for pictures with white noise, told the true level, with parameters searched on pictures.

BM3D is not among them: its package on PyPI is for non-commercial use, another is under the GPL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from clarivox.protocols import DncnnGray
from tests.benchmarks.mr_peers import Peer, tuned

Restore = Callable[[Tensor], Tensor]


def _of(peer: Peer, sigma: float) -> Restore:
    def restore(noisy: Tensor) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(peer(noisy[0].numpy(), sigma / 255)[None], np.float32))

    return restore


def peers(clean: Sequence[Tensor], sigma: float) -> dict[str, Restore]:
    """By name: each filter with what was best for a noise level.

    Args:
        clean: the pictures to search on, shape (1, X, Y), range 0 to 1.
        sigma: of 255.
    """
    protocol = DncnnGray(sigma, seed=1)
    pictures = [(protocol.worse(image)[0].numpy(), image[0].numpy(), np.ones(image.shape[1:], bool)) for image in clean]
    return {f"{peer.name}, tuned": _of(peer, sigma) for peer in tuned(pictures, sigma / 255) if not peer.corrected}
