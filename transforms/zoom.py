# SPDX-License-Identifier: Apache-2.0
"""Images enlarged or shrunk about their centre, on the same grid."""

from __future__ import annotations

from torch import Tensor

from clarivox.errors import OptionError
from clarivox.transforms.bicubic import bicubic
from clarivox.transforms.twins import DictionaryTwin, RandomTwin
from clarivox.transforms.warp import places, sampled


class Zoom:
    """Enlarges (above 1) or shrinks the content of an image of shape (C, X, Y) or (C, X, Y, Z); its sides stay.

    Content that is shrunk is smoothed before, so that nothing is aliased; beyond its border it is mirrored.

    Args:
        factor: of the enlargement.

    Raises:
        OptionError: the factor is not above 0.

    >>> import torch
    >>> Zoom(2.0)(torch.arange(5.0).expand(1, 5, 5))[0, 2].round(decimals=1).tolist()
    [1.0, 1.5, 2.0, 2.5, 3.0]
    """

    def __init__(self, factor: float) -> None:
        if factor <= 0:
            raise OptionError(f"a zoom factor must be above 0; found {factor}")
        self.factor = factor

    def __call__(self, image: Tensor) -> Tensor:
        """The image, float32, on the same grid."""
        image = image.float()
        sides = tuple(image.shape[1:])
        if self.factor < 1:
            coarse = [max(1, round(n * self.factor)) for n in sides]
            image = bicubic(bicubic(image, coarse), sides)
        return sampled(image, places(sides, image.device) / self.factor)


class Zoomd(DictionaryTwin):
    """Dictionary twin of `Zoom`."""

    of = Zoom


class RandZoom(RandomTwin):
    """Draws a factor, then calls `Zoom`.

    Args:
        factors: smallest and largest.
        prob: chance that anything is done at all.
    """

    def __init__(self, factors: tuple[float, float] = (0.8, 1.25), prob: float = 1.0) -> None:
        super().__init__(prob)
        self.factors = factors

    def draw(self) -> Zoom:
        """The next zoom."""
        return Zoom(self.evenly(self.factors))
