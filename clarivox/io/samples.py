# SPDX-License-Identifier: Apache-2.0
"""Stored samples from a stream into memory, one copy; and whether a file can hold what its header promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import LimitError, TruncatedError
from clarivox.io import gzip_file
from clarivox.io.limits import Limits
from clarivox.volume import blank_like

_BOMB_BYTES = 1 << 30


def check_bytes(need: int, length: int, packed: bool, limits: Limits) -> None:
    """Compare what a header promises with the file's length, before anything is allocated.

    Args:
        need: bytes promised, unpacked.
        length: bytes there are, packed or not.
        packed: whether they are compressed.
        limits: gives the ratio that is allowed where the unpacked bytes are over 1 GiB; label maps do pack further.

    Raises:
        TruncatedError: there are too few (code truncated_pixel_data).
        LimitError: they unpack too far (code packed_too_far).
    """
    if length * (gzip_file.MAX_RATIO if packed else 1) < need:
        raise TruncatedError(
            f"the header promises {need} bytes and the file has {length}; fetch it again", code="truncated_pixel_data"
        )
    if packed and need > max(_BOMB_BYTES, limits.ratio * length):
        raise LimitError(
            f"the file unpacks to {need} bytes, over {limits.ratio} times its size; unpack it yourself if you trust it",
            code="packed_too_far",
        )


def read_samples(
    stream: BinaryIO,
    shape: tuple[int, int, int, int],
    dtype: np.dtype[Any],
    beside: bool,
    tell: Callable[[float], None],
) -> NDArray[Any]:
    """An array of shape (C, X, Y, Z), X fastest in memory, in this machine's byte order.

    Args:
        stream: gives the samples, X fastest; or the channels of a voxel first, where `beside`.
        shape: (C, X, Y, Z).
        dtype: of the file, with its byte order.
        beside: the channels of a voxel lie beside each other; then one slice at a time is put into its places.
        tell: called with the share that is read.

    Raises:
        TruncatedError: the stream ends too early.
    """
    array = blank_like(shape, dtype.newbyteorder("="))
    frames = array.transpose(0, 3, 2, 1)
    if not beside:
        gzip_file.fill(stream, frames.reshape(-1).view(np.uint8).data, tell)
        if not dtype.isnative:
            frames.byteswap(inplace=True)
        return array
    channels, x, y, z = shape
    picture = np.empty((y, x, channels), dtype)
    for index in range(z):
        gzip_file.fill(stream, picture.reshape(-1).view(np.uint8).data, lambda share: None)
        frames[:, index] = picture.transpose(2, 0, 1)
        tell((index + 1) / z)
    return array


def range_of(dtype: np.dtype[Any]) -> tuple[int, int] | None:
    """Smallest and largest number of an integer type, or None.

    >>> range_of(np.dtype(np.int16)), range_of(np.dtype(np.float32))
    ((-32768, 32767), None)
    """
    if dtype.kind not in "iu":
        return None
    bits = np.iinfo(dtype)
    return int(bits.min), int(bits.max)
