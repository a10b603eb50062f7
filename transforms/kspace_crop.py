# SPDX-License-Identifier: Apache-2.0
"""An MR image of which only the middle of k-space was measured: lower resolution, ringing at edges.

For ringing of a given strength without a measured matrix, MONAI's GibbsNoise, GibbsNoised and RandGibbsNoise serve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from clarivox.errors import OptionError
from clarivox.transforms.twins import DictionaryTwin, RandomTwin


class KSpaceCrop:
    """Keeps the middle of k-space and gives the magnitude image.

    Args:
        keep: fraction of the measured lines along X and Y, one number, or one for each of the first axes; above 0, at
            most 1. Lengths are rounded to whole lines.
        zero_fill: True fills the rest with zeros, as scanners do, so the grid stays and neighbours become correlated;
            False gives the smaller grid over the same field of view.

    Raises:
        OptionError: a fraction is out of range.

    Source:
        Bernstein, Fain and Riederer, Effect of windowing and zero-filled reconstruction of MRI data on spatial
        resolution and acquisition strategy, J Magn Reson Imaging 14 (2001).

    >>> KSpaceCrop(0.5, zero_fill=False)(torch.ones(1, 16, 12)).shape
    torch.Size([1, 8, 6])
    """

    def __init__(self, keep: float | Sequence[float], zero_fill: bool = True) -> None:
        self.keep = (keep, keep) if isinstance(keep, int | float) else tuple(keep)
        if not all(0 < each <= 1 for each in self.keep):
            raise OptionError(f"the fraction of k-space that is kept lies above 0 and is at most 1; found {keep}")
        self.zero_fill = zero_fill

    def __call__(self, image: Tensor) -> Tensor:
        """The magnitude, float32; `image` has shape (C, X, Y) or (C, X, Y, Z).

        Raises:
            OptionError: there are more fractions than axes.
        """
        if len(self.keep) > image.ndim - 1:
            raise OptionError(f"one fraction for each of {image.ndim - 1} axes at most; found {self.keep}")
        complex_image = image.to(torch.complex64)
        for axis, keep in enumerate(self.keep, start=1):
            complex_image = self._along(complex_image, axis, max(1, round(keep * image.shape[axis])))
        return complex_image.abs()

    def _along(self, image: Tensor, axis: int, lines: int) -> Tensor:
        """The image with the middle `lines` of one axis of k-space."""
        length = image.shape[axis]
        if lines == length:
            return image
        first = length // 2 - lines // 2
        spectrum = torch.fft.fftshift(torch.fft.fft(image, dim=axis), dim=axis).narrow(axis, first, lines)
        if self.zero_fill:
            padded = torch.zeros_like(image)
            padded.narrow(axis, first, lines).copy_(spectrum)
            filled: Tensor = torch.fft.ifft(torch.fft.ifftshift(padded, dim=axis), dim=axis)
            return filled
        # Larger pixels have their first centre further in: half the difference of the sides.
        shift = (length / lines - 1) / 2
        number = torch.arange(lines, device=image.device) - lines // 2
        phase = torch.exp(2j * math.pi * number * shift / length)
        spectrum = spectrum * phase.reshape([-1 if d == axis else 1 for d in range(image.ndim)])
        smaller: Tensor = torch.fft.ifft(torch.fft.ifftshift(spectrum, dim=axis), dim=axis) * (lines / length)
        return smaller


class KSpaceCropd(DictionaryTwin):
    """Dictionary twin of `KSpaceCrop`."""

    of = KSpaceCrop


class RandKSpaceCrop(RandomTwin):
    """Draws a fraction for X and one for Y, then calls `KSpaceCrop` with zeros filled in.

    Args:
        keep: smallest and largest fraction, drawn evenly between.
        prob: chance that anything is done at all.
    """

    def __init__(self, keep: tuple[float, float] = (0.5, 1.0), prob: float = 1.0) -> None:
        super().__init__(prob)
        self.keep = keep

    def draw(self) -> KSpaceCrop:
        """The next matrix."""
        return KSpaceCrop((self.evenly(self.keep), self.evenly(self.keep)))
