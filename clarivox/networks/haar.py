# SPDX-License-Identifier: Apache-2.0
"""The orthonormal Haar wavelet transform in 2D and 3D, and its inverse."""

from __future__ import annotations

import torch
from torch import Tensor

from clarivox.errors import OptionError
from clarivox.networks.unet import fold, unfold


def _butterfly(x: Tensor, dims: int) -> Tensor:
    """Sums and differences of each group of 2**dims neighbouring channels; its own inverse."""
    parts = x.reshape(x.shape[0], -1, *[2] * dims, *x.shape[2:])
    for axis in range(2, 2 + dims):  # not a matrix product: autocast would round it to half precision
        first, second = parts.unbind(axis)
        parts = torch.stack([first + second, first - second], dim=axis)
    scaled: Tensor = parts.reshape(x.shape) * 2 ** (-dims / 2)
    return scaled


def decompose(x: Tensor, levels: int = 1) -> Tensor:
    """Splits every channel into its Haar subbands, each on a grid of half the sides.

    With several levels each subband is split again (a wavelet packet). The transform is orthonormal: the sum of squares
    and white noise keep their size; a constant c becomes c * 2**(d / 2) in the first subband, 0 in the others.

    Args:
        x: shape (N, C, X, Y) or (N, C, X, Y, Z), sides divisible by 2**levels.
        levels: how often; 0 gives x.

    Returns:
        Shape (N, C * 2**(d * levels), X / 2**levels, ...); each channel's subbands lie together, the smooth one first,
        the one that differs along the last axis second.

    Raises:
        OptionError: a side cannot be halved so often.

    Source:
        Mallat, A theory for multiresolution signal decomposition: the wavelet representation, IEEE TPAMI 11 (1989).

    >>> decompose(torch.ones(1, 1, 2, 2)).flatten()
    tensor([2., 0., 0., 0.])
    >>> decompose(torch.zeros(1, 3, 8, 8, 4), levels=2).shape
    torch.Size([1, 192, 2, 2, 1])
    """
    if any(n % 2**levels for n in x.shape[2:]):
        sides = " x ".join(str(n) for n in x.shape[2:])
        raise OptionError(f"sides must be divisible by {2**levels} voxels; found {sides}: pad the image first")
    for _ in range(levels):
        x = _butterfly(fold(x, 2), x.ndim - 2)
    return x


def recompose(subbands: Tensor, levels: int = 1) -> Tensor:
    """The inverse of `decompose`, to rounding.

    Raises:
        OptionError: the channels are not the subbands of so many levels.

    >>> x = torch.arange(32.0).reshape(1, 2, 4, 4)
    >>> bool((recompose(decompose(x, 2), 2) - x).abs().max() < 1e-5)
    True
    """
    dims = subbands.ndim - 2
    if subbands.shape[1] % 2 ** (dims * levels):
        raise OptionError(f"channels must be divisible by {2 ** (dims * levels)}; found {subbands.shape[1]}")
    for _ in range(levels):
        subbands = unfold(_butterfly(subbands, dims), 2)
    return subbands
