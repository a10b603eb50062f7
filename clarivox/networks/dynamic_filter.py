# SPDX-License-Identifier: Apache-2.0
"""Filtering with kernels that a network predicted: the one operator of KPN, dynamic filter networks and MWKPN."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from clarivox.errors import OptionError

_POOL: dict[int, Callable[..., Tensor]] = {2: F.avg_pool2d, 3: F.avg_pool3d}


def side(taps: int, dims: int) -> int:
    """The length of a kernel with so many taps.

    Raises:
        OptionError: no odd length gives so many.

    >>> side(25, 2), side(27, 3)
    (5, 3)
    """
    length: int = round(taps ** (1 / dims))
    if length**dims != taps or length % 2 == 0:
        raise OptionError(f"a kernel needs an odd length along each of {dims} axes; found {taps} taps")
    return length


def filtered(x: Tensor, kernels: Tensor) -> Tensor:
    """Each voxel becomes the sum of its neighbours, each times the tap that belongs to it.

    out(c, p) = sum over t of kernels(c, t, p) * x(c, p + offset(t)); beyond the edge the last voxel is repeated.

    Args:
        x: shape (N, C, *sides).
        kernels: shape (N, C, length**d, *sides), or with sides of 1 for one kernel a channel that serves the whole
            image. The last axis runs fastest through the taps.

    Returns:
        The shape of x.

    Source:
        Jia et al., Dynamic filter networks, NeurIPS 2016; Mildenhall et al., Burst denoising with kernel prediction
        networks, CVPR 2018.

    >>> ramp = torch.arange(4.0).reshape(1, 1, 1, 4)
    >>> box = torch.full((1, 1, 9, 1, 1), 1 / 9)
    >>> [round(v, 2) for v in filtered(ramp, box).flatten().tolist()]
    [0.33, 1.0, 2.0, 2.67]
    """
    dims = x.ndim - 2
    length = side(kernels.shape[2], dims)
    padded = F.pad(x, [length // 2] * 2 * dims, mode="replicate")
    if dims == 2 and kernels.requires_grad and torch.is_grad_enabled():
        # Training keeps every tap's neighbours anyway; all at once takes a tenth of the time backwards.
        near = F.unfold(padded, length).reshape(*x.shape[:2], length**2, *x.shape[2:])
        return (kernels * near).sum(dim=2)
    total = torch.zeros_like(x)
    # Tap by tap: nothing of length**d times the image's size is built beside the kernels.
    for tap, offset in enumerate(itertools.product(range(length), repeat=dims)):
        near = padded[(slice(None), slice(None), *[slice(o, o + n) for o, n in zip(offset, x.shape[2:], strict=True)])]
        total = total + kernels[:, :, tap] * near
    return total


def scale_free(logits: Tensor, x: Tensor) -> Tensor:
    """Predicted values that no longer depend on how bright the image is.

    A network without constants predicts values that grow with its input. They are divided by their own root mean
    square over all taps; a hundredth of the image's own power nearby keeps that from dividing by nothing.

    Args:
        logits: shape (N, C, taps, *sides), or with sides of 1 for the whole image.
        x: what the kernels will filter, shape (N, C, *sides).

    Returns:
        The shape of `logits`; the same for x and a x, logits and a logits, a > 0; 0 where the image is.
    """
    dims, power = x.ndim - 2, x.square().mean(dim=1, keepdim=True)
    if logits.shape[3:].numel() == 1:
        power = power.mean(dim=list(range(2, x.ndim)), keepdim=True)
    else:
        length = side(logits.shape[2], dims)
        power = _POOL[dims](F.pad(power, [length // 2] * 2 * dims, mode="replicate"), length, stride=1)
    square = logits.square().mean(dim=(1, 2), keepdim=True) + 0.01 * power[:, :, None]
    free: Tensor = logits * torch.rsqrt(square + torch.finfo(x.dtype).tiny)
    return free
