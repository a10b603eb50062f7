# SPDX-License-Identifier: Apache-2.0
"""From a network's output back to stored voxels.

Where the grid stays, what is written is the stored value plus the change that the network made, so that a voxel
without a change keeps its bits, and padding, non-finite and strongly coloured voxels are never touched. Where the grid
is refined, values are written anew, and padding is carried over from the nearest voxel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clarivox.prepare import Items, blank
from clarivox.tiles import Box
from clarivox.volume import Channels, Provenance, Volume, blank_like
from clarivox.windows import Piece

COLOURED = 0.12
"""A pixel is strongly coloured where its colours differ by more than this share of their range: Doppler, overlays."""


@dataclass
class Tally:
    """What restoring had to hold back."""

    clipped: int = 0
    """Results that did not fit the stored range."""
    coloured: int = 0
    unfinite: int = 0
    notes: list[str] = field(default_factory=list)

    def report(self, voxels: int) -> tuple[str, ...]:
        """Notes for the reader."""
        found = list(self.notes)
        if self.clipped:
            found.append(f"{self.clipped} results did not fit the stored range and were clipped")
        if self.coloured:
            found.append(f"{self.coloured / voxels:.1%} of the pixels are strongly coloured and were left as they were")
        if self.unfinite:
            found.append(f"{self.unfinite} voxels were left as they were: the network gave no finite value")
        return tuple(found)


def restored(pieces: Iterable[Piece], items: Items, strength: float, tally: Tally) -> NDArray[Any]:
    """The stored array on the volume's own grid, each voxel changed as the network changed it.

    Args:
        pieces: finished pieces of the items; each voxel once.
        items: what the network saw.
        strength: share of the change to apply, 0 to 1.
        tally: updated.
    """
    volume = items.prepared.volume
    array = blank_like(volume.shape, volume.array.dtype)
    for piece in pieces:
        plane, box = items.place(piece.item, piece.box)
        sides = tuple(side.stop - side.start for side in box)
        offset_width = items.prepared.scale(plane)[1]
        seen = items.prepared.read(plane, box)
        change = piece.values[0].reshape(sides).numpy().astype(np.float32, copy=True)
        change -= seen
        change[_untouched(items, plane, box, change, tally)] = 0
        change = change * (strength * offset_width / volume.slope[box[2]])
        for channel in _channels(volume, plane):
            index = (slice(channel, channel + 1), *box)
            array[index] = _added(volume, index, change[None], tally)  # type: ignore[index]
        for channel in set(range(volume.shape[0])) - set(_channels(volume, plane)):
            if volume.channels is Channels.YBR:
                array[channel, box[0], box[1], box[2]] = volume.array[channel, box[0], box[1], box[2]]
    return array


def _channels(volume: Volume, plane: int) -> range:
    """The channels that a plane's change is added to."""
    return range(3) if volume.channels is Channels.RGB else range(plane, plane + 1)


def _untouched(items: Items, plane: int, box: Box, change: NDArray[np.float32], tally: Tally) -> NDArray[np.bool_]:
    """True where a voxel keeps its stored value whatever the network says."""
    prepared = items.prepared
    unfinite = ~np.isfinite(change)
    tally.unfinite += int(unfinite.sum())
    values = prepared.volume.values((slice(plane, plane + 1), *box))[0]  # type: ignore[arg-type]
    hidden = blank(prepared.volume, plane, box, prepared.by_channel, values)
    keep = unfinite if hidden is None else unfinite | hidden
    if prepared.volume.channels in (Channels.RGB, Channels.YBR):
        coloured = strongly_coloured(prepared.volume, box)
        tally.coloured += int(coloured.sum())
        keep = keep | coloured
    return keep


def strongly_coloured(volume: Volume, box: Box) -> NDArray[np.bool_]:
    """True where a pixel of a box is too coloured to be grey-scale image."""
    colours = volume.array[(slice(None), *box)].astype(np.float32)
    low, high = volume.stored_range or (float(colours.min()), float(colours.max()))
    if volume.channels is Channels.YBR:
        middle = (low + high + 1) / 2
        spread = 2 * np.abs(colours[1:3] - middle).max(axis=0)
    else:
        spread = colours[:3].max(axis=0) - colours[:3].min(axis=0)
    strong: NDArray[np.bool_] = spread > COLOURED * (high - low)
    return strong


