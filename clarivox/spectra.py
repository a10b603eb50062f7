# SPDX-License-Identifier: Apache-2.0
"""Figures over spatial frequency: noise power and modulation transfer, both in millimetres."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import RegionError

Values = NDArray[np.floating[Any]]


class Spectrum(NamedTuple):
    """A curve over spatial frequency."""

    frequency_per_mm: NDArray[np.float64]
    """Cycles a millimetre, shape (N,)."""
    power: NDArray[np.float64]
    """Squared unit of the values times square millimetres, shape (N,)."""


def noise_power(regions: Values, spacing_mm: tuple[float, float]) -> Spectrum:
    """Radial noise power spectrum of uniform regions; its integral over the frequency plane is the variance.

    Args:
        regions: patches of uniform material, shape (X, Y, N), any linear unit; each patch's mean is taken away.
        spacing_mm: distance between voxels along X and Y.

    Returns:
        Power up to the lower Nyquist frequency, in rings one sample wide, the zero frequency left out.

    Raises:
        RegionError: a patch is under 8 px wide.

    Source:
        Siewerdsen et al., A framework for noise-power spectrum analysis, Med Phys 29 (2002), eq. 10; ICRU report 87.

    >>> white = np.random.default_rng(0).normal(0, 2, (64, 64, 40))
    >>> bool(np.allclose(noise_power(white, (0.5, 0.5)).power, 2**2 * 0.5 * 0.5, rtol=0.2))
    True
    """
    columns, rows, _ = regions.shape
    if min(columns, rows) < 8:
        raise RegionError(f"noise power needs patches of 8 x 8 px at least; found {columns} x {rows}")
    dx, dy = spacing_mm
    flat = regions - regions.mean(axis=(0, 1), keepdims=True)
    power = (np.abs(np.fft.fft2(flat, axes=(0, 1))) ** 2).mean(axis=2) * dx * dy / (columns * rows)
    fx, fy = np.fft.fftfreq(columns, dx), np.fft.fftfreq(rows, dy)
    radius = np.hypot(fx[:, None], fy[None])
    step = max(1 / (columns * dx), 1 / (rows * dy))
    ring = np.rint(radius / step).astype(np.intp)
    last = int(min(0.5 / dx, 0.5 / dy) / step)
    counts = np.bincount(ring.ravel())[1 : last + 1]
    sums = np.bincount(ring.ravel(), power.ravel())[1 : last + 1]
    return Spectrum(np.arange(1, last + 1) * step, sums / counts)


def mtf50(
    picture: Values, centre: tuple[float, float], radius_mm: float, spacing_mm: tuple[float, float], *, reach_mm: float
) -> float:
    """Frequency at which the modulation transfer of a disc's edge falls to a half, cycles a millimetre.

    Args:
        picture: one slice, shape (X, Y); average slices first where noise matters.
        centre: the disc's middle as an index along X and Y; fractions allowed.
        radius_mm: the disc's radius.
        spacing_mm: distance between voxels along X and Y.
        reach_mm: how far from the edge, inwards and outwards, the picture holds nothing else.

    Raises:
        RegionError: there are too few pixels around the edge, or no step across it.

    Source:
        Richard et al., Towards task-based assessment of CT performance, Med Phys 39 (2012): circular edge.
    """
    x = (np.arange(picture.shape[0]) - centre[0]) * spacing_mm[0]
    y = (np.arange(picture.shape[1]) - centre[1]) * spacing_mm[1]
    distance = np.hypot(x[:, None], y[None]) - radius_mm
    near = np.abs(distance) < reach_mm
    step = min(spacing_mm) / 4
    bins = int(2 * reach_mm / step)
    if np.count_nonzero(near) < 4 * bins or bins < 16:
        raise RegionError("an edge needs 4 pixels a quarter pixel of distance; choose a larger disc or reach")
    place = np.clip(((distance[near] + reach_mm) / step).astype(np.intp), 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    filled = counts > 0
    means = np.bincount(place, picture[near], bins)[filled] / counts[filled]
    edge = np.interp(np.arange(bins), np.flatnonzero(filled), means)
    spread = np.diff(edge) * np.hanning(bins - 1)
    if abs(float(spread.sum())) < 1e-9:
        raise RegionError("a modulation transfer needs a step of value at the disc's edge; found none")
    transfer = np.abs(np.fft.rfft(spread, 16 * bins))
    transfer /= transfer[0]
    below = int(np.argmax(transfer < 0.5))
    frequency = np.fft.rfftfreq(16 * bins, step)
    share = (transfer[below - 1] - 0.5) / (transfer[below - 1] - transfer[below])
    return float(frequency[below - 1] + share * (frequency[below] - frequency[below - 1]))
