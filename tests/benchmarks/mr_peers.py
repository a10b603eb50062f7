# SPDX-License-Identifier: Apache-2.0
"""Denoisers of scikit-image with their parameters searched on given pictures; they are told the true noise level."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.restoration import cycle_spin, denoise_nl_means, denoise_tv_chambolle, denoise_wavelet

Image = NDArray[np.float32]


def nlm(image: Image, sigma: float, strength: float, patch: int, reach: int) -> Image:
    """Non-local means with the noise variance taken off the patch distances."""
    return denoise_nl_means(
        image, patch_size=patch, patch_distance=reach, h=strength * sigma, sigma=sigma, fast_mode=True
    )


def tv(image: Image, sigma: float, strength: float) -> Image:
    """Total variation, Chambolle's algorithm."""
    return denoise_tv_chambolle(image, weight=strength * sigma, eps=1e-5, max_num_iter=200)


def wavelet(image: Image, sigma: float, strength: float, name: str, method: str) -> Image:
    """Soft thresholds by wavelet, averaged over 16 shifts."""
    how = {"sigma": strength * sigma, "wavelet": name, "method": method, "rescale_sigma": False}
    return cycle_spin(image, denoise_wavelet, max_shifts=3, func_kw=how, workers=1)


GRIDS: dict[str, tuple[Callable[..., Image], dict[str, Sequence[Any]]]] = {
    "non-local means": (nlm, {"strength": (0.4, 0.55, 0.7, 0.85, 1.0), "patch": (3, 5), "reach": (6, 10)}),
    "total variation": (tv, {"strength": (0.35, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5)}),
    "wavelet": (
        wavelet,
        {"strength": (0.4, 0.55, 0.7, 0.85, 1.0, 1.2), "name": ("db2", "sym6"), "method": ("BayesShrink",)},
    ),
}
"""Name: the filter and what is tried."""


def unbiased(image: Image, sigma: float) -> Image:
    """Takes the Rician bias off a denoised magnitude: sqrt(max(m^2 - 2 s^2, 0))."""
    return np.sqrt(np.maximum(image * image - 2 * sigma * sigma, 0))


@dataclass(frozen=True)
class Peer:
    """A filter with the parameters that were best."""

    name: str
    corrected: bool
    """Whether the Rician bias is taken off afterwards."""
    how: dict[str, Any]

    @property
    def label(self) -> str:
        """What the table calls it."""
        return self.name + (" + bias correction" if self.corrected else "")

    def __call__(self, image: Image, sigma: float) -> Image:
        """The denoised picture."""
        result = GRIDS[self.name][0](image, sigma, **self.how)
        return unbiased(result, sigma) if self.corrected else result


def tuned(pictures: Sequence[tuple[Image, Image, NDArray[np.bool_]]], sigma: float) -> list[Peer]:
    """The best parameters of each filter, with and without bias correction.

    Args:
        pictures: noisy, clean, and where to compare; the 99th percentile of the clean volume is 1.
        sigma: the true noise level.
    """
    peers = []
    for name, (call, grid) in GRIDS.items():
        scores: dict[bool, list[tuple[float, dict[str, Any]]]] = {False: [], True: []}
        for values in itertools.product(*grid.values()):
            how = dict(zip(grid, values, strict=True))
            results = [call(noisy, sigma, **how) for noisy, _, _ in pictures]
            for corrected, kept in scores.items():
                errors = [
                    np.mean(((unbiased(result, sigma) if corrected else result) - clean)[mask] ** 2)
                    for result, (_, clean, mask) in zip(results, pictures, strict=True)
                ]
                kept.append((float(-10 * np.log10(errors).mean()), how))
        for corrected, kept in scores.items():
            peers.append(Peer(name, corrected, max(kept, key=lambda one: one[0])[1]))
    return peers
