# SPDX-License-Identifier: Apache-2.0
"""Images sampled at places between their voxels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def places(sides: tuple[int, ...], device: torch.device) -> Tensor:
    """Coordinates of the voxels from the centre, in voxels; shape (*sides, axes), the last axis in the order X, Y, Z.

    >>> places((3, 2), torch.device("cpu"))[0, 0].tolist()
    [-1.0, -0.5]
    """
    axes = [torch.arange(n, dtype=torch.float32, device=device) - (n - 1) / 2 for n in sides]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def sampled(image: Tensor, at: Tensor) -> Tensor:
    """The image at the given places: cubic between pixels of a slice, linear between voxels; mirrored outside.

    Args:
        image: shape (C, *sides).
        at: coordinates from the centre in voxels, shape (*sides, axes).

    Returns:
        float32, the shape of `image`.
    """
    sides = torch.tensor(image.shape[1:], dtype=torch.float32, device=image.device)
    scaled = (at / ((sides - 1) / 2).clamp(min=0.5)).flip(-1)[None]  # grid_sample wants the last axis first
    mode = "bicubic" if image.ndim == 3 else "bilinear"
    return F.grid_sample(image.float()[None], scaled, mode, padding_mode="reflection", align_corners=True)[0]
