# SPDX-License-Identifier: Apache-2.0
"""Gaussian noise in a picture that is then stored: values beyond black and white are lost."""

from __future__ import annotations

from torch import Tensor

from clarivox.errors import OptionError
from clarivox.transforms.gaussian import GaussianNoise
from clarivox.transforms.twins import DictionaryTwin, RandomTwin


class ClippedGaussianNoise:
    """`GaussianNoise`, then clipped. Its results go into tables of their own: clipping removes noise and adds bias.

    Args:
        level: the standard deviation before clipping as a fraction of white.
        seed: the same seed gives the same noise for the same shape.
        black: lowest value that is kept.
        white: highest value that is kept.

    Raises:
        OptionError: white is not above black.

    Source:
        Foi, Clipped noisy images: heteroskedastic modeling and practical denoising, Signal Processing 89 (2009).

    >>> import torch
    >>> noisy = ClippedGaussianNoise(0.1, seed=1)(torch.zeros(1, 64, 64))
    >>> float(noisy.min()), bool(noisy.mean() > 0.03)
    (0.0, True)
    """

    def __init__(self, level: float, seed: int = 0, black: float = 0.0, white: float = 1.0) -> None:
        if white <= black:
            raise OptionError(f"white must lie above black; found {white} and {black}")
        self.noise, self.black, self.white = GaussianNoise(level, seed, white), black, white

    def __call__(self, image: Tensor) -> Tensor:
        """A noisy copy, float32, of the same shape, within black and white."""
        return self.noise(image).clamp(self.black, self.white)


class ClippedGaussianNoised(DictionaryTwin):
    """Dictionary twin of `ClippedGaussianNoise`; every key gets the same noise."""

    of = ClippedGaussianNoise


class RandClippedGaussianNoise(RandomTwin):
    """Draws a level and a seed, then calls `ClippedGaussianNoise`.

    Args:
        levels: smallest and largest level, drawn evenly between.
        prob: chance that noise is added at all.
        black: as in `ClippedGaussianNoise`.
        white: as in `ClippedGaussianNoise`.
    """

    def __init__(self, levels: tuple[float, float], prob: float = 1.0, black: float = 0.0, white: float = 1.0) -> None:
        super().__init__(prob)
        self.levels, self.black, self.white = levels, black, white

    def draw(self) -> ClippedGaussianNoise:
        """The next noise."""
        return ClippedGaussianNoise(self.evenly(self.levels), self.seed(), self.black, self.white)
