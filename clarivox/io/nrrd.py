# SPDX-License-Identifier: Apache-2.0
"""Reading attached NRRD and MetaImage (.mha) files: stored numbers, axes as stored, the header kept for the writer.

The voxels are read here and not by SimpleITK: that reads a damaged compressed .mha without an error (only a line on
stderr), follows a header to other files, cannot keep the space or the measurement frame, and needs a second copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import LimitError, TruncatedError
from clarivox.io import gzip_file
from clarivox.io.limits import Limits
from clarivox.io.nrrd_layout import Layout, meta_layout, nrrd_layout
from clarivox.io.series import SeriesInfo
from clarivox.volume import Volume, blank_like

_BOMB_BYTES = 1 << 30


def layout(path: Path, limits: Limits) -> Layout:
    """Read and check the header alone; nothing of the voxels' size is allocated.

    Raises:
        FormatError: detached voxels (code detached_data), or a type, encoding or arrangement that is not read.
        GeometryError: a size, spacing or direction is unusable.
        LimitError: more voxels than the limits allow, or a packing ratio that only a bomb has.
        TruncatedError: the file cannot hold what its header promises.
    """
    with path.open("rb") as stream:
        found = nrrd_layout(path) if stream.read(4) == b"NRRD" else meta_layout(path)
    limits.check_voxels(math.prod(found.source.shape))
    length = path.stat().st_size - found.source.header.offset
    packed = found.source.packing != "raw"
    if length * (gzip_file.MAX_RATIO if packed else 1) < found.data_bytes:
        raise TruncatedError(
            f"the header promises {found.data_bytes} bytes of voxels and {length} follow it; fetch the file again",
            code="truncated_pixel_data",
        )
    if packed and found.data_bytes > max(_BOMB_BYTES, limits.ratio * length):
        raise LimitError(
            f"the file unpacks to {found.data_bytes} bytes, over {limits.ratio} times its size; unpack it yourself "
            "if you trust it",
            code="packed_too_far",
        )
    return found


def describe(path: Path, limits: Limits) -> SeriesInfo:
    """What the header says, for a list; raises as `layout`."""
    found = layout(path, limits)
    x, y, z = np.linalg.norm(found.source.affine[:3, :3], axis=0)
    return SeriesInfo(
        path.name,
        "nrrd",
        kind="NRRD" if found.source.written_as == "nrrd" else "MetaImage",
        shape=found.source.shape,
        channels=str(found.channels),
        spacing_mm=(float(x), float(y), float(z)),
        dtype=found.dtype.name,
        encoding="uncompressed" if found.source.packing == "raw" else found.source.packing,
        notes=found.notes,
    )


def load(path: Path, limits: Limits, tell: Callable[[float], None]) -> Volume:
    """Read one file.

    Args:
        path: a .nrrd or .mha file, whatever its name.
        limits: what is too large.
        tell: called with the share of the voxels that is read.

    Raises:
        InputError: as `layout`, and where the voxels are cut short or damaged.
    """
    found = layout(path, limits)
    with gzip_file.reading_at(path, found.source.header.offset, found.source.packing) as stream:
        array = _beside(stream, found, tell) if found.source.beside else _plain(stream, found, tell)
        over = gzip_file.left_over(stream)
    bits = np.iinfo(array.dtype) if array.dtype.kind in "iu" else None
    return Volume(
        array,
        found.source.affine,
        channels=found.channels,
        stored_range=None if bits is None else (int(bits.min), int(bits.max)),
        notes=(*found.notes, "bytes after the last voxel were ignored") if over else found.notes,
        source=found.source,
    )


def _plain(stream: BinaryIO, found: Layout, tell: Callable[[float], None]) -> NDArray[Any]:
    array = blank_like(found.source.shape, found.dtype.newbyteorder("="))
    frames = array.transpose(0, 3, 2, 1)
    gzip_file.fill(stream, frames.reshape(-1).view(np.uint8).data, tell)
    if not found.dtype.isnative:
        frames.byteswap(inplace=True)
    return array


def _beside(stream: BinaryIO, found: Layout, tell: Callable[[float], None]) -> NDArray[Any]:
    """One slice at a time into its place in each channel."""
    array = blank_like(found.source.shape, found.dtype.newbyteorder("="))
    frames = array.transpose(0, 3, 2, 1)
    channels, x, y, z = found.source.shape
    picture = np.empty((y, x, channels), found.dtype)
    for index in range(z):
        gzip_file.fill(stream, picture.reshape(-1).view(np.uint8).data, lambda share: None)
        frames[:, index] = picture.transpose(2, 0, 1)
        tell((index + 1) / z)
    return array