def _added(volume: Volume, index: Any, change: NDArray[Any], tally: Tally) -> NDArray[Any]:
    """Stored values of one box plus a change in stored units."""
    stored = volume.array[index]
    if np.issubdtype(stored.dtype, np.floating):
        return np.where(change == 0, stored, (stored + change).astype(stored.dtype))
    padding = volume.padding[index[3]] if volume.padding is not None else None
    result = as_stored(stored + change, volume, tally)
    if padding is not None:
        # A result must not look like padding: it stops one short of it, on the side that it came from.
        lands = (result >= padding[:, 0]) & (result <= padding[:, 1])
        was = (stored >= padding[:, 0]) & (stored <= padding[:, 1])
        beside = np.where(stored > padding[:, 1], padding[:, 1] + 1, padding[:, 0] - 1)
        result = np.where(lands & ~was, beside, result)
    return np.where(change == 0, stored, result.astype(stored.dtype))


def as_stored(values: NDArray[Any], volume: Volume, tally: Tally) -> NDArray[Any]:
    """Real numbers in stored units rounded and clipped to what the source's bits can hold."""
    if np.issubdtype(volume.array.dtype, np.floating):
        return values
    limits = np.iinfo(volume.array.dtype)
    low, high = volume.stored_range or (int(limits.min), int(limits.max))
    whole = np.rint(values)
    outside = (whole < low) | (whole > high)
    tally.clipped += int(outside.sum())
    return np.clip(whole, low, high) if outside.any() else whole


def rescaled(pieces: Iterable[Piece], items: Items, scale: tuple[int, int, int], tally: Tally) -> NDArray[Any]:
    """The stored array on a finer grid, each channel's values written anew.

    Args:
        pieces: finished pieces of the items; each voxel once.
        items: what the network saw, by channel.
        scale: output voxels for each input voxel along X, Y, Z.
        tally: updated.
    """
    volume = items.prepared.volume
    c, x, y, z = volume.shape
    array = blank_like((c, x * scale[0], y * scale[1], z * scale[2]), volume.array.dtype)
    for piece in pieces:
        plane, box = items.place(piece.item, (*piece.box, slice(0, 1))[:3])
        if items.by_slice:
            box = (*box[:2], slice(box[2].start * scale[2], box[2].stop * scale[2]))
        source = tuple(slice(side.start // n, -(-side.stop // n)) for side, n in zip(box, scale, strict=True))
        offset, width = items.prepared.scale(plane)
        sides = tuple(side.stop - side.start for side in box)
        values = piece.values[0].reshape(sides).numpy() * width + offset
        deep = np.repeat(np.arange(source[2].start, source[2].stop), scale[2])
        result = (values - volume.intercept[deep]) / volume.slope[deep]
        stored = volume.array[(plane, *source)]
        hidden = blank(volume, plane, source, True, volume.values((slice(plane, plane + 1), *source))[0])  # type: ignore[arg-type]
        keep = ~np.isfinite(result)
        tally.unfinite += int(keep.sum())
        if hidden is not None:
            keep |= _repeated(hidden, scale)
        result = as_stored(np.where(keep, 0, result), volume, tally)
        array[(plane, *box)] = np.where(keep, _repeated(stored, scale), result.astype(stored.dtype))
    return array


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


def _repeated(block: NDArray[Any], scale: tuple[int, int, int]) -> NDArray[Any]:
    """Each voxel of a block repeated along X, Y, Z."""
    for axis, n in enumerate(scale):
        block = np.repeat(block, n, axis=axis)
    return block


def refined_affine(affine: NDArray[np.float64], scale: tuple[int, int, int]) -> NDArray[np.float64]:
    """The affine of a grid with `scale` voxels for each along X, Y, Z: the field of view stays, centres move by half.

    >>> refined_affine(np.eye(4), (2, 2, 1))[:3, 3]
    array([-0.25, -0.25,  0.  ])
    """
    finer = np.diag([*(1 / n for n in scale), 1.0])
    finer[:3, 3] = [(1 / n - 1) / 2 for n in scale]
    result: NDArray[np.float64] = affine @ finer
    return result
