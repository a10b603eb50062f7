# SPDX-License-Identifier: Apache-2.0
"""Another voxel spacing, and the way back that loses nothing."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from clarivox.errors import OptionError
from clarivox.transforms.bicubic import bicubic
from clarivox.transforms.twins import DictionaryTwin


class Respace:
    """Brings an image from one voxel spacing to another by antialiased cubic interpolation.

    The field of view stays; as lengths are whole, the spacing that results differs by up to half a voxel over the whole
    length. `back` returns to the original grid: it carries over what was CHANGED on the new grid and keeps the
    original's own detail, so an image that was not changed comes back bit for bit.

    Args:
        spacing_mm: of the image, for each spatial axis.
        new_spacing_mm: wanted.

    Raises:
        OptionError: a spacing is not above 0, or the two differ in their number of axes.

    >>> import torch
    >>> respace, image = Respace((1.0, 1.0, 3.0), (2.0, 2.0, 2.0)), torch.rand(1, 8, 6, 4)
    >>> respace(image).shape
    torch.Size([1, 4, 3, 6])
    >>> torch.equal(respace.back(respace(image), image), image)
    True
    """

    def __init__(self, spacing_mm: Sequence[float], new_spacing_mm: Sequence[float]) -> None:
        if len(spacing_mm) != len(new_spacing_mm) or not all(each > 0 for each in (*spacing_mm, *new_spacing_mm)):
            raise OptionError(
                "respacing needs as many spacings before as after, above 0 mm; "
                f"found {tuple(spacing_mm)} and {tuple(new_spacing_mm)}"
            )
        self.factors = tuple(old / new for old, new in zip(spacing_mm, new_spacing_mm, strict=True))

    def __call__(self, image: Tensor) -> Tensor:
        """The image on the new grid, float32; shape (C, *spatial).

        Raises:
            OptionError: the image has not one axis for each spacing.
        """
        if image.ndim - 1 != len(self.factors):
            raise OptionError(f"spacings of {len(self.factors)} axes were given; found {image.ndim - 1} in the image")
        sizes = [max(1, round(n * f)) for n, f in zip(image.shape[1:], self.factors, strict=True)]
        return bicubic(image.float(), sizes)

    def back(self, changed: Tensor, original: Tensor) -> Tensor:
        """The original with the change that was made on the new grid, float32, shape of `original`."""
        return original.float() + bicubic(changed.float() - self(original), original.shape[1:])


class Respaced(DictionaryTwin):
    """Dictionary twin of `Respace`."""

    of = Respace
