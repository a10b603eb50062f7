# SPDX-License-Identifier: Apache-2.0
"""How strong the noise of a picture is."""

from __future__ import annotations

import torch
from torch import Tensor

from clarivox.errors import OptionError


def check_noise(level: float, sigma: float) -> None:
    """Refuse what no noise can be.

    Raises:
        OptionError: `level` or `sigma` is below 0.
    """
    if level < 0 or sigma < 0:
        raise OptionError(f"level and sigma must be 0 or more; found {level}, {sigma}")


def noise_level(x: Tensor) -> Tensor:
    """Standard deviation of each picture's noise, from its diagonal Haar details; structure hardly counts.

    Where four neighbours all have the picture's lowest or all its highest value (background, padding, saturation)
    there is no noise to see, and they do not count. Noise that is correlated between pixels is underestimated.

    Args:
        x: shape (N, 1, X, Y).

    Returns:
        Shape (N, 1, 1, 1), in the picture's unit; 0 where nothing counts.

    Source:
        Donoho and Johnstone, Ideal spatial adaptation by wavelet shrinkage, Biometrika 81 (1994).

    >>> noise = torch.randn(1, 1, 200, 200, generator=torch.Generator().manual_seed(0))
    >>> abs(float(noise_level(100 + 3 * noise)) - 3) < 0.1
    True
    """
    if min(x.shape[2:]) < 2:
        return x.new_zeros((len(x), 1, 1, 1))
    found = []
    for picture in x:
        cells = picture[..., : picture.shape[1] // 2 * 2, : picture.shape[2] // 2 * 2].unfold(1, 2, 2).unfold(2, 2, 2)
        cells = cells.reshape(-1, 4)
        lowest, highest = cells.amin(1), cells.amax(1)
        counts = (highest > picture.min()) & (lowest < picture.max())
        detail = (cells[:, 0] - cells[:, 1] - cells[:, 2] + cells[:, 3])[counts].abs() / 2
        # 0.6745 is the median of the magnitude of a normal variable of standard deviation 1.
        found.append(detail.median() / 0.6745 if len(detail) else x.new_zeros(()))
    return torch.stack(found)[:, None, None, None]


def noise_of(x: Tensor, level: float, sigma: float) -> Tensor:
    """`level` times `sigma`, or times what `noise_level` finds where `sigma` is 0; shape (N, 1, 1, 1)."""
    return level * (x.new_full((len(x), 1, 1, 1), sigma) if sigma else noise_level(x))
