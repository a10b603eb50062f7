# SPDX-License-Identifier: Apache-2.0
"""How a volume's numbers go into a file that knows one slope and intercept, or none; block by block in memory order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import GeometryError, OutputError
from clarivox.volume import Channels, Fault, Index, Irregularity, Volume

BLOCK_BYTES = 4 << 20
"""Size of a block: small beside any volume, large beside the cost of a call."""

_SIGNED = (np.int16, np.int32)


@dataclass(frozen=True)
class Carried:
    """The numbers of the file: stored ones as they are, or values.

    A reader of the file computes slope * number + intercept; the format's header has to say both.
    """

    dtype: np.dtype[Any]
    slope: float = 1.0
    intercept: float = 0.0
    as_values: bool = False
    """True where the file's numbers are the volume's values, rounded where `dtype` is an integer."""
    notes: tuple[str, ...] = ()

    def block(self, volume: Volume, index: Index) -> NDArray[Any]:
        """The numbers of one box, shape as the box; a view where nothing changes."""
        if not self.as_values:
            return volume.array[index].astype(self.dtype, copy=False)
        if self.dtype.kind == "f":
            return volume.values(index).astype(self.dtype, copy=False)
        exact = volume.array[index].astype(np.float64, order="K")
        exact *= volume.slope[index[3]]
        exact += volume.intercept[index[3]]
        return np.rint(exact).astype(self.dtype)


def with_one_scale(volume: Volume) -> Carried:
    """Stored numbers where every slice has the same slope and intercept; else values as float32.

    >>> v = Volume(np.zeros((1, 2, 2, 2), np.int16), np.eye(4), slope=np.array([1.0, 2.0]))
    >>> with_one_scale(v).dtype.name, with_one_scale(v).notes
    ('float32', ('slices have different slopes: values are written as 32-bit floating point',))
    """
    if (volume.slope == volume.slope[0]).all() and (volume.intercept == volume.intercept[0]).all():
        return Carried(volume.array.dtype, float(volume.slope[0]), float(volume.intercept[0]))
    note = "slices have different slopes: values are written as 32-bit floating point"
    return Carried(np.dtype(np.float32), as_values=True, notes=(note,))


def without_scale(volume: Volume) -> Carried:
    """Stored numbers where they are the values; whole values as the smallest signed integer; else float32.

    >>> v = Volume(np.zeros((1, 2, 2, 2), np.uint16), np.eye(4), intercept=np.array([-1024.0]), stored_range=(0, 4095))
    >>> without_scale(v).dtype.name
    'int16'
    """
    if (volume.slope == 1).all() and (volume.intercept == 0).all():
        return Carried(volume.array.dtype)
    whole = (volume.slope == np.rint(volume.slope)).all() and (volume.intercept == np.rint(volume.intercept)).all()
    if volume.array.dtype.kind in "iu" and whole:
        bits = np.iinfo(volume.array.dtype)
        ends = np.array(volume.stored_range or (int(bits.min), int(bits.max)), np.float64)
        reach = ends[:, None] * volume.slope + volume.intercept
        if not _fits(reach, np.int16):
            reach = np.array([float(volume.array.min()), float(volume.array.max())])[:, None] * volume.slope
            reach = reach + volume.intercept
        for dtype in _SIGNED:
            if _fits(reach, dtype):
                note = f"values are written as {np.dtype(dtype).name}, with slope and intercept applied"
                return Carried(np.dtype(dtype), as_values=True, notes=(note,))
    note = "values are written as 32-bit floating point, with slope and intercept applied"
    return Carried(np.dtype(np.float32), as_values=True, notes=(note,))


def _fits(reach: NDArray[np.float64], dtype: type[np.signedinteger[Any]]) -> bool:
    bits = np.iinfo(dtype)
    return bool(reach.min() >= bits.min and reach.max() <= bits.max)


def blocks(volume: Volume, carried: Carried, tell: Callable[[float], None]) -> Iterator[NDArray[Any]]:
    """The file's numbers in memory order, shape (slices, Y, X) each: volume after volume, slice after slice."""
    channels, x, y, z = volume.shape
    step = max(1, BLOCK_BYTES // (x * y * carried.dtype.itemsize))
    for channel in range(channels):
        for first in range(0, z, step):
            box = (slice(channel, channel + 1), slice(None), slice(None), slice(first, first + step))
            yield carried.block(volume, box)[0].transpose(2, 1, 0)
            tell((channel * z + min(z, first + step)) / (channels * z))


def interleaved(volume: Volume, carried: Carried, tell: Callable[[float], None]) -> Iterator[NDArray[Any]]:
    """As `blocks`, with the channels of a voxel beside each other: one slice at a time, shape (Y, X, C)."""
    depth = volume.shape[3]
    for z in range(depth):
        box = (slice(None), slice(None), slice(None), slice(z, z + 1))
        picture = carried.block(volume, box)[..., 0]
        yield np.ascontiguousarray(rgb_of(picture) if volume.channels is Channels.YBR else picture).transpose(2, 1, 0)
        tell((z + 1) / depth)


def rgb_of(ybr: NDArray[Any]) -> NDArray[np.uint8]:
    """Red, green, blue of luma and colour difference, both along the first axis, 8 bits.

    Source:
        DICOM PS3.3 C.7.6.3.1.2, YBR_FULL.

    >>> rgb_of(np.array([81, 90, 240], np.uint8).reshape(3, 1, 1)).ravel()
    array([238,  14,  14], dtype=uint8)
    """
    if ybr.dtype != np.uint8:
        raise OutputError("luma and colour difference of more than 8 bits cannot become RGB; write DICOM")
    luma, blue, red = ybr.astype(np.float32)
    blue, red = blue - 128, red - 128
    rgb = np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue])
    rounded: NDArray[np.uint8] = np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
    return rounded


def check_regular(volume: Volume, allowed: tuple[Fault, ...] = ()) -> None:
    """Refuse a volume whose slices the file's one grid would misplace.

    Raises:
        GeometryError: the slices are irregular in another way than `allowed`; code as the fault.
    """
    fault: Irregularity | None = volume.irregular
    if fault is not None and fault.fault not in allowed:
        raise GeometryError(
            f"one grid cannot hold these slices ({fault.message}); write DICOM, which keeps each slice's own place",
            code=str(fault.fault),
        )


def check_not_palette(volume: Volume) -> None:
    """Refuse indices into a colour table, which mean nothing without it.

    Raises:
        OutputError: the volume holds palette indices (code palette).
    """
    if volume.channels is Channels.PALETTE:
        raise OutputError("indices into a colour table cannot be written so; write the source's format", code="palette")
