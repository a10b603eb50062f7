# SPDX-License-Identifier: Apache-2.0
"""Which value of a volume becomes 0 for a network, and which becomes 1.

A bundle's configuration names one of these classes in its preprocessing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import BundleError
from clarivox.volume import Volume


@dataclass(frozen=True)
class Range:
    """The values that a network sees as 0 and as 1."""

    low: float
    high: float
    clip: bool = False
    """Whether the network's input is clipped to 0..1."""


@dataclass(frozen=True)
class Samples:
    """What shows an image in one plane of a volume: no padding, nothing that is not finite."""

    slabs: Callable[[], Iterator[NDArray[Any]]]
    """Gives the samples slab by slab, of any shape; may be called several times."""
    slope: float = 1.0
    intercept: float = 0.0
    """Value in the volume's unit = slope * sample + intercept; the slope is above 0."""


class Scaling(Protocol):
    """Finds the range of one plane of a volume."""

    def __call__(self, volume: Volume, samples: Samples) -> Range:
        """The range of the plane that `samples` are from, in the volume's unit."""


@dataclass(frozen=True)
class Percentiles:
    """From one percentile of the values to another, each plane by its own.

    Args:
        low: percentile that becomes 0, or None for the value 0.
        high: percentile that becomes 1.
        clip: whether the network's input is clipped to 0..1.

    Raises:
        BundleError: not 0 <= low < high <= 100.
    """

    low: float | None = None
    high: float = 99.0
    clip: bool = False

    def __post_init__(self) -> None:
        if not 0 <= (self.low or 0) < self.high <= 100:
            raise BundleError(f"percentiles must rise within 0 to 100; found {self.low} and {self.high}")

    def __call__(self, volume: Volume, samples: Samples) -> Range:
        """Percentiles of the plane, padding and non-finite values left out."""
        low, high = percentiles(samples, (0.0 if self.low is None else self.low, self.high))
        return Range(0.0 if self.low is None else low, high, self.clip)


@dataclass(frozen=True)
class Window:
    """A fixed window of values, such as Hounsfield units.

    >>> Window(-1000, 3000)(None, None)
    Range(low=-1000, high=3000, clip=False)
    """

    low: float
    high: float
    clip: bool = False

    def __call__(self, volume: Volume, samples: Samples) -> Range:
        """The same window for every volume."""
        return Range(self.low, self.high, self.clip)


@dataclass(frozen=True)
class StoredRange:
    """What the source's bits can hold; where the source is floating point, what the volume holds."""

    def __call__(self, volume: Volume, samples: Samples) -> Range:
        """From the smallest value that could be stored to the largest."""
        if volume.stored_range is None:
            low, high = percentiles(samples, (0.0, 100.0))
            return Range(low, high)
        ends = np.outer(volume.stored_range, volume.slope) + volume.intercept
        return Range(float(ends.min()), float(ends.max()))


@dataclass(frozen=True)
class Lowest:
    """The smallest value becomes 0 and the unit stays, so that padding, which a network sees as 0, is the darkest."""

    def __call__(self, volume: Volume, samples: Samples) -> Range:
        """A range of 1 from the smallest value on, or up to the largest where large is dark."""
        low, high = percentiles(samples, (0.0, 100.0))
        return Range(high - 1, high) if volume.inverted else Range(low, low + 1)


@dataclass(frozen=True)
class Unscaled:
    """Values as they are, in the volume's unit."""

    def __call__(self, volume: Volume, samples: Samples) -> Range:
        """0 stays 0 and 1 stays 1."""
        return Range(0.0, 1.0)


def percentiles(samples: Samples, wanted: tuple[float, ...]) -> list[float]:
    """Percentiles by counting, never holding more than one slab.

    A percentile is the smallest value with at least that share of the values at or below it. Integers that span less
    than 2^20 are counted exactly; other numbers to 2^-32 of what they span. Without any sample all are 0.

    >>> percentiles(Samples(lambda: iter([np.arange(101)])), (0.0, 50.0, 100.0))
    [0.0, 50.0, 100.0]
    >>> percentiles(Samples(lambda: iter([])), (99.0,))
    [0.0]
    """
    ends = [(slab.min(), slab.max(), slab.size, slab.dtype.kind) for slab in samples.slabs() if slab.size]
    if not ends:
        return [0.0] * len(wanted)
    low, high = float(min(end[0] for end in ends)), float(max(end[1] for end in ends))
    number = sum(end[2] for end in ends)
    ranks = [max(1, int(np.ceil(share / 100 * number))) for share in wanted]
    if all(end[3] in "iu" for end in ends) and high - low < 2**20:
        found = _counted(samples, int(low), int(high), ranks)
    else:
        found = _refined(samples, low, high, ranks)
    return [samples.slope * value + samples.intercept for value in found]


def _counted(samples: Samples, low: int, high: int, ranks: list[int]) -> list[float]:
    """The samples of some ranks among integers, exactly."""
    counts = np.zeros(high - low + 1, np.int64)
    for slab in samples.slabs():
        counts += np.bincount(slab.ravel().astype(np.int64) - low, minlength=counts.size)
    below = np.cumsum(counts)
    return [float(low + np.searchsorted(below, rank)) for rank in ranks]


def _refined(samples: Samples, low: float, high: float, ranks: list[int]) -> list[float]:
    """The samples of some ranks among reals: by 2^16 bins, then by as many within the bin that holds the rank."""
    if _too_narrow(low, high):
        return [low if rank == 1 else high for rank in ranks]
    below, edges = _histogram(samples, low, high)
    found = []
    for rank in ranks:
        bin_ = int(np.searchsorted(below, rank)) - 1
        if _too_narrow(float(edges[bin_]), float(edges[bin_ + 1])):
            found.append(float(edges[bin_ + 1]))
            continue
        inner, finer = _histogram(samples, float(edges[bin_]), float(edges[bin_ + 1]))
        place = min(int(np.searchsorted(inner, rank - below[bin_])), finer.size - 1)
        found.append(low if rank == 1 else float(finer[place]))
    return found


def _too_narrow(low: float, high: float) -> bool:
    """Whether 2^16 bins between two numbers would be finer than float64."""
    return bool((high - low) / 2**17 <= np.spacing(max(abs(low), abs(high))))


def _histogram(samples: Samples, low: float, high: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """How many samples lie between `low` and each edge of 2^16 equal bins, and the edges."""
    counts = np.zeros(2**16, np.int64)
    for slab in samples.slabs():
        counts += np.histogram(slab.astype(np.float64), 2**16, (low, high))[0]
    return np.concatenate([[0], np.cumsum(counts)]), np.linspace(low, high, 2**16 + 1)
