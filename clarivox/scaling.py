# SPDX-License-Identifier: Apache-2.0
"""Which value of a volume becomes 0 for a network, and which becomes 1.

A bundle's configuration names one of these classes in its preprocessing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

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


Slabs = Callable[[], Iterator[NDArray[np.generic]]]
"""Gives the finite values that are not padding, slab by slab; may be called several times."""


class Scaling(Protocol):
    """Finds the range of one plane of a volume."""

    def __call__(self, volume: Volume, slabs: Slabs) -> Range:
        """The range of the plane that `slabs` gives, in the volume's unit."""


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

    def __call__(self, volume: Volume, slabs: Slabs) -> Range:
        """Percentiles of the plane, padding and non-finite values left out."""
        low, high = percentiles(slabs, (0.0 if self.low is None else self.low, self.high))
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

    def __call__(self, volume: Volume, slabs: Slabs) -> Range:
        """The same window for every volume."""
        return Range(self.low, self.high, self.clip)


@dataclass(frozen=True)
class StoredRange:
    """What the source's bits can hold; where the source is floating point, what the volume holds."""

    def __call__(self, volume: Volume, slabs: Slabs) -> Range:
        """From the smallest value that could be stored to the largest."""
        if volume.stored_range is None:
            return Range(*percentiles(slabs, (0.0, 100.0)))
        ends = np.outer(volume.stored_range, volume.slope) + volume.intercept
        return Range(float(ends.min()), float(ends.max()))


@dataclass(frozen=True)
class Unscaled:
    """Values as they are, in the volume's unit."""

    def __call__(self, volume: Volume, slabs: Slabs) -> Range:
        """0 stays 0 and 1 stays 1."""
        return Range(0.0, 1.0)


def percentiles(slabs: Slabs, wanted: tuple[float, ...]) -> list[float]:
    """Percentiles by counting, never holding more than one slab of values.

    A percentile is the smallest value with at least that share of the values at or below it. Integers are counted
    exactly up to a spread of 2^20; wider or real numbers to 2^-32 of their spread.

    >>> percentiles(lambda: iter([np.arange(101)]), (0.0, 50.0, 100.0))
    [0.0, 50.0, 100.0]
    >>> percentiles(lambda: iter([]), (99.0,))
    [0.0]
    """
    ends = [(slab.min(), slab.max(), slab.size) for slab in slabs() if slab.size]
    if not ends:
        return [0.0] * len(wanted)
    low, high = float(min(e[0] for e in ends)), float(max(e[1] for e in ends))
    ranks = [max(1, int(np.ceil(share / 100 * sum(e[2] for e in ends)))) for share in wanted]
    if all(np.issubdtype(slab.dtype, np.integer) for slab in slabs()) and high - low < 2**20:
        counts = np.zeros(int(high - low) + 1, np.int64)
        for slab in slabs():
            counts += np.bincount((slab.ravel() - np.int64(low)).astype(np.int64), minlength=counts.size)
        return [low + int(np.searchsorted(np.cumsum(counts), rank)) for rank in ranks]
    return [_refined(slabs, low, high, rank) for rank in ranks]


def _refined(slabs: Slabs, low: float, high: float, rank: int) -> float:
    """The value of one rank among reals, by two histograms of 2^16 bins, the second within a bin of the first."""
    top = high
    for _ in range(2):
        if not low < high:
            break
        edges = np.linspace(low, high, 2**16 + 1)
        counts = sum(np.histogram(slab, edges)[0] for slab in slabs())
        below = np.concatenate([[0], np.cumsum(counts)])
        found = min(int(np.searchsorted(below, rank)), 2**16) - 1
        # The last bin of a histogram holds its upper edge too; a bin of a finer one must not lose it.
        low, high, rank = float(edges[found]), float(edges[found + 1]), rank - int(below[found])
    return min(high, top)
