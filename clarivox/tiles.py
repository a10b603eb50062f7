# SPDX-License-Identifier: Apache-2.0
"""Cutting an image into windows: geometry only, no network.

An exact tile shows the network its core and a halo around it as wide as the receptive field reaches. At the image's own
border the window is clipped, not padded, so the network sees the border that it would see in a whole pass. Windows
begin at multiples of the network's total stride, so that pooling falls on the same voxels.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import BundleError

Box = tuple[slice, ...]
"""One slice object with a start and a stop for each spatial axis."""


@dataclass(frozen=True)
class Tile:
    """One call of the network: what it finishes, and what it must see for that."""

    core: Box
    window: Box


def voxels(box: Box) -> int:
    """How many voxels lie in a box.

    >>> voxels((slice(2, 4), slice(0, 5)))
    10
    """
    return math.prod(side.stop - side.start for side in box)


def rounded_up(length: int, stride: int) -> int:
    """The smallest multiple of `stride` that is not below `length`.

    >>> rounded_up(181, 8)
    184
    """
    return -(-length // stride) * stride


def cuts(length: int, parts: int, stride: int) -> list[tuple[int, int]]:
    """An axis cut evenly into at most `parts` pieces that begin at multiples of `stride`.

    >>> cuts(10, 3, 2)
    [(0, 4), (4, 6), (6, 10)]
    """
    blocks = -(-length // stride)
    edges = sorted({round(i * blocks / parts) for i in range(parts + 1)})
    return [(a * stride, min(b * stride, length)) for a, b in itertools.pairwise(edges)]


def halo_window(core: Box, shape: tuple[int, ...], halo: tuple[int, ...], stride: tuple[int, ...]) -> Box:
    """What the network must see to finish `core` exactly, within an image of `shape`.

    The last window of an axis ends at the axis' length rounded up to the stride: beyond the image the caller repeats
    the last voxel, as a whole pass does.

    >>> halo_window((slice(8, 16),), (30,), (3,), (4,))
    (slice(4, 20, None),)
    """
    sides = []
    for side, length, reach, step in zip(core, shape, halo, stride, strict=True):
        start = max(0, side.start - reach) // step * step
        sides.append(slice(start, min(rounded_up(side.stop + reach, step), rounded_up(length, step))))
    return tuple(sides)


def whole(shape: tuple[int, ...], stride: tuple[int, ...]) -> Tile:
    """The one tile of a whole pass."""
    core = tuple(slice(0, length) for length in shape)
    return Tile(core, halo_window(core, shape, (0,) * len(shape), stride))


def halved(tile: Tile, shape: tuple[int, ...], halo: tuple[int, ...], stride: tuple[int, ...]) -> list[Tile]:
    """An exact tile as two smaller ones with the same result; the tile alone where its core cannot be cut.

    An axis with a halo as long as itself is never cut: each half would see all of it again.
    """
    sides = [side.stop - side.start for side in tile.core]
    gain = [0 if reach >= n else side / step for side, reach, step, n in zip(sides, halo, stride, shape, strict=True)]
    axis = int(np.argmax(gain))
    if gain[axis] <= 1:
        return [tile]
    first = tile.core[axis].start
    halves = []
    for start, stop in cuts(sides[axis], 2, stride[axis]):
        core = (*tile.core[:axis], slice(first + start, first + stop), *tile.core[axis + 1 :])
        halves.append(Tile(core, halo_window(core, shape, halo, stride)))
    return halves


class _Way(NamedTuple):
    """One way to cut an axis."""

    cores: list[slice]
    longest: int
    """Length of the longest window."""
    total: int
    """Lengths of all windows together."""


def _ways(length: int, reach: int, step: int) -> list[_Way]:
    """Every useful way to cut an axis, coarsest first: each has shorter windows than the one before."""
    ways: list[_Way] = []
    most = 1 if reach >= length else -(-length // step)
    for parts in range(1, most + 1):
        cores = [slice(*cut) for cut in cuts(length, parts, step)]
        windows = [halo_window((core,), (length,), (reach,), (step,))[0] for core in cores]
        lengths = [window.stop - window.start for window in windows]
        if not ways or max(lengths) < ways[-1].longest:
            ways.append(_Way(cores, max(lengths), sum(lengths)))
        if max(lengths) <= 2 * reach + 4 * step:
            break
    return ways


def exact(shape: tuple[int, ...], halo: tuple[int, ...], stride: tuple[int, ...], limit: int) -> list[Tile]:
    """Tiles of at most `limit` voxels each, cut so that as few voxels as possible are computed twice.

    Args:
        shape: sides of the image in voxels.
        halo: reach of the network in voxels along each axis; an axis with a halo as long as itself is never cut.
        stride: total stride of the network along each axis.
        limit: most voxels that a window may hold; exceeded only where no smaller window is possible.

    Returns:
        Tiles whose cores cover the image once; the last axis runs slowest, so that slabs finish one after another.

    >>> [voxels(t.window) for t in exact((100, 10), (2, 2), (1, 1), 600)]
    [520, 520]
    """

    axes = [_ways(*axis) for axis in zip(shape, halo, stride, strict=True)]
    best, fewest = tuple(axis[-1] for axis in axes), (math.inf, 0)
    for ways in itertools.product(*axes):
        if math.prod(way.longest for way in ways) <= limit:
            cost = (math.prod(way.total for way in ways), math.prod(len(way.cores) for way in ways))
            if cost < fewest:
                best, fewest = ways, cost
    sides = [way.cores for way in best]
    cores = [tuple(reversed(core)) for core in itertools.product(*reversed(sides))]
    return [Tile(core, halo_window(core, shape, halo, stride)) for core in cores]


def blended(shape: tuple[int, ...], window: tuple[int, ...], stride: tuple[int, ...], overlap: float) -> list[Tile]:
    """Windows of one size that overlap by at least `overlap` of their sides, evenly spread; core and window are equal.

    Raises:
        BundleError: `overlap` is not in [0, 1).

    >>> [t.window[0].start for t in blended((20,), (8,), (2,), 0.25)]
    [0, 6, 12]
    """
    if not 0 <= overlap < 1:
        raise BundleError(f"windows must overlap by 0 to under 1 of their side; found {overlap}")
    axes = []
    for length, side, step in zip(shape, window, stride, strict=True):
        side = min(rounded_up(side, step), rounded_up(length, step))
        spare = rounded_up(length, step) - side
        count = 1 + math.ceil(spare / max(step, side * (1 - overlap)))
        starts = sorted({round(i * spare / max(1, count - 1) / step) * step for i in range(count)})
        axes.append([slice(start, start + side) for start in starts])
    boxes = [tuple(reversed(box)) for box in itertools.product(*reversed(axes))]
    return [Tile(box, box) for box in boxes]


def blend_weights(starts: list[int], side: int, sigma: float = 0.125) -> list[NDArray[np.float32]]:
    """Weights of each window along one axis, normalised so that they sum to 1 at every voxel.

    Weights along the axes multiply, so no map of counts of the image's size is needed.

    Args:
        starts: first voxel of each window.
        side: length of the windows.
        sigma: standard deviation of the Gaussian as a share of the side.

    Source:
        Isensee et al., nnU-Net, Nature Methods 18 (2021) 203: Gaussian weights, sigma 1/8.

    >>> first, second = blend_weights([0, 2], 4)
    >>> bool(np.allclose(first[2:] + second[:2], 1)), first[:2]
    (True, array([1., 1.], dtype=float32))
    """
    place = (np.arange(side) - (side - 1) / 2) / (sigma * side)
    bell = np.maximum(np.exp(-(place**2) / 2), 1e-3)
    total = np.zeros(max(starts) + side)
    for start in starts:
        total[start : start + side] += bell
    return [(bell / total[start : start + side]).astype(np.float32) for start in starts]
