# SPDX-License-Identifier: Apache-2.0
"""An empty label map on the grid of an image: what MONAI Label's viewers expect where there is nothing to draw.

Written by hand, as the process that answers must not load numpy.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from clarivox.errors import OptionError

_BLOCK = 1 << 20

_TYPES = {
    "uint8": ("unsigned char", 1, 2),
    "int8": ("signed char", 1, 256),
    "uint16": ("unsigned short", 2, 512),
    "int16": ("short", 2, 4),
    "uint32": ("unsigned int", 4, 768),
    "int32": ("int", 4, 8),
    "float32": ("float", 4, 16),
}
"""By numpy's name: NRRD's name, bytes, and NIfTI's number."""


class Grid(NamedTuple):
    """The voxels of an image and their place."""

    shape: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]
    """Index to millimetres in RAS, four rows of four."""

    @classmethod
    def of(cls, about: dict[str, Any]) -> Grid:
        """The grid of a volume as a job's metrics describe it: shape (X, Y, Z) and affine."""
        x, y, z = (int(side) for side in about["shape"])
        return cls((x, y, z), tuple(tuple(float(n) for n in row) for row in about["affine"]))


class LabelMap(NamedTuple):
    """A file in pieces."""

    extension: str
    media: str
    size: int
    pieces: Iterator[bytes]


def empty(grid: Grid, extension: str = ".nrrd", dtype: str = "uint8", packed: bool = True) -> LabelMap:
    """A label map without labels.

    Args:
        grid: where its voxels lie.
        extension: .nrrd, .seg.nrrd, .nii or .nii.gz, as the viewer asks; anything else gives .nrrd.
        dtype: numpy's name of the type of a voxel.
        packed: gzip the voxels of an NRRD file.

    Raises:
        OptionError: the type is not one of a label map.

    >>> found = empty(Grid((2, 3, 4), ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))), packed=False)
    >>> content = b"".join(found.pieces)
    >>> found.size == len(content), content[:8], content[-24:] == bytes(24)
    (True, b'NRRD0004', True)
    """
    if dtype not in _TYPES:
        raise OptionError(f"result_dtype is one of {', '.join(_TYPES)}; found {str(dtype)[:40]!r}")
    count = math.prod(grid.shape) * _TYPES[dtype][1]
    if extension in (".nii", ".nii.gz"):
        head, packed, media = nifti_head(grid, dtype), extension == ".nii.gz", "application/octet-stream"
        if packed:
            content = _gzip(head, count)
            return LabelMap(extension, "application/gzip", len(content), iter((content,)))
    else:
        extension, media = ".nrrd", "application/octet-stream"
        head = nrrd_head(grid, dtype, packed)
        if packed:
            content = head + _gzip(b"", count)
            return LabelMap(extension, media, len(content), iter((content,)))
    return LabelMap(extension, media, len(head) + count, _zeros(head, count))


def nrrd_head(grid: Grid, dtype: str, packed: bool) -> bytes:
    """The header of an NRRD file, in the axes of ITK and 3D Slicer: left, posterior, superior."""
    lps = [[-n for n in row] if axis < 2 else list(row) for axis, row in enumerate(grid.affine[:3])]
    columns = ["(" + ",".join(repr(row[column]) for row in lps) + ")" for column in range(4)]
    lines = [
        "NRRD0004",
        f"type: {_TYPES[dtype][0]}",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: " + " ".join(map(str, grid.shape)),
        "space directions: " + " ".join(columns[:3]),
        "kinds: domain domain domain",
        "endian: little",
        f"encoding: {'gzip' if packed else 'raw'}",
        f"space origin: {columns[3]}",
    ]
    return ("\n".join(lines) + "\n\n").encode("ascii")


def nifti_head(grid: Grid, dtype: str) -> bytes:
    """The header of a NIfTI-1 file with an sform, and the four bytes after it."""
    _, size, number = _TYPES[dtype]
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, *grid.shape, 1, 1, 1, 1)
    struct.pack_into("<2h", head, 70, number, 8 * size)
    spacing = [math.sqrt(sum(row[axis] ** 2 for row in grid.affine[:3])) for axis in range(3)]
    struct.pack_into("<8f", head, 76, 1.0, *spacing, 0.0, 0.0, 0.0, 0.0)
    struct.pack_into("<3f", head, 108, 352.0, 1.0, 0.0)
    head[123] = 2  # millimetres
    struct.pack_into("<2h", head, 252, 0, 2)
    for axis, row in enumerate(grid.affine[:3]):
        struct.pack_into("<4f", head, 280 + 16 * axis, *row)
    head[344:348] = b"n+1\0"
    return bytes(head)


def _zeros(head: bytes, count: int) -> Iterator[bytes]:
    yield head
    block = bytes(min(_BLOCK, count))
    for start in range(0, count, _BLOCK):
        yield block[: count - start]


def _gzip(head: bytes, count: int) -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    parts = [packer.compress(piece) for piece in _zeros(head, count)]
    return b"".join((*parts, packer.flush()))
