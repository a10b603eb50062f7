# SPDX-License-Identifier: Apache-2.0
"""Figures of image quality: against a known truth, and in regions of one image.

A peak signal-to-noise ratio or a structural similarity means nothing without its range, so both ask for it. Noise
power and modulation transfer are in `clarivox.spectra`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import GeometryError, OptionError, RegionError

Values = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

SMALLEST_REGION = 25
"""Voxels below which a standard deviation is too uncertain (14 % at 25) to report."""
SSIM_VARIANT = "2D, Gaussian window of sigma 1.5 px and 11 x 11 px, K1 0.01, K2 0.03, mean over slices"


def psnr(image: Values, truth: Values, *, data_range: float, mask: Mask | None = None) -> float:
    """Peak signal-to-noise ratio in decibels, infinite where the images agree.

    Args:
        image, truth: values of equal shape.
        data_range: the peak, in the values' unit; part of the figure: 400 HU and 4096 HU differ by 20.2 dB.
        mask: where to compare, same shape; None compares everywhere.

    Raises:
        GeometryError: the shapes differ.
        OptionError: `data_range` is not above 0.
        RegionError: the mask is empty.

    >>> truth = np.zeros((8, 8))
    >>> round(psnr(truth + 10, truth, data_range=100), 6)
    20.0
    """
    _check_range(data_range)
    change = error_map(image, truth) if mask is None else error_map(image, truth)[_checked(mask, truth.shape, 1)]
    mean_square = float(np.mean(np.square(change, dtype=np.float64)))
    return float("inf") if mean_square == 0 else float(10 * np.log10(data_range**2 / mean_square))


def mae(image: Values, truth: Values, *, mask: Mask | None = None) -> float:
    """Mean absolute error in the values' unit.

    Raises:
        GeometryError: the shapes differ.
        RegionError: the mask is empty.

    >>> mae(np.array([1.0, -1.0]), np.array([0.0, 1.0]))
    1.5
    """
    change = error_map(image, truth) if mask is None else error_map(image, truth)[_checked(mask, truth.shape, 1)]
    return float(np.mean(np.abs(change), dtype=np.float64))


def error_map(image: Values, truth: Values) -> NDArray[np.float32]:
    """Image minus truth, float32, in the values' unit.

    Raises:
        GeometryError: the shapes differ.
    """
    if image.shape != truth.shape:
        raise GeometryError(
            f"two images of one grid are compared; found {image.shape} and {truth.shape}; resample one of them",
            code="different_grids",
        )
    change: NDArray[np.float32] = np.subtract(image, truth, dtype=np.float32)
    return change


def ssim(image: Values, truth: Values, *, data_range: float, mask: Mask | None = None) -> float:
    """Structural similarity, 1 for equal images: the Gaussian variant of the paper, slice by slice.

    Args:
        image, truth: values of equal shape, (X, Y) or (X, Y, Z), sides of 11 px at least.
        data_range: L of the paper, in the values' unit.
        mask: which pixels' windows count, same shape; the 5 px at the borders never do.

    Raises:
        GeometryError: the shapes differ, or a side is under 11 px.
        OptionError: `data_range` is not above 0.
        RegionError: the mask is empty inside the borders.

    Source:
        Wang et al., Image quality assessment: from error visibility to structural similarity, IEEE Trans Image
        Process 13 (2004); equal to scikit-image's with gaussian_weights and without sample covariance.

    >>> ramp = np.add.outer(np.arange(16.0), np.arange(16.0))
    >>> ssim(ramp, ramp, data_range=30)
    1.0
    """
    _check_range(data_range)
    error_map(image, truth)
    if min(truth.shape[:2]) < 11:
        raise GeometryError(f"structural similarity needs 11 x 11 px; found {truth.shape[:2]}", code="too_small")
    depth = truth.shape[2] if truth.ndim == 3 else 1
    first, second = (values.reshape(*values.shape[:2], depth) for values in (image, truth))
    inner = None if mask is None else mask.reshape(first.shape)[5:-5, 5:-5]
    total, count = 0.0, 0
    for index in range(depth):
        similar = _ssim_map(first[:, :, index].astype(np.float64), second[:, :, index].astype(np.float64), data_range)
        chosen = similar if inner is None else similar[inner[:, :, index]]
        total, count = total + float(chosen.sum()), count + chosen.size
    if count == 0:
        raise RegionError("the mask holds no pixel that is 5 px inside the borders; choose a larger region")
    return total / count


def _ssim_map(first: NDArray[np.float64], second: NDArray[np.float64], data_range: float) -> NDArray[np.float64]:
    """Similarity of each pixel whose window lies inside the picture, shape (X - 10, Y - 10)."""
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_1, mean_2 = _windowed(first), _windowed(second)
    variance_1 = _windowed(first * first) - mean_1 * mean_1
    variance_2 = _windowed(second * second) - mean_2 * mean_2
    both = _windowed(first * second) - mean_1 * mean_2
    similar: NDArray[np.float64] = (2 * mean_1 * mean_2 + c1) * (2 * both + c2)
    similar /= (mean_1 * mean_1 + mean_2 * mean_2 + c1) * (variance_1 + variance_2 + c2)
    return similar


def _windowed(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted mean of the 11 x 11 px window around each pixel that has one."""
    taps = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    taps /= taps.sum()
    rows, columns = picture.shape[0] - 10, picture.shape[1] - 10
    half = sum(weight * picture[start : start + rows] for start, weight in enumerate(taps))
    return np.asarray(sum(weight * half[:, start : start + columns] for start, weight in enumerate(taps)))


