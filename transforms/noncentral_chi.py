# SPDX-License-Identifier: Apache-2.0
"""Noise of several coils in a magnitude MR image, stronger in some places than in others."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clarivox.errors import OptionError
from clarivox.transforms.rician import noise_sigma
from clarivox.transforms.twins import DictionaryTwin, RandomTwin

KNOTS = 4
"""Of the map along each axis."""


def noise_map(sides: tuple[int, ...], peak: float, generator: torch.Generator) -> Tensor:
    """A smooth random map from 1 to `peak` (both are reached at knots), shape `sides`: 2 or 3 axes.

    >>> smooth = noise_map((16, 12), 2.0, torch.Generator().manual_seed(1))
    >>> float(smooth.min()), float(smooth.max())
    (1.0, 2.0)
    """
    knots = torch.rand(1, 1, *(KNOTS,) * len(sides), generator=generator)
    mode = "bilinear" if len(sides) == 2 else "trilinear"
    smooth = F.interpolate(knots, size=sides, mode=mode, align_corners=True)[0, 0]
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min()).clamp(min=1e-12)
    return 1 + (peak - 1) * smooth


class NoncentralChiNoise:
    """Adds complex Gaussian noise in each of several coils and takes the root of the sum of squares.

    m^2 = (a + s n1)^2 + (s n2)^2 + ... + (s n2L)^2 for L coils, with s = level * reference * map. One coil and a flat
    map are Rician noise.

    Args:
        level: s as a fraction of `reference`, where the map is 1.
        seed: the same seed gives the same noise for the same shape.
        reference: the value that `level` is a fraction of; None takes each image's own 99th percentile.
        coils: how many.
        peak: how many times stronger the noise is at the worst place, as parallel imaging makes it; 1 is a flat map.

    Raises:
        OptionError: there is not at least one coil, or the peak is under 1.

    Source:
        Constantinides, Atalar and McVeigh, Signal-to-noise measurements in magnitude images from NMR phased arrays,
        MRM 38 (1997); Aja-Fernandez and Tristan-Vega, Influence of noise correlation in multiple-coil statistical
        models with sum of squares reconstruction, MRM 67 (2012).

    >>> flat = NoncentralChiNoise(0.5, seed=1, reference=1.0, coils=4)(torch.zeros(1, 64, 64))
    >>> 1.35 < float(flat.mean()) < 1.40  # 2.74 s where there is no signal
    True
    """

    def __init__(
        self, level: float, seed: int = 0, reference: float | None = None, *, coils: int = 4, peak: float = 1.0
    ) -> None:
        if coils < 1 or peak < 1:
            raise OptionError(f"noise needs one coil or more and a peak of 1 or more; found {coils}, {peak}")
        self.level, self.seed, self.reference, self.coils, self.peak = level, seed, reference, coils, peak

    def __call__(self, image: Tensor) -> Tensor:
        """A noisy copy, float32, of the same shape (C, X, Y) or (C, X, Y, Z)."""
        generator = torch.Generator().manual_seed(self.seed)
        sigma = noise_sigma(image, self.level, self.reference) * noise_map(tuple(image.shape[1:]), self.peak, generator)
        parts = (
            (torch.randn(image.shape, generator=generator) * sigma).to(image.device) for _ in range(2 * self.coils)
        )
        power = (image.float() + next(parts)) ** 2
        for part in parts:
            power += part**2
        return power.sqrt()


class NoncentralChiNoised(DictionaryTwin):
    """Dictionary twin of `NoncentralChiNoise`; every key gets the same noise."""

    of = NoncentralChiNoise


class RandNoncentralChiNoise(RandomTwin):
    """Draws a level, a number of coils, a peak and a seed, then calls `NoncentralChiNoise`.

    Args:
        levels: smallest and largest level, drawn evenly between.
        prob: chance that noise is added at all.
        reference: as in `NoncentralChiNoise`.
        coils: fewest and most, each number between as likely.
        peak: smallest and largest.
    """

    def __init__(
        self,
        levels: tuple[float, float],
        prob: float = 1.0,
        reference: float | None = None,
        *,
        coils: tuple[int, int] = (1, 8),
        peak: tuple[float, float] = (1.0, 2.0),
    ) -> None:
        super().__init__(prob)
        self.levels, self.reference, self.coils, self.peak = levels, reference, coils, peak

    def draw(self) -> NoncentralChiNoise:
        """The next noise."""
        return NoncentralChiNoise(
            self.evenly(self.levels),
            self.seed(),
            self.reference,
            coils=int(self.R.randint(self.coils[0], self.coils[1] + 1)),
            peak=self.evenly(self.peak),
        )
