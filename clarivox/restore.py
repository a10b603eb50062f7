# SPDX-License-Identifier: Apache-2.0
"""From a network's output back to stored voxels.

Where the grid stays, what is written is the stored value plus the change that the network made, so that a voxel
without a change keeps its bits, and padding and non-finite voxels are never touched. The change of a luma goes to all
three colours, and strongly coloured pixels keep theirs; a network that sees each colour by itself changes each. Where
the grid is refined, values are written anew, and padding is carried over from the nearest voxel.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clarivox.passes import Piece
from clarivox.prepare import Items, at, blank, is_luma
from clarivox.tiles import Box
from clarivox.volume import Channels, Index, Provenance, Volume, blank_like

COLOURED = 0.12
"""A pixel is strongly coloured where its colours differ by more than this share of their range: Doppler, overlays."""


THIN = 2**17
"""Voxels that are restored at a time."""


@dataclass
class Tally:
    """What restoring had to hold back, in voxels."""

    clipped: int = 0
    below: int = 0
    """Those of the clipped that were too small; the others were too large."""
    coloured: int = 0
    unfinite: int = 0

    def notes(self, voxels: int) -> tuple[str, ...]:
        """The counts in words, those that are not 0; `voxels` is the number of all.

        >>> Tally(clipped=3, below=2).notes(100)
        ('3 of 100 voxels (3.0%) did not fit the stored range and were clipped: 2 below it, 1 above',)
        """
        ends = f"{self.below} below it, {self.clipped - self.below} above"
        share = f"{self.clipped} of {voxels} voxels ({self.clipped / voxels:.1%})"
        texts = {
            f"{share} did not fit the stored range and were clipped: {ends}": self.clipped,
            f"{self.coloured / voxels:.1%} of the pixels are strongly coloured and stay as they were": self.coloured,
            f"{self.unfinite} voxels stay as they were: the network gave no finite value": self.unfinite,
        }
        return tuple(text for text, count in texts.items() if count)


def room(shape: tuple[int, int, int, int], dtype: np.dtype[Any], limit_bytes: int | None) -> NDArray[Any]:
    """An uninitialised array (C, X, Y, Z), X fastest; in a temporary file where it is larger than the limit."""
    if limit_bytes is None or int(np.prod(shape)) * dtype.itemsize <= limit_bytes:
        return blank_like(shape, dtype)
    c, x, y, z = shape
    with tempfile.TemporaryFile(prefix="clarivox-") as file:
        return np.memmap(file, dtype, "w+", shape=(c, z, y, x)).transpose(0, 3, 2, 1)


def thin(pieces: Iterable[Piece], step: int = 1) -> Iterator[Piece]:
    """Pieces cut along their last axis, so that what is reckoned for each stays small and in the caches.

    >>> import torch
    >>> whole = Piece(0, (slice(0, 512), slice(0, 512)), torch.zeros(1, 512, 512))
    >>> [part.box[1] for part in thin([whole])]
    [slice(0, 256, None), slice(256, 512, None)]
    """
    for piece in pieces:
        last = piece.box[-1]
        across = piece.values[0].numel() // (last.stop - last.start)
        deep = max(1, THIN // (across * step)) * step
        for start in range(last.start, last.stop, deep):
            side = slice(start, min(start + deep, last.stop))
            values = piece.values[..., start - last.start : side.stop - last.start]
            yield Piece(piece.item, (*piece.box[:-1], side), values)


def restored(pieces: Iterable[Piece], items: Items, strength: float, tally: Tally, array: NDArray[Any]) -> None:
    """Fill `array` with the stored values, each voxel changed as the network changed it.

    Args:
        pieces: finished pieces of the items; each voxel once.
        items: what the network saw.
        strength: share of the change to apply, 0 to 1.
        tally: updated.
        array: of the volume's shape and dtype.
    """
    volume, by_channel = items.prepared.volume, items.prepared.by_channel
    exact = np.float32 if volume.array.dtype.itemsize <= 2 else np.float64
    for piece in thin(pieces):
        plane, box = items.place(piece.item, piece.box)
        change = piece.values[0].numpy().reshape(*(side.stop - side.start for side in box)).astype(np.float32)
        change -= items.prepared.read(plane, box)
        change[_untouched(items, plane, box, change, tally)] = 0
        steps = strength * items.prepared.scale(plane)[1] / volume.slope[box[2]]
        index = at(slice(0, 3) if is_luma(volume, by_channel) else slice(plane, plane + 1), box)
        array[index] = _added(volume, index, change * steps.astype(exact), tally)
    if volume.channels is Channels.YBR and not by_channel:
        array[1:] = volume.array[1:]


def _untouched(items: Items, plane: int, box: Box, change: NDArray[np.float32], tally: Tally) -> NDArray[np.bool_]:
    """True where a voxel keeps its stored value whatever the network says."""
    prepared = items.prepared
    keep = ~np.isfinite(change)
    tally.unfinite += int(keep.sum())
    hidden = blank(prepared.volume, plane, box, prepared.by_channel)
    if hidden is not None:
        keep |= hidden
    if prepared.volume.channels in (Channels.RGB, Channels.YBR) and not prepared.by_channel:
        coloured = strongly_coloured(prepared.volume, box)
        tally.coloured += int(coloured.sum())
        keep |= coloured
    return keep


def strongly_coloured(volume: Volume, box: Box) -> NDArray[np.bool_]:
    """True where a pixel of a box is too coloured to be part of a grey picture; shape of the box."""
    colours = volume.array[at(slice(0, 3), box)].astype(np.float32)
    low, high = volume.stored_range or (float(colours.min()), float(colours.max()))
    if volume.channels is Channels.YBR:
        spread = 2 * np.abs(colours[1:] - (low + high + 1) / 2).max(axis=0)
    else:
        spread = np.ptp(colours, axis=0)
    strong: NDArray[np.bool_] = spread > COLOURED * (high - low)
    return strong


def _added(volume: Volume, index: Index, change: NDArray[Any], tally: Tally) -> NDArray[Any]:
    """Stored values of one box plus a change (X, Y, Z) in stored units; where it is 0 the stored bits."""
    stored = volume.array[index]
    if stored.dtype.kind == "f":
        return np.where(change == 0, stored, (stored + change).astype(stored.dtype))
    result = as_stored(stored + change, volume, tally)
    if volume.padding is not None:
        result = beside_padding(result, stored, volume.padding[index[3]])
    return np.where(change == 0, stored, result.astype(stored.dtype))


def beside_padding(result: NDArray[Any], stored: NDArray[Any], padding: NDArray[np.int64]) -> NDArray[Any]:
    """Results that would look like padding, moved one beside it, to the side that the source's voxel is on.

    >>> beside_padding(np.array([[0.0], [5.0]]), np.array([[3], [3]]), np.array([[0, 0]])).ravel()
    array([1., 5.])
    """
    first, last = padding.T
    lands = (result >= first) & (result <= last)
    moved: NDArray[Any] = np.where(lands, np.where(stored > last, last + 1, first - 1), result)
    return moved


def as_stored(values: NDArray[Any], volume: Volume, tally: Tally) -> NDArray[Any]:
    """Real numbers in stored units, rounded and clipped to what the source's bits can hold; not yet cast."""
    if volume.array.dtype.kind == "f":
        return values
    limits = np.iinfo(volume.array.dtype)
    low, high = volume.stored_range or (int(limits.min), int(limits.max))
    rounded: NDArray[Any] = np.rint(values)
    below = int((rounded < low).sum())
    tally.below += below
    tally.clipped += below + int((rounded > high).sum())
    clipped: NDArray[Any] = np.clip(rounded, low, high)
    return clipped