def snr(values: Values, region: Mask) -> float:
    """Mean of a region over its standard deviation; infinite where the region is constant.

    Raises:
        RegionError: the region has under 25 voxels, or another shape.

    >>> flat = np.where(np.arange(100).reshape(10, 10) % 2, 9.0, 11.0)
    >>> snr(flat, np.ones((10, 10), bool))
    10.0
    """
    inside = values[_checked(region, values.shape)]
    return _ratio(float(inside.mean(dtype=np.float64)), float(inside.std(dtype=np.float64)))


def cnr(values: Values, signal: Mask, background: Mask) -> float:
    """Difference of two regions' means over the background's standard deviation.

    Raises:
        RegionError: a region has under 25 voxels or another shape, or they overlap.

    Source:
        Bushberg et al., The Essential Physics of Medical Imaging, chapter on image quality.
    """
    inside, outside = values[_checked(signal, values.shape)], values[_checked(background, values.shape)]
    if (signal & background).any():
        raise RegionError("signal and background overlap; choose regions without a common voxel", code="overlap")
    difference = abs(float(inside.mean(dtype=np.float64)) - float(outside.mean(dtype=np.float64)))
    return _ratio(difference, float(outside.std(dtype=np.float64)))


def rose_snr(values: Values, signal: Mask, background: Mask) -> float:
    """Contrast-to-noise times the root of the signal's voxels; Rose: an observer needs about 5 to see it.

    It takes the noise as independent from voxel to voxel; a smoother makes it too large.

    Raises:
        RegionError: as `cnr`.

    Source:
        Rose, The sensitivity performance of the human eye on an absolute scale, J Opt Soc Am 38 (1948).
    """
    return cnr(values, signal, background) * float(np.sqrt(np.count_nonzero(signal)))


