# SPDX-License-Identifier: Apache-2.0
"""Rician noise: what complex Gaussian noise becomes in a magnitude MR image."""

from __future__ import annotations

import torch
from torch import Tensor

from clarivox.errors import OptionError
from clarivox.transforms.twins import DictionaryTwin, RandomTwin


def noise_sigma(image: Tensor, level: float, reference: float | None) -> float:
    """The noise's standard deviation in the image's own unit.

    Args:
        image: intensities, any shape.
        level: fraction of `reference`, 0 or more.
        reference: the value that `level` is a fraction of; None takes the image's 99th percentile.

    Raises:
        OptionError: the level is negative.

    >>> noise_sigma(torch.arange(101), 0.05, None)
    4.95
    """
    if level < 0:
        raise OptionError(f"the noise level is a fraction of the 99th percentile, 0 or more; found {level}")
    if reference is None:
        # torch.quantile refuses more than 2**24 values; the k-th smallest has no such limit.
        flat = image.detach().float().reshape(-1)
        rank = max(1, round(0.99 * (flat.numel() - 1)) + 1)
        reference = float(flat.kthvalue(rank).values)
    return round(level * reference, 12)


class RicianNoise:
    """Adds complex Gaussian noise to a magnitude image and takes the magnitude again.

    m = sqrt((a + s n1)^2 + (s n2)^2), with s = level * reference and n1, n2 standard normal.

    Args:
        level: s as a fraction of `reference`.
        seed: the same seed gives the same noise for the same shape.
        reference: the value that `level` is a fraction of; None takes each image's own 99th percentile.

    Source:
        Gudbjartsson and Patz, The Rician distribution of noisy MRI data, MRM 34 (1995).

    >>> flat = RicianNoise(0.5, seed=1, reference=1.0)(torch.zeros(1, 64, 64))
    >>> 0.60 < float(flat.mean()) < 0.65  # 1.25 s where there is no signal
    True
    """

    def __init__(self, level: float, seed: int = 0, reference: float | None = None) -> None:
        self.level, self.seed, self.reference = level, seed, reference

    def __call__(self, image: Tensor) -> Tensor:
        """A noisy copy, float32, of the same shape."""
        sigma = noise_sigma(image, self.level, self.reference)
        generator = torch.Generator().manual_seed(self.seed)
        real, imaginary = torch.randn(2, *image.shape, generator=generator).mul_(sigma).to(image.device)
        return torch.hypot(image.float() + real, imaginary)


class RicianNoised(DictionaryTwin):
    """Dictionary twin of `RicianNoise`; every key gets the same noise."""

    of = RicianNoise


class RandRicianNoise(RandomTwin):
    """Draws a level and a seed, then calls `RicianNoise`.

    Args:
        levels: smallest and largest level, drawn evenly between.
        prob: chance that noise is added at all.
        reference: as in `RicianNoise`.
    """

    def __init__(self, levels: tuple[float, float], prob: float = 1.0, reference: float | None = None) -> None:
        super().__init__(prob)
        self.levels, self.reference = levels, reference

    def draw(self) -> RicianNoise:
        """The next noise."""
        return RicianNoise(self.evenly(self.levels), self.seed(), self.reference)
