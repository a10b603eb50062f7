# SPDX-License-Identifier: Apache-2.0
"""Antialiased bicubic resizing, the way MATLAB's imresize and Pillow do it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from functools import lru_cache

import torch
from torch import Tensor

from clarivox.errors import OptionError
from clarivox.transforms.twins import DictionaryTwin


def _cubic(x: Tensor) -> Tensor:
    """Keys' kernel with a = -0.5."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


@lru_cache(maxsize=64)
def bicubic_matrix(size: int, new_size: int) -> Tensor:
    """The weights that take `size` samples to `new_size`: a matrix of shape (new_size, size), float32, on the CPU.

    Sample centres are at half integers, so the field of view is kept. When shrinking, the kernel is stretched by the
    factor (antialiasing). At the border the kernel is cut and renormalised, as Pillow does; MATLAB mirrors the image
    there, and differs within two source pixels of the border.

    Source:
        Keys, Cubic convolution interpolation, IEEE TASSP 29 (1981).

    >>> bicubic_matrix(8, 4).sum(dim=1).round(decimals=5)
    tensor([1., 1., 1., 1.])
    """
    step = size / new_size
    stretch = max(step, 1.0)
    # What is kept for later calls must not belong to the mode or the device of the first.
    with torch.inference_mode(False), torch.device("cpu"):
        centres = (torch.arange(new_size, dtype=torch.float64) + 0.5) * step
        samples = torch.arange(size, dtype=torch.float64) + 0.5
        weights = _cubic((samples[None, :] - centres[:, None]) / stretch)
        return (weights / weights.sum(dim=1, keepdim=True)).float()


def bicubic(image: Tensor, sizes: Sequence[int]) -> Tensor:
    """Resizes the last axes of an image.

    Args:
        image: shape (..., *spatial), any floating type.
        sizes: the new length of each of the last `len(sizes)` axes.

    >>> bicubic(torch.ones(1, 1, 6, 9), (12, 3)).shape
    torch.Size([1, 1, 12, 3])
    """
    kind = image.device.type
    mixed = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    # A network adds its detail to this image: autocast would round it to three digits.
    with torch.autocast(kind, enabled=False) if mixed else nullcontext():
        for axis, new_size in enumerate(sizes, start=image.ndim - len(sizes)):
            if image.shape[axis] != new_size:
                matrix = bicubic_matrix(image.shape[axis], new_size).to(image)
                image = (image.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
    return image


def stored(image: Tensor, levels: int = 256) -> Tensor:
    """The image clipped to 0..1 and rounded to `levels` grey levels, as a file would hold it.

    >>> stored(torch.tensor([-0.2, 0.3, 1.4]), levels=3)
    tensor([0.0000, 0.5000, 1.0000])
    """
    return (image.clamp(0, 1) * (levels - 1)).round() / (levels - 1)


class BicubicResize:
    """Shrinks or enlarges an image of shape (C, X, Y) or (C, X, Y, Z).

    Args:
        factor: output samples for each input sample, one number or one for each spatial axis; 0.5 halves, 3 triples.
            Lengths are rounded up.
        levels: grey levels between 0 and 1 that the result is clipped and rounded to, as in a stored picture
            (256 for 8 bits); None keeps it as computed.

    Raises:
        OptionError: a factor is not above 0.

    >>> BicubicResize(1 / 3)(torch.ones(1, 9, 12)).shape
    torch.Size([1, 3, 4])
    """

    def __init__(self, factor: float | Sequence[float], levels: int | None = None) -> None:
        self.factors = (factor,) if isinstance(factor, int | float) else tuple(factor)
        if not all(each > 0 for each in self.factors):
            raise OptionError(f"a resize factor must be above 0; found {factor}")
        self.levels = levels

    def __call__(self, image: Tensor) -> Tensor:
        """The resized image, float32.

        Raises:
            OptionError: there are several factors, and not one for each spatial axis.
        """
        # 9 * (1/3) is 3.0000000000000004 for some factors: a ninth digit decides no length.
        axes = image.ndim - 1
        if len(self.factors) not in (1, axes):
            raise OptionError(f"one factor, or one for each of {axes} axes, is needed; found {self.factors}")
        factors = self.factors * axes if len(self.factors) == 1 else self.factors
        resized = bicubic(
            image.float(), [math.ceil(round(n * f, 9)) for n, f in zip(image.shape[1:], factors, strict=True)]
        )
        return resized if self.levels is None else stored(resized, self.levels)


class BicubicResized(DictionaryTwin):
    """Dictionary twin of `BicubicResize`."""

    of = BicubicResize
