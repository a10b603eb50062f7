# SPDX-License-Identifier: Apache-2.0
"""Gaussian noise: white, added to the image as it is."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config.type_definitions import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor

from clarivox.transforms.rician import noise_sigma


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


class GaussianNoised(MapTransform):  # type: ignore[misc]
    """Dictionary twin of `GaussianNoise`; every key gets the same noise."""

    def __init__(
        self,
        keys: KeysCollection,
        level: float,
        seed: int = 0,
        reference: float | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.noise = GaussianNoise(level, seed, reference)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A copy of `data` with noise on the keys."""
        items = dict(data)
        for key in self.key_iterator(items):
            items[key] = self.noise(items[key])
        return items


class RandGaussianNoise(RandomizableTransform):  # type: ignore[misc]
    """Draws a level and a seed, then calls `GaussianNoise`.

    Args:
        levels: smallest and largest level, drawn evenly between.
        prob: chance that noise is added at all.
        reference: as in `GaussianNoise`.
    """

    def __init__(self, levels: tuple[float, float], prob: float = 1.0, reference: float | None = None) -> None:
        super().__init__(prob)
        self.levels, self.reference = levels, reference
        self.drawn: GaussianNoise | None = None

    def randomize(self, data: Any = None) -> None:
        """Draws the next transform into `drawn`; None where nothing is to be done."""
        super().randomize(None)
        level, seed = float(self.R.uniform(*self.levels)), int(self.R.randint(2**31))
        self.drawn = GaussianNoise(level, seed, self.reference) if self._do_transform else None

    def __call__(self, image: Tensor) -> Tensor:
        """A noisy copy, or the image itself."""
        self.randomize()
        return image if self.drawn is None else self.drawn(image)
