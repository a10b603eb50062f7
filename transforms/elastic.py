# SPDX-License-Identifier: Apache-2.0
"""Images bent by a smooth random field."""

from __future__ import annotations

import torch
from torch import Tensor

from clarivox.errors import OptionError
from clarivox.transforms.bicubic import bicubic
from clarivox.transforms.twins import DictionaryTwin, RandomTwin
from clarivox.transforms.warp import places, sampled


class Elastic:
    """Moves the voxels of an image of shape (C, X, Y) or (C, X, Y, Z) by a field drawn on a coarse grid.

    Args:
        shift: standard deviation of the shift at the grid's points along each axis, in voxels.
        spacing: of the grid's points, in voxels; shifts far below it do not fold the image.
        seed: the same seed gives the same field for the same shape.

    Raises:
        OptionError: the shift is below 0, or the spacing below 2.

    Source:
        Simard et al., Best practices for convolutional neural networks, ICDAR 2003.

    >>> image = torch.rand(1, 24, 20)
    >>> torch.allclose(Elastic(0.0)(image), image, atol=1e-5), torch.allclose(Elastic(1.0)(image), image, atol=1e-5)
    (True, False)
    """

    def __init__(self, shift: float = 2.0, spacing: int = 16, seed: int = 0) -> None:
        if shift < 0 or spacing < 2:
            raise OptionError(f"the shift must be 0 or more and the spacing 2 or more voxels; found {shift}, {spacing}")
        self.shift, self.spacing, self.seed = shift, spacing, seed

    def __call__(self, image: Tensor) -> Tensor:
        """The bent image, float32, on the same grid."""
        sides = tuple(image.shape[1:])
        coarse = [max(2, -(-n // self.spacing) + 1) for n in sides]
        generator = torch.Generator().manual_seed(self.seed)
        field = self.shift * torch.randn(len(sides), *coarse, generator=generator)
        moved = places(sides, image.device) + bicubic(field, sides).movedim(0, -1).to(image.device)
        return sampled(image, moved)


class Elasticd(DictionaryTwin):
    """Dictionary twin of `Elastic`; every key is bent alike."""

    of = Elastic


class RandElastic(RandomTwin):
    """Draws a shift and a seed, then calls `Elastic`.

    Args:
        shifts: smallest and largest, in voxels.
        spacing: as in `Elastic`.
        prob: chance that anything is done at all.
    """

    def __init__(self, shifts: tuple[float, float] = (0.0, 2.0), spacing: int = 16, prob: float = 1.0) -> None:
        super().__init__(prob)
        self.shifts, self.spacing = shifts, spacing

    def draw(self) -> Elastic:
        """The next field."""
        return Elastic(self.evenly(self.shifts), self.spacing, self.seed())
