# SPDX-License-Identifier: Apache-2.0
"""Reading attached NRRD and MetaImage (.mha) files: stored numbers, axes as stored, the header kept for the writer.

The voxels are read here and not by SimpleITK: that reads a damaged compressed .mha without an error (only a line on
stderr), follows a header to other files, cannot keep the space or the measurement frame, and needs a second copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clarivox.io import gzip_file
from clarivox.io.limits import Limits
from clarivox.io.nrrd_layout import Layout, meta_layout, nrrd_layout
from clarivox.io.samples import check_bytes, range_of, read_samples
from clarivox.io.series import SeriesInfo
from clarivox.volume import Volume


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
    check_bytes(found.data_bytes, length, found.source.packing != "raw", limits)
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
        array = read_samples(stream, found.source.shape, found.dtype, found.source.beside, tell)
        over = gzip_file.left_over(stream)
    return Volume(
        array,
        found.source.affine,
        channels=found.channels,
        stored_range=range_of(array.dtype),
        notes=(*found.notes, "bytes after the last voxel were ignored") if over else found.notes,
        source=found.source,
    )