def rescaled(
    pieces: Iterable[Piece], items: Items, scale: tuple[int, int, int], tally: Tally, array: NDArray[Any]
) -> None:
    """Fill `array` on a finer grid, each channel's values written anew.

    Args:
        pieces: finished pieces of the items; each voxel once.
        items: what the network saw, by channel.
        scale: output voxels for each input voxel along X, Y, Z.
        tally: updated.
        array: of the volume's dtype, its shape times the scale.
    """
    volume = items.prepared.volume
    for piece in thin(pieces, max(scale)):
        plane, box = items.place(piece.item, piece.box)
        x, y, z = (slice(side.start // n, -(-side.stop // n)) for side, n in zip(box, scale, strict=True))
        index = at(slice(plane, plane + 1), (x, y, z))
        offset, width = items.prepared.scale(plane)
        values = piece.values[0].numpy().reshape(*(side.stop - side.start for side in box)).astype(np.float64)
        deep = np.repeat(np.arange(z.start, z.stop), scale[2])
        result = (values * width + offset - volume.intercept[deep]) / volume.slope[deep]
        keep = ~np.isfinite(result)
        tally.unfinite += int(keep.sum())
        hidden = blank(volume, plane, (x, y, z), True)
        if hidden is not None:
            keep |= repeated(hidden, scale)
        result = as_stored(np.where(keep, 0, result), volume, tally)
        nearest = repeated(volume.array[index][0], scale)
        if volume.padding is not None:
            result = beside_padding(result, nearest, volume.padding[deep])
        array[at(slice(plane, plane + 1), box)] = np.where(keep, nearest, result.astype(array.dtype))


def repeated(block: NDArray[Any], scale: tuple[int, int, int]) -> NDArray[Any]:
    """Each voxel of a block (X, Y, Z) repeated along the three axes.

    >>> repeated(np.ones((2, 3, 1)), (2, 2, 1)).shape
    (4, 6, 1)
    """
    for axis, n in enumerate(scale):
        block = np.repeat(block, n, axis=axis)
    return block


def refined_affine(affine: NDArray[np.float64], scale: tuple[float, float, float]) -> NDArray[np.float64]:
    """The affine of a grid with `scale` voxels for each along X, Y, Z: the field of view stays, centres move by half.

    >>> refined_affine(np.eye(4), (2, 2, 1))[:3, 3]
    array([-0.25, -0.25,  0.  ])
    """
    finer = np.diag([*(1 / n for n in scale), 1.0])
    finer[:3, 3] = [(1 / n - 1) / 2 for n in scale]
    result: NDArray[np.float64] = affine @ finer
    return result


def on_finer_grid(volume: Volume, array: NDArray[Any], scale: tuple[int, int, int], provenance: Provenance) -> Volume:
    """The volume with a finer array, and everything that goes by the slice repeated to fit."""
    deep = scale[2]
    return volume.replace(
        array=array,
        affine=refined_affine(volume.affine, scale),
        slope=np.repeat(volume.slope, deep),
        intercept=np.repeat(volume.intercept, deep),
        padding=None if volume.padding is None else np.repeat(volume.padding, deep, axis=0),
        provenance=provenance,
    )
