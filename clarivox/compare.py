# SPDX-License-Identifier: Apache-2.0
"""What an enhancement changed, as figures: against a truth where there is one, and in regions."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clarivox import metrics
from clarivox.errors import RegionError
from clarivox.matching import matched, picture
from clarivox.regions import Region, flat_regions
from clarivox.volume import Unit, Volume

MOST_SLICES = 32
"""Slices over which figures are taken; more of a long series are left out, evenly, and the notes say so."""
CT_WINDOW = (-160.0, 240.0)
"""Soft tissue, HU."""


@dataclass(frozen=True)
class Figure:
    """One figure before and after, with how it was taken."""

    name: str
    before: float | None
    """None where the figure says how far after is from before."""
    after: float
    unit: str
    how: str
    """Range, variant and region: what the figure is worthless without."""
    better: str = ""
    """higher, lower, or "" where neither is better by itself."""


@dataclass(frozen=True)
class Comparison:
    """Figures of one enhancement, and what they were taken in."""

    figures: tuple[Figure, ...]
    window: tuple[float, float]
    """The values shown as black and white, in the unit."""
    data_range: float
    range_name: str
    unit: str
    signal: Region | None
    background: Region | None
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """A form that JSON can carry; an infinite figure becomes None."""
        content = asdict(self)
        for figure in content["figures"]:
            for side in ("before", "after"):
                if figure[side] is not None and not math.isfinite(figure[side]):
                    figure[side] = None
        return content


def compare(
    before: Volume,
    after: Volume,
    reference: Volume | None = None,
    *,
    signal: Region | None = None,
    background: Region | None = None,
) -> Comparison:
    """Measure what changed from `before` to `after`.

    Where the grids differ, `before` and `reference` are brought to the grid of `after` by linear interpolation.

    Args:
        before: the original.
        after: the enhanced one.
        reference: the truth, where it is known.
        signal, background: regions on the grid of `after`; without them, two flat ones are found.

    Raises:
        GeometryError: the volumes do not show one place, or turned against each other.
        RegionError: a region leaves the image or has under 25 voxels.

    >>> from clarivox.phantoms import mr
    >>> noisy, truth = mr(size=64, slices=1)
    >>> found = compare(noisy, truth, truth).figures[0]
    >>> found.name, found.after, found.unit
    ('PSNR', inf, 'dB')
    """
    chosen = spread(after.shape[3], MOST_SLICES)
    notes: tuple[str, ...] = ()
    if len(chosen) < after.shape[3]:
        notes += (f"figures are taken over {len(chosen)} of {after.shape[3]} slices, evenly spaced",)
    if before.shape[1:] != after.shape[1:]:
        notes += ("the original was brought to the finer grid by linear interpolation for these figures",)
    new = np.stack([picture(after, z) for z in chosen], axis=-1)
    old = _stack(before, after, chosen)
    truth = None if reference is None else _stack(reference, after, chosen)
    standard = old if truth is None else truth
    window = shown_window(after, standard)
    data_range, range_name = _range(after, window, standard)
    figures = _against(old, new, truth, data_range, range_name, str(after.unit))
    figures += _quality(old, new, str(after.unit))
    pair: tuple[Region, Region] | None = (signal, background) if signal and background else None
    if pair is None:
        pair = flat_regions(standard, chosen)
        notes += ("the regions were found automatically: flat, one bright and one dark",) if pair else ()
    if pair is not None:
        figures += _in_regions(before, after, pair, str(after.unit))
    signal, background = pair or (None, None)
    return Comparison(tuple(figures), window, data_range, range_name, str(after.unit), signal, background, notes)


def spread(depth: int, most: int) -> list[int]:
    """Indices of at most `most` of `depth` slices, evenly spaced, the middle one among them.

    >>> spread(9, 3), spread(2, 5)
    ([1, 4, 7], [0, 1])
    """
    if depth <= most:
        return list(range(depth))
    return [int((index + 0.5) * depth / most) for index in range(most)]


def shown_window(volume: Volume, values: NDArray[np.float32]) -> tuple[float, float]:
    """The values shown as black and white: soft tissue for CT, else nearly all that is there."""
    if volume.unit is Unit.HU:
        return CT_WINDOW
    low, high = (float(v) for v in np.percentile(values[::2, ::2], (0.2, 99.8)))
    return (low, high) if high > low else (low, low + 1)


def _stack(volume: Volume, like: Volume, chosen: list[int]) -> NDArray[np.float32]:
    """Chosen slices of the grid of `like`, shape (X, Y, len(chosen))."""
    return np.stack([matched(volume, like, z) for z in chosen], axis=-1)


def _range(volume: Volume, window: tuple[float, float], values: NDArray[np.float32]) -> tuple[float, str]:
    if volume.unit is Unit.HU:
        return window[1] - window[0], f"range {window[1] - window[0]:.0f} HU, values clipped to the window"
    top = float(np.percentile(values, 99)) or float(np.abs(values).max()) or 1.0
    return abs(top), f"range {abs(top):.4g}, the 99th percentile"


def _against(
    old: NDArray[np.float32],
    new: NDArray[np.float32],
    truth: NDArray[np.float32] | None,
    data_range: float,
    range_name: str,
    unit: str,
) -> list[Figure]:
    """PSNR, SSIM and MAE against the truth, or of the new against the old."""
    target = old if truth is None else truth
    word = "against the truth" if truth is not None else "after against before"
    better = ("higher", "higher", "lower") if truth is not None else ("", "", "")

    def clip(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.clip(values, *CT_WINDOW) if unit == Unit.HU else values

    def measure(values: NDArray[np.float32]) -> tuple[float, float, float]:
        small = min(values.shape[:2]) < 11
        return (
            metrics.psnr(clip(values), clip(target), data_range=data_range),
            float("nan") if small else metrics.ssim(clip(values), clip(target), data_range=data_range),
            metrics.mae(values, target),
        )

    after = measure(new)
    before: tuple[float | None, ...] = measure(old) if truth is not None else (None,) * 3
    hows = (f"{word}; {range_name}", f"{word}; {metrics.SSIM_VARIANT}; {range_name}", word)
    parts = zip(("PSNR", "SSIM", "MAE"), before, after, ("dB", "", unit), hows, better, strict=True)
    return [Figure(*part) for part in parts if not math.isnan(part[2])]


def _quality(old: NDArray[np.float32], new: NDArray[np.float32], unit: str) -> list[Figure]:
    """Noise, sharpness and the size of the change."""
    change = new - old
    figures = []
    with suppress(RegionError):
        noise = (metrics.noise_estimate(old), metrics.noise_estimate(new))
        figures.append(Figure("noise", *noise, unit, "at the finest scale: median of diagonal Haar details", "lower"))
    with suppress(RegionError):
        how = "mean gradient at the steepest 2 % of before, Gaussian of 1.5 px, relative to before"
        figures.append(Figure("edge sharpness", 1.0, metrics.edge_sharpness(new, old), "", how))
    return [
        *figures,
        Figure("mean change", None, float(change.mean(dtype=np.float64)), unit, "after minus before, all voxels"),
        Figure("largest change", None, float(np.abs(change).max()), unit, "magnitude, all voxels"),
        Figure("voxels changed", None, 100 * float(np.count_nonzero(change)) / change.size, "%", "all voxels"),
    ]


def _in_regions(before: Volume, after: Volume, pair: tuple[Region, Region], unit: str) -> list[Figure]:
    """Signal-to-noise and contrast-to-noise, and the means that must not move."""
    signal, background = pair
    first, last = min(signal.z[0], background.z[0]), max(signal.z[1], background.z[1])
    places = range(first, last)
    here = [replace(region, z=(region.z[0] - first, region.z[1] - first)) for region in pair]
    old = np.stack([matched(before, after, z) for z in places], axis=-1)
    new = np.stack([picture(after, z) for z in places], axis=-1)
    inside, outside = (region.mask(new.shape) for region in here)
    cnr = (metrics.cnr(old, inside, outside), metrics.cnr(new, inside, outside))
    how = f"difference of two regions' means over the noise; signal {signal}; background {background}"
    figures = [Figure("CNR", *cnr, "", how, "higher")]
    for region, mask in zip(pair, (inside, outside), strict=True):
        snr = (metrics.snr(old, mask), metrics.snr(new, mask))
        mean = (float(old[mask].mean(dtype=np.float64)), float(new[mask].mean(dtype=np.float64)))
        figures.append(Figure(f"SNR {region.name}", *snr, "", f"mean over standard deviation; {region}", "higher"))
        figures.append(Figure(f"mean {region.name}", *mean, unit, f"must hardly move; {region}"))
    return figures
