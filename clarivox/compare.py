# SPDX-License-Identifier: Apache-2.0
"""What an enhancement changed, as figures: against a truth where there is one, and in regions."""

from __future__ import annotations

import math
from collections.abc import Callable
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
class Ruler:
    """What a peak signal-to-noise ratio and a structural similarity are taken with.

    Attributes:
        window: the values of CT that count, in HU; others are clipped to them, and its width is the range.
        data_range: the range elsewhere, in the unit; None takes the 99th percentile of what is compared with.
        slices: at most so many, evenly spaced.
    """

    window: tuple[float, float] = CT_WINDOW
    data_range: float | None = None
    slices: int = MOST_SLICES


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
    ruler: Ruler = Ruler(),
) -> Comparison:
    """Measure what changed from `before` to `after`.

    Where the grids differ, `before` and `reference` are brought to the grid of `after` by linear interpolation.

    Args:
        before: the original.
        after: the enhanced one.
        reference: the truth, where it is known.
        signal, background: regions on the grid of `after`; without them, two flat ones are found.
        ruler: ranges of the figures.

    Raises:
        GeometryError: the volumes do not show one place, or turned against each other.
        RegionError: a region leaves the image or has under 25 voxels.

    >>> from clarivox.phantoms import mr
    >>> noisy, truth = mr(size=64, slices=1)
    >>> found = compare(noisy, truth, truth).figures[0]
    >>> found.name, found.after, found.unit
    ('PSNR', inf, 'dB')
    """
    chosen = spread(after.shape[3], ruler.slices)
    notes: tuple[str, ...] = ()
    if len(chosen) < after.shape[3]:
        notes += (f"figures are taken over {len(chosen)} of {after.shape[3]} slices, evenly spaced",)
    if before.shape[1:] != after.shape[1:]:
        notes += ("the original was brought to the finer grid by linear interpolation for these figures",)
    stacks = _stacks(before, after, reference, chosen, ruler)
    if stacks.padding is not None:
        notes += ("padding is left out of the figures",)
    if before.array.dtype.kind == "f" and not np.isfinite(before.array).all():
        notes += ("voxels that are no finite number count as 0 in the figures",)
    figures = _against(stacks) + _quality(stacks)
    pair: tuple[Region, Region] | None = (signal, background) if signal and background else None
    if pair is None:
        pair = flat_regions(np.clip(stacks.standard, *stacks.window), chosen, noisy=reference is None)
        notes += ("the regions were found automatically: flat, one bright and one dark",) if pair else ()
    if pair is not None:
        figures += _in_regions(before, after, reference, pair)
    signal, background = pair or (None, None)
    return Comparison(
        tuple(figures), stacks.window, stacks.data_range, stacks.range_name, stacks.unit, signal, background, notes
    )


def spread(depth: int, most: int) -> list[int]:
    """Indices of at most `most` of `depth` slices, evenly spaced, the middle one among them.

    >>> spread(9, 3), spread(2, 5)
    ([1, 4, 7], [0, 1])
    """
    if depth <= most:
        return list(range(depth))
    return [int((index + 0.5) * depth / most) for index in range(most)]


def shown_window(values: NDArray[np.float32]) -> tuple[float, float]:
    """The values shown as black and white: nearly all that is there."""
    low, high = (float(v) for v in np.percentile(values[::2, ::2], (0.2, 99.8)))
    return (low, high) if high > low else (low, low + 1)


