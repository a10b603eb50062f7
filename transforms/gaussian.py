# SPDX-License-Identifier: Apache-2.0
"""Gaussian noise: white, added to the image as it is."""

from __future__ import annotations

import torch
from torch import Tensor

from clarivox.transforms.rician import noise_sigma
from clarivox.transforms.twins import DictionaryTwin, RandomTwin


class GaussianNoise:
    """Adds white Gaussian noise of standard deviation `level * reference`; nothing is clipped.

    Args:
        level: the standard deviation as a fraction of `reference`.
        seed: the same seed gives the same noise for the same shape.
        reference: the value that `level` is a fraction of; None takes each image's own 99th percentile.

    >>> noisy = GaussianNoise(0.1, seed=1, reference=2.0)(torch.zeros(1, 64, 64))
    >>> 0.19 < float(noisy.std()) < 0.21
    True
    """

    def __init__(self, level: float, seed: int = 0, reference: float | None = None) -> None:
        self.level, self.seed, self.reference = level, seed, reference

    def __call__(self, image: Tensor) -> Tensor:
        """A noisy copy, float32, of the same shape."""
        sigma = noise_sigma(image, self.level, self.reference)
        generator = torch.Generator().manual_seed(self.seed)
        return image.float() + torch.randn(image.shape, generator=generator).mul_(sigma).to(image.device)


class GaussianNoised(DictionaryTwin):
    """Dictionary twin of `GaussianNoise`; every key gets the same noise."""

    of = GaussianNoise


class RandGaussianNoise(RandomTwin):
    """Draws a level and a seed, then calls `GaussianNoise`.

    Args:
        levels: smallest and largest level, drawn evenly between.
        prob: chance that noise is added at all.
        reference: as in `GaussianNoise`.
    """

    def __init__(self, levels: tuple[float, float], prob: float = 1.0, reference: float | None = None) -> None:
        super().__init__(prob)
        self.levels, self.reference = levels, reference

    def draw(self) -> GaussianNoise:
        """The next noise."""
        return GaussianNoise(self.evenly(self.levels), self.seed(), self.reference)
