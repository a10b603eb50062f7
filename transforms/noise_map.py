# SPDX-License-Identifier: Apache-2.0
"""Noise, and a map that tells its level: what a network steered by the level is trained on."""

from __future__ import annotations

from typing import Protocol

import torch
from monai.transforms import Randomizable
from torch import Tensor

from clarivox.transforms.rician import noise_sigma
from clarivox.transforms.twins import DictionaryTwin


class Noise(Protocol):
    """A transform such as `GaussianNoise`."""

    level: float
    reference: float | None

    def __call__(self, image: Tensor) -> Tensor:
        """A noisy copy."""


class NoiseMap(Randomizable):  # type: ignore[misc]
    """Adds noise and a second channel that holds its standard deviation everywhere.

    Args:
        noise: a transform with a level and a reference, or the random twin of one, which draws it anew for each image.

    >>> from clarivox.transforms.gaussian import GaussianNoise
    >>> pair = NoiseMap(GaussianNoise(0.1, reference=1.0))(torch.zeros(1, 4, 4))
    >>> pair.shape, round(float(pair[1].max()), 6)
    (torch.Size([2, 4, 4]), 0.1)
    """

    def __init__(self, noise: Noise) -> None:
        self.noise = noise

    def set_random_state(self, seed: int | None = None, state: object = None) -> NoiseMap:
        """Begins the noise's sequence of draws, where it draws."""
        super().set_random_state(seed, state)
        if isinstance(self.noise, Randomizable):
            self.noise.set_random_state(seed, state)
        return self

    def randomize(self, data: object = None) -> None:
        """The noise draws by itself, when it is called."""

    def __call__(self, image: Tensor) -> Tensor:
        """The noisy image and the map, shape (2, *spatial), float32, of an image of shape (1, *spatial)."""
        noisy = self.noise(image)
        done = self.noise.drawn if isinstance(self.noise, Randomizable) else self.noise
        sigma = 0.0 if done is None else noise_sigma(image, done.level, done.reference)
        return torch.cat([noisy.float(), torch.full_like(noisy, sigma, dtype=torch.float32)])


class NoiseMapd(DictionaryTwin):
    """Dictionary twin of `NoiseMap`."""

    of = NoiseMap