def noise_estimate(values: Values, mask: Mask | None = None) -> float:
    """Standard deviation of the finest-scale noise, from the diagonal Haar details; structure hardly counts.

    Correlated noise (filtered CT, speckle, an enhanced image) is underestimated: it says what is left at the scale of
    single pixels, nothing more.

    Args:
        values: shape (X, Y) or (X, Y, Z); the details are taken within X and Y.
        mask: which voxels count, same shape; a detail counts where its four voxels do.

    Raises:
        RegionError: fewer than 25 details are left.

    Source:
        Donoho and Johnstone, Ideal spatial adaptation by wavelet shrinkage, Biometrika 81 (1994).

    >>> noise = np.random.default_rng(0).normal(100, 3, (200, 200))
    >>> bool(abs(noise_estimate(noise) - 3) < 0.1)
    True
    """
    even = values[: values.shape[0] // 2 * 2, : values.shape[1] // 2 * 2]
    detail = (even[::2, ::2] - even[1::2, ::2] - even[::2, 1::2] + even[1::2, 1::2]) / 2
    if mask is not None:
        part = mask[: even.shape[0], : even.shape[1]]
        detail = detail[part[::2, ::2] & part[1::2, ::2] & part[::2, 1::2] & part[1::2, 1::2]]
    if detail.size < SMALLEST_REGION:
        raise RegionError(f"noise is estimated from 25 details at least; found {detail.size}; choose a larger region")
    # 0.6745 is the median of the magnitude of a normal variable of standard deviation 1.
    return float(np.median(np.abs(detail)) / 0.6745)


def edge_sharpness(after: Values, before: Values) -> float:
    """Mean gradient across the edges of `before` in `after`, over that in `before`; 1 keeps them, under 1 blurs.

    The edges are the 2 % steepest pixels of `before` under a Gaussian of 1.5 px; both gradients are taken at that
    scale, so that noise hardly counts.

    Args:
        after, before: values of equal shape, (X, Y) or (X, Y, Z).

    Raises:
        GeometryError: the shapes differ.
        RegionError: `before` is constant, or a side is under 12 px.
    """
    error_map(after, before)
    if min(before.shape[:2]) < 12:
        raise RegionError(f"edges are measured in 12 x 12 px at least; found {before.shape[:2]}", code="too_small")
    steep = _gradient(before)
    edges = steep >= max(float(np.quantile(steep, 0.98)), 1e-12)
    if not edges.any():
        raise RegionError("an edge needs a change of value; found a constant image")
    return float(_gradient(after)[edges].mean() / steep[edges].mean())


class EdgeFaults(NamedTuple):
    """Edges that are not where they belong; 0 is best."""

    invented: float
    """Share of the edge pixels of the image near which the truth has no edge."""
    missed: float
    """Share of the edge pixels of the truth near which the image has no edge."""


def edge_faults(image: Values, truth: Values, steepest: float = 0.1) -> EdgeFaults:
    """Edges that an image shows and the truth does not, and the other way round.

    An edge pixel is one whose gradient, under a Gaussian of 1.5 px, reaches the level of the `steepest` share of the
    truth's. It is invented, or missed, where the other image does not come to half that level within 2 px.

    Args:
        image, truth: values of equal shape, (X, Y) or (X, Y, Z).
        steepest: share of the truth's pixels that count as edges, above 0 and below 1.

    Raises:
        GeometryError: the shapes differ.
        OptionError: `steepest` is out of range.
        RegionError: `truth` is constant, or a side is under 12 px.

    >>> truth = np.zeros((40, 40))
    >>> truth[:20] = 1
    >>> edge_faults(truth, truth)
    EdgeFaults(invented=0.0, missed=0.0)
    """
    error_map(image, truth)
    if not 0 < steepest < 1:
        raise OptionError(f"steepest must be above 0 and below 1; found {steepest}")
    if min(truth.shape[:2]) < 12:
        raise RegionError(f"edges are measured in 12 x 12 px at least; found {truth.shape[:2]}", code="too_small")
    found, right = _gradient(image), _gradient(truth)
    level = float(np.quantile(right, 1 - steepest))
    if level <= 1e-9 * float(right.max()):
        level = 0.5 * float(right.max())
    if level <= 0:
        raise RegionError("an edge needs a change of value; found a constant image")
    return EdgeFaults(_alone(found >= level, right < level / 2), _alone(right >= level, found < level / 2))


def _alone(edges: Mask, flat: Mask) -> float:
    """Share of the edge pixels around which all is flat, 2 px to each side."""
    for axis in (0, 1):
        padded = np.pad(flat, [(2, 2) if each == axis else (0, 0) for each in range(flat.ndim)], mode="edge")
        length = flat.shape[axis]
        flat = np.logical_and.reduce([padded.take(range(start, start + length), axis) for start in range(5)])
    return float((edges & flat).sum()) / max(1, int(edges.sum()))


def _gradient(values: Values) -> NDArray[np.float64]:
    """Length of the gradient within X and Y under a Gaussian of 1.5 px, 5 px of border left out."""
    volume = values.reshape(*values.shape[:2], -1)
    lengths = []
    for index in range(volume.shape[2]):
        smooth = _windowed(volume[:, :, index].astype(np.float64))
        lengths.append(np.hypot(*np.gradient(smooth)))
    return np.stack(lengths, axis=-1)


class Histogram(NamedTuple):
    """Counts of values between edges."""

    counts: NDArray[np.int64]
    """How many, shape (N,); values beyond the outermost edges are left out."""
    edges: NDArray[np.float64]
    """In the values' unit, shape (N + 1,)."""


def histogram(values: Values, limits: tuple[float, float], bins: int = 128) -> Histogram:
    """How often values occur between two limits, both in the values' unit.

    Raises:
        OptionError: the limits are not in order, or there is no bin.

    >>> histogram(np.array([0.0, 0.1, 0.9]), (0, 1), bins=2).counts.tolist()
    [2, 1]
    """
    if not limits[0] < limits[1] or bins < 1:
        raise OptionError(f"a histogram needs rising limits and a bin; found {limits} and {bins}")
    counts, edges = np.histogram(values, bins, limits)
    return Histogram(counts.astype(np.int64), edges)


def _check_range(data_range: float) -> None:
    if not data_range > 0:
        raise OptionError(f"the range of a figure is above 0, in the values' unit; found {data_range}")


def _checked(region: Mask, shape: tuple[int, ...], smallest: int = SMALLEST_REGION) -> Mask:
    found = int(np.count_nonzero(region))
    if region.shape != shape or found < smallest:
        raise RegionError(
            f"a region has the image's shape {shape} and {smallest} voxels at least; found {region.shape} and {found}"
        )
    return region


def _ratio(top: float, bottom: float) -> float:
    return float("inf") if bottom == 0 else top / bottom