@dataclass(frozen=True)
class _Stacks:
    """Chosen slices on one grid, each shape (X, Y, N), and how they are measured."""

    old: NDArray[np.float32]
    new: NDArray[np.float32]
    truth: NDArray[np.float32] | None
    padding: NDArray[np.bool_] | None
    window: tuple[float, float]
    data_range: float
    range_name: str
    unit: str

    @property
    def standard(self) -> NDArray[np.float32]:
        """What the new one is held against."""
        return self.old if self.truth is None else self.truth

    @property
    def inside(self) -> NDArray[np.bool_] | None:
        """What is no padding, or None where all is."""
        return None if self.padding is None else ~self.padding

    def foreground(self) -> NDArray[np.bool_]:
        """Values above a twentieth of the window: the patient, mostly."""
        low, high = self.window
        mask: NDArray[np.bool_] = self.standard > low + 0.05 * (high - low)
        return mask if self.padding is None else mask & ~self.padding

    def clipped(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Hounsfield units within the window; other values as they are."""
        return np.clip(values, *self.window) if self.unit == Unit.HU else values


def _stacks(before: Volume, after: Volume, reference: Volume | None, chosen: list[int], ruler: Ruler) -> _Stacks:
    new = np.stack([picture(after, z) for z in chosen], axis=-1)
    old = np.stack([matched(before, after, z) for z in chosen], axis=-1)
    truth = None if reference is None else np.stack([matched(reference, after, z) for z in chosen], axis=-1)
    standard = old if truth is None else truth
    padding = None
    if after.padding is not None:
        everything = slice(None)
        masks = [after.padding_mask((slice(0, 1), everything, everything, slice(z, z + 1))) for z in chosen]
        padding = np.concatenate([mask[0] for mask in masks if mask is not None], axis=-1)
    window = ruler.window if after.unit is Unit.HU else shown_window(standard)
    if after.unit is Unit.HU:
        data_range = window[1] - window[0]
        range_name = f"range {data_range:.0f} HU, values clipped to {window[0]:.0f} to {window[1]:.0f} HU"
    elif ruler.data_range is not None:
        data_range, range_name = ruler.data_range, f"range {ruler.data_range:.4g}"
    else:
        data_range = abs(float(np.percentile(standard, 99))) or float(np.abs(standard).max()) or 1.0
        range_name = f"range {data_range:.4g}, the 99th percentile"
    return _Stacks(old, new, truth, padding, window, data_range, range_name, str(after.unit))


def _against(stacks: _Stacks) -> list[Figure]:
    """PSNR, SSIM and MAE against the truth, or of the new against the old; PSNR in the foreground too."""
    target, known = stacks.standard, stacks.truth is not None
    word = "against the truth" if known else "after against before"

    def psnr(values: NDArray[np.float32], mask: NDArray[np.bool_] | None) -> float:
        return metrics.psnr(stacks.clipped(values), stacks.clipped(target), data_range=stacks.data_range, mask=mask)

    def figure(name: str, unit: str, how: str, better: str, measure: Callable[[NDArray[np.float32]], float]) -> Figure:
        before = measure(stacks.old) if known else None
        return Figure(name, before, measure(stacks.new), unit, how, better if known else "")

    figures = [
        figure("PSNR", "dB", f"{word}; {stacks.range_name}", "higher", lambda values: psnr(values, stacks.inside)),
        figure("MAE", stacks.unit, word, "lower", lambda values: metrics.mae(values, target, mask=stacks.inside)),
    ]
    front = stacks.foreground()
    if 0 < np.count_nonzero(front) < front.size:
        how = f"{word}; above 5 % of the window; {stacks.range_name}"
        figures.insert(1, figure("PSNR, foreground", "dB", how, "higher", lambda values: psnr(values, front)))
    if min(target.shape[:2]) >= 11:

        def ssim(values: NDArray[np.float32]) -> float:
            return metrics.ssim(
                stacks.clipped(values), stacks.clipped(target), data_range=stacks.data_range, mask=stacks.inside
            )

        with suppress(RegionError):
            how = f"{word}; {metrics.SSIM_VARIANT}; {stacks.range_name}"
            figures.insert(-1, figure("SSIM", "", how, "higher", ssim))
    return figures


def _quality(stacks: _Stacks) -> list[Figure]:
    """Noise, sharpness and the size of the change."""
    old, new, unit = stacks.old, stacks.new, stacks.unit
    figures = []
    with suppress(RegionError):
        front = stacks.foreground()
        noise = (metrics.noise_estimate(old, front), metrics.noise_estimate(new, front))
        how = "at the finest scale, above 5 % of the window: median of diagonal Haar details"
        figures.append(Figure("noise", *noise, unit, how, "lower"))
    with suppress(RegionError):
        how = "mean gradient at the steepest 2 % of before, Gaussian of 1.5 px, relative to before"
        sharpness = metrics.edge_sharpness(stacks.clipped(new), stacks.clipped(old))
        figures.append(Figure("edge sharpness", 1.0, sharpness, "", how))
    change = metrics.error_map(new, old)
    change = change if stacks.inside is None else change[stacks.inside]
    return [
        *figures,
        Figure("mean change", None, float(change.mean(dtype=np.float64)), unit, "after minus before"),
        Figure("largest change", None, float(np.abs(change).max()), unit, "magnitude"),
        Figure("voxels changed", None, 100 * float(np.count_nonzero(change)) / change.size, "%", "of all"),
    ]


def _in_regions(before: Volume, after: Volume, reference: Volume | None, pair: tuple[Region, Region]) -> list[Figure]:
    """Signal-to-noise and contrast-to-noise, and the means that must not move, or not be off the truth's."""
    signal, background = pair
    first, last = min(signal.z[0], background.z[0]), max(signal.z[1], background.z[1])
    here = [replace(region, z=(region.z[0] - first, region.z[1] - first)) for region in pair]
    old = np.stack([matched(before, after, z) for z in range(first, last)], axis=-1)
    new = np.stack([picture(after, z) for z in range(first, last)], axis=-1)
    truth = None if reference is None else np.stack([matched(reference, after, z) for z in range(first, last)], axis=-1)
    inside, outside = (region.mask(new.shape) for region in here)
    cnr = (metrics.cnr(old, inside, outside), metrics.cnr(new, inside, outside))
    how = f"difference of two regions' means over the noise; signal {signal}; background {background}"
    figures = [Figure("CNR", *cnr, "", how, "higher")]
    unit = str(after.unit)
    for region, mask in zip(pair, (inside, outside), strict=True):
        mean = (float(old[mask].mean(dtype=np.float64)), float(new[mask].mean(dtype=np.float64)))
        if after.modality == "US":
            looks = (metrics.snr(old, mask) ** 2, metrics.snr(new, mask) ** 2)
            how = f"equivalent looks of the grey values: squared mean over variance; {region}"
            figures.append(Figure(f"ENL {region.name}", *looks, "", how, "higher"))
        if after.unit is Unit.HU:
            # Hounsfield units have an arbitrary zero, so a ratio to their mean says nothing.
            noise = (float(old[mask].std(dtype=np.float64)), float(new[mask].std(dtype=np.float64)))
            figures.append(Figure(f"noise {region.name}", *noise, unit, f"standard deviation; {region}", "lower"))
        else:
            snr = (metrics.snr(old, mask), metrics.snr(new, mask))
            figures.append(Figure(f"SNR {region.name}", *snr, "", f"mean over standard deviation; {region}", "higher"))
        figures.append(Figure(f"mean {region.name}", *mean, unit, f"must hardly move; {region}"))
        if truth is not None:
            right = float(truth[mask].mean(dtype=np.float64))
            how = f"mean minus the truth's, best 0; {region}"
            figures.append(Figure(f"bias {region.name}", mean[0] - right, mean[1] - right, unit, how))
    return figures
