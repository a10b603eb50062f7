# SPDX-License-Identifier: Apache-2.0
"""An MR phantom of the brain: T1-like contrast, folded cortex, bias field, Rician noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import OptionError
from clarivox.phantoms.shapes import (
    Ellipse,
    Pair,
    Picture,
    affine,
    blur,
    check_size,
    coverage,
    grid,
    paint,
    smooth_field,
    stack,
)
from clarivox.volume import Volume

FOV_MM = 220.0
WHITE, GREY, FLUID, SCALP, BONE = 900.0, 620.0, 170.0, 1050.0, 70.0
"""Signal of the tissues, arbitrary units as a magnitude image has."""


def mr(
    *, size: int = 192, slices: int = 8, seed: int = 0, noise_percent: float = 9.0, thickness_mm: float = 3.0
) -> Pair:
    """A brain-like MR phantom with Rician noise.

    Args:
        size: columns and rows.
        slices: how many, from below the ventricles to the crown.
        seed: of the folds and of the noise.
        noise_percent: standard deviation of the complex noise, percent of the truth's 99th percentile.
        thickness_mm: distance between slices.

    Returns:
        Two volumes (1, size, size, slices), uint16 of 12 bits.

    Raises:
        OptionError: `size`, `slices` or `noise_percent` is out of range.

    Source:
        Gudbjartsson and Patz, The Rician distribution of noisy MRI data, Magn Reson Med 34 (1995).

    >>> noisy, truth = mr(size=64, slices=1)
    >>> noisy.shape, noisy.modality, str(noisy.array.dtype)
    ((1, 64, 64, 1), 'MR', 'uint16')
    """
    check_size(size, slices)
    if not 0 <= noise_percent <= 50:
        raise OptionError(f"noise is 0 to 50 percent of the 99th percentile; found {noise_percent}", code="bad_noise")
    rng = np.random.default_rng(seed)
    depth = 4 * max(slices, 8)
    folds = smooth_field((depth, size, size), size / 22, rng)
    heights = np.linspace(-0.25, 0.62, slices) if slices > 1 else np.array([0.1])
    chosen = np.round((heights + 1) / 2 * (depth - 1)).astype(int)
    truth = np.stack([_slice(size, float(z), folds[index]) for z, index in zip(heights, chosen, strict=True)])
    x, y = grid(size)
    truth *= 1 + 0.10 * x - 0.07 * y + 0.05 * x * y
    truth *= 1 + 0.012 * smooth_field(truth.shape, size / 90, rng)
    truth = blur(truth, (0.55, 0.55))
    noisy = rician(truth, noise_percent / 100 * float(np.percentile(truth, 99)), rng)
    notes = (f"digital phantom; Rician noise of {noise_percent:g} % simulated", "digital phantom without noise")
    return Pair(
        *(
            Volume(
                stack(pictures, np.uint16, 0, 4095),
                affine(size, FOV_MM, slices, thickness_mm),
                modality="MR",
                stored_range=(0, 4095),
                notes=(note,),
            )
            for pictures, note in zip((noisy, truth), notes, strict=True)
        )
    )


def rician(truth: NDArray[np.float32], sigma: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Magnitude of a signal with complex Gaussian noise of standard deviation `sigma` in each part."""
    real = truth + sigma * rng.standard_normal(truth.shape, np.float32)
    magnitude: NDArray[np.float32] = np.hypot(real, sigma * rng.standard_normal(truth.shape, np.float32))
    return magnitude


def _slice(size: int, height: float, folds: Picture) -> Picture:
    """Truth of the slice at `height`, -1 (neck) to 1 (crown)."""
    x, y = grid(size)
    level = float(np.sqrt(max(1 - (height * 0.95) ** 2, 0.05)))
    picture = np.zeros((size, size), np.float32)
    outer = Ellipse(0, 0, 0.01, 0.74 * level, 0.91 * level)
    for grow, value in ((1.0, SCALP), (0.955, 380.0), (0.935, BONE), (0.875, FLUID)):
        paint(picture, coverage(x, y, outer._replace(a=outer.a * grow, b=outer.b * grow)), value)
    _cortex(picture, x, y, 0.85 * level, folds)
    if height < 0.45:
        _deep_nuclei(picture, x, y, level, height)
    paint(picture, coverage(x, y, Ellipse(0, 0, -0.48 * level, 0.009, 0.30 * level)), FLUID)
    paint(picture, coverage(x, y, Ellipse(0, 0, 0.56 * level, 0.009, 0.24 * level)), FLUID)
    paint(picture, coverage(x, y, Ellipse(0, 0.27 * level, -0.30 * level, 0.035, 0.03)), 480.0)
    paint(picture, coverage(x, y, Ellipse(0, -0.31 * level, 0.28 * level, 0.018, 0.022)), 420.0)
    return picture


def _cortex(picture: Picture, x: Picture, y: Picture, level: float, folds: Picture) -> None:
    """White matter under a folded grey ribbon, in place; sulci are where the random field crosses zero."""
    radius = np.sqrt((x / (0.74 * level)) ** 2 + ((y - 0.01) / (0.91 * level)) ** 2)
    depth_in = np.clip((1 - radius) / 0.42, 0, 1)
    brain = np.clip((1 - radius) * x.shape[0] / 2.6 + 0.5, 0, 1)
    near_sulcus = np.exp(-((folds / 0.42) ** 2)) * (1 - depth_in) ** 0.35
    grey = np.clip(4.5 * (near_sulcus + 0.9 * np.exp(-((depth_in / 0.20) ** 2)) - 0.42), 0, 1)
    sulcus = np.clip(3.2 * (np.exp(-((folds / 0.15) ** 2)) * (1 - depth_in) ** 0.7 - 0.45), 0, 1)
    paint(picture, brain.astype(np.float32), WHITE)
    paint(picture, (brain * grey).astype(np.float32), GREY)
    paint(picture, (brain * sulcus).astype(np.float32), FLUID)


def _deep_nuclei(picture: Picture, x: Picture, y: Picture, level: float, height: float) -> None:
    """Core of white matter with caudate, putamen, thalamus and ventricles, in place."""
    paint(picture, coverage(x, y, Ellipse(0, 0, -0.02, 0.36 * level, 0.50 * level), 4), WHITE)
    open_px = 1 - 0.35 * abs(height - 0.05)
    for side in (-1, 1):
        for value, cx, cy, a, b, turn in (
            (GREY + 30, 0.105, 0.05, 0.075, 0.115, 18),
            (GREY + 60, 0.235, -0.07, 0.052, 0.145, 14),
            (GREY, 0.125, -0.205, 0.042, 0.085, 20),
            (FLUID, 0.068, -0.17, 0.032, 0.145, 14),
            (FLUID, 0.145, 0.27, 0.045, 0.125, -24),
            (760.0, 0.150, 0.255, 0.014, 0.05, -24),
        ):
            shape = Ellipse(0, side * cx * level, cy * level, a * open_px * level, b * open_px * level, -side * turn)
            paint(picture, coverage(x, y, shape), value)
    paint(picture, coverage(x, y, Ellipse(0, 0, 0.045, 0.012, 0.10 * level)), FLUID)
    paint(picture, coverage(x, y, Ellipse(0, 0, -0.10, 0.012, 0.12 * level)), WHITE)
