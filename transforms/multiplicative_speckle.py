# SPDX-License-Identifier: Apache-2.0
"""The easy variant of speckle: each pixel times a random number, without correlation, pulse or compression."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clarivox.errors import OptionError
from clarivox.transforms.twins import DictionaryTwin, RandomTwin


class MultiplicativeSpeckle:
    """Multiplies each pixel by a number of mean 1, the root of a gamma variate; one look makes it Rayleigh.

    An easy setting, to be named as such in every result: real speckle is correlated over the pulse and lies before the
    log compression, as `Speckle` has it.

    Args:
        looks: independent envelopes whose power is averaged; more is smoother.
        seed: the same seed gives the same numbers for the same shape.

    Raises:
        OptionError: there is not at least one look.

    Source:
        Goodman, Some fundamental properties of speckle, J Opt Soc Am 66 (1976).

    >>> speckled = MultiplicativeSpeckle(1, seed=1)(torch.ones(1, 128, 128))
    >>> 1.8 < float(speckled.mean() / speckled.std()) < 2.0
    True
    """

    def __init__(self, looks: int = 1, seed: int = 0) -> None:
        if looks < 1:
            raise OptionError(f"speckle needs one look or more; found {looks}")
        self.looks, self.seed = looks, seed

    def __call__(self, image: Tensor) -> Tensor:
        """A speckled copy, float32; nothing is clipped."""
        generator = torch.Generator().manual_seed(self.seed)
        power = torch.zeros(image.shape)
        for _ in range(2 * self.looks):
            power += torch.randn(image.shape, generator=generator) ** 2
        mean = math.sqrt(2) * math.exp(math.lgamma(self.looks + 0.5) - math.lgamma(self.looks))
        return image.float() * (power.sqrt() / mean).to(image.device)


class MultiplicativeSpeckled(DictionaryTwin):
    """Dictionary twin of `MultiplicativeSpeckle`; every key gets the same numbers."""

    of = MultiplicativeSpeckle


class RandMultiplicativeSpeckle(RandomTwin):
    """Draws a number of looks and a seed, then calls `MultiplicativeSpeckle`.

    Args:
        looks: fewest and most, each number between as likely.
        prob: chance that anything is done at all.
    """

    def __init__(self, looks: tuple[int, int] = (1, 4), prob: float = 1.0) -> None:
        super().__init__(prob)
        self.looks = looks

    def draw(self) -> MultiplicativeSpeckle:
        """The next speckle."""
        return MultiplicativeSpeckle(int(self.R.randint(self.looks[0], self.looks[1] + 1)), self.seed())
