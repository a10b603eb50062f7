# SPDX-License-Identifier: Apache-2.0
"""Classical filters for CT slices, parameters searched on given slices; they are told the true level of the noise.

BM3D is no peer here: its package on PyPI is licensed for non-commercial use only, which this repository cannot take.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from clarivox.metrics import psnr
from tests.benchmarks.mr_peers import nlm, tv, wavelet

Image = NDArray[np.float32]
DISPLAY_HU = (-150.0, 250.0)
"""The window 50/400: images are clipped to it before they are compared, and its width is the range."""


def median(image: Image, sigma: float, size: int) -> Image:
    """Median of a square."""
    return ndimage.median_filter(image, size)


def gaussian(image: Image, sigma: float, width: float) -> Image:
    """What anyone can do."""
    return ndimage.gaussian_filter(image, width)


GRIDS: dict[str, tuple[Callable[..., Image], dict[str, Sequence[Any]]]] = {
    "non-local means": (nlm, {"strength": (0.6, 0.8, 1.0, 1.3, 1.6), "patch": (5, 7), "reach": (6,)}),
    "total variation": (tv, {"strength": (0.5, 0.8, 1.1, 1.5, 2.0, 2.6)}),
    "wavelet": (
        wavelet,
        {"strength": (0.8, 1.2, 1.7, 2.3, 3.0), "name": ("db2", "sym6"), "method": ("BayesShrink",)},
    ),
    "median": (median, {"size": (3, 5, 7)}),
    "Gaussian": (gaussian, {"width": (0.6, 0.9, 1.2, 1.5, 1.9)}),
}
"""Name: the filter and what is tried."""

FOUND: dict[str, dict[str, dict[str, Any]]] = {
    "10%": {
        "non-local means": {"strength": 1.3, "patch": 7, "reach": 6},
        "total variation": {"strength": 1.5},
        "wavelet": {"strength": 2.3, "name": "db2", "method": "BayesShrink"},
        "median": {"size": 5},
        "Gaussian": {"width": 1.2},
    },
    "25%": {
        "non-local means": {"strength": 1.0, "patch": 5, "reach": 6},
        "total variation": {"strength": 1.1},
        "wavelet": {"strength": 1.7, "name": "db2", "method": "BayesShrink"},
        "median": {"size": 3},
        "Gaussian": {"width": 0.6},
    },
}
"""What the full run found at each dose, for the small run of each commit."""


@dataclass(frozen=True)
class Peer:
    """A filter with the parameters that were best."""

    name: str
    how: dict[str, Any]

    def __call__(self, hu: Image, sigma_hu: float) -> Image:
        """The denoised slice, in HU; the filter sees thousands of HU."""
        return 1000 * GRIDS[self.name][0](hu / 1000, sigma_hu / 1000, **self.how)


def displayed(hu: Image) -> Image:
    """Clipped to the window 50/400."""
    return np.clip(hu, *DISPLAY_HU)


def tuned(slices: Sequence[tuple[Image, Image, NDArray[np.bool_], float]]) -> list[Peer]:
    """The best parameters of each filter.

    Args:
        slices: noisy, clean, where to compare, and the added noise, in HU.
    """
    peers = []
    for name, (_, grid) in GRIDS.items():
        scores = []
        for values in itertools.product(*grid.values()):
            peer = Peer(name, dict(zip(grid, values, strict=True)))
            found = [
                psnr(displayed(peer(noisy, sigma)), displayed(clean), data_range=400, mask=mask)
                for noisy, clean, mask, sigma in slices
            ]
            scores.append((float(np.mean(found)), peer))
        peers.append(max(scores, key=lambda one: one[0])[1])
    return peers
