# SPDX-License-Identifier: Apache-2.0
"""What the headers of NRRD and MetaImage say about the voxels: type, axes, packing, place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import FormatError, GeometryError, RescaleError
from clarivox.io.nrrd_header import TextHeader, affine_of, meta_header, nrrd_header, vectors, with_third_axis
from clarivox.volume import Channels

_INTEGERS = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
}
NRRD_TYPES = {name: dtype for dtype, names in _INTEGERS.items() for name in names} | {"float": "f4", "double": "f8"}
"""NRRD's names of the types."""

META_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
"""MetaImage's names of the types; its long has 4 bytes on every machine."""

LPS = np.array([-1.0, -1.0, 1.0])
"""From left, posterior, superior to right, anterior, superior."""

_SPACES = {
    "right-anterior-superior": np.array([1.0, 1.0, 1.0]),
    "left-anterior-superior": np.array([-1.0, 1.0, 1.0]),
    "left-posterior-superior": LPS,
}
_SHORT_SPACES = {"ras": "right-anterior-superior", "las": "left-anterior-superior", "lps": "left-posterior-superior"}
_SPACE_LIKE = ("domain", "space", "???", "none", "")
_REFUSED_KINDS = ("complex", "rgba-color", "hsv-color", "xyz-color", "4-color")
_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001, "nm": 1e-6}


@dataclass(frozen=True, eq=False)
class NrrdSource:
    """What a NRRD or MetaImage volume keeps of its file, for the writer.

    Attributes:
        name: the file's name without its ending.
        written_as: nrrd or mha.
        header: the file's lines.
        to_ras: what each coordinate of the file's space is multiplied with to be RAS, shape (3,).
        affine, shape: the volume's as read.
        beside: the channels of a voxel lie beside each other in the file.
        packing: raw, gzip or zlib.
    """

    name: str
    written_as: str
    header: TextHeader
    to_ras: NDArray[np.float64]
    affine: NDArray[np.float64]
    shape: tuple[int, int, int, int]
    beside: bool
    packing: str

    @property
    def format(self) -> str:
        """Always nrrd."""
        return "nrrd"


@dataclass(frozen=True, eq=False)
class Layout:
    """A checked header."""

    source: NrrdSource
    dtype: np.dtype[Any]
    channels: Channels
    notes: tuple[str, ...]

    @property
    def data_bytes(self) -> int:
        """Length of the unpacked voxels."""
        return math.prod(self.source.shape) * self.dtype.itemsize


def nrrd_layout(path: Path) -> Layout:
    """The checked header of a NRRD file; raises as `clarivox.io.nrrd.layout`."""
    header = nrrd_header(path)
    notes: list[str] = []
    if any(header.numbers(name) not in ([], [0.0]) for name in ("lineskip", "byteskip")):
        raise FormatError("bytes to skip before the voxels are not supported; save the file again without them")
    encoding = header.get("encoding").lower()
    packing = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}.get(encoding)
    if packing is None:
        raise FormatError("this encoding of NRRD is not read; save it as raw or gzip", code="bad_encoding")
    dtype = _dtype(header.get("type"), NRRD_TYPES, header.get("endian").lower() == "big")
    sizes = _sizes(header, "sizes", "dimension")
    kinds = [kind.lower() for kind in header.get("kinds").split()] or [""] * len(sizes)
    steps = vectors(header.get("spacedirections"), "space directions") or [[] for _ in sizes]
    if len(kinds) != len(sizes) or len(steps) != len(sizes):
        raise FormatError("kinds, space directions and sizes have different lengths; mend the header")
    if refused := [kind for kind in kinds if kind in _REFUSED_KINDS]:
        raise FormatError(f"voxels of kind {refused[0]} are not read; save them as grey or RGB", code="bad_datatype")
    apart = [axis for axis, kind in enumerate(kinds) if steps[axis] is None or kind not in _SPACE_LIKE]
    if not apart and len(sizes) == 4:
        apart = [3]
    shape, channels, beside = _axes(sizes, apart, dtype, kinds)
    inside = [axis for axis in range(len(sizes)) if axis not in apart]
    to_ras = _to_ras(header, notes)
    affine = affine_of(*_nrrd_place(header, steps, inside, notes), to_ras)
    source = NrrdSource(path.stem, "nrrd", header, to_ras, affine, shape, beside, packing)
    return Layout(source, dtype, channels, tuple(notes))


def meta_layout(path: Path) -> Layout:
    """The checked header of an attached MetaImage file; raises as `clarivox.io.nrrd.layout`."""
    header = meta_header(path)
    if header.get("binarydata").lower() == "false" or header.get("headersize") not in ("", "0"):
        raise FormatError("MetaImage with text voxels or a second header is not read; save it as plain .mha")
    scale = header.numbers("elementtointensityfunctionslope") + header.numbers("elementtointensityfunctionoffset")
    if scale not in ([], [1.0], [1.0, 0.0]):
        raise RescaleError("an intensity function in MetaImage is not read; apply it and save the file again")
    packed = header.get("compresseddata").lower() == "true"
    big = header.get("binarydatabyteordermsb", "elementbyteordermsb").lower() == "true"
    dtype = _dtype(header.get("elementtype"), META_TYPES, big)
    sizes = _sizes(header, "dimsize", "ndims")
    count = int((header.numbers("elementnumberofchannels") or [1.0])[0])
    apart = [3] if len(sizes) == 4 else []
    if count > 1:
        sizes, apart = [count, *sizes], [0, *[axis + 1 for axis in apart]]
    shape, channels, beside = _axes(sizes, apart, dtype, ["vector"] * len(sizes))
    notes: list[str] = []
    affine = _meta_affine(header, len(sizes) - (count > 1), notes)
    source = NrrdSource(path.stem, "mha", header, LPS, affine, shape, beside, "zlib" if packed else "raw")
    return Layout(source, dtype, channels, tuple(notes))


def _dtype(name: str, types: dict[str, str], big: bool) -> np.dtype[Any]:
    known = types.get(name) or types.get(" ".join(name.lower().split()))
    if known is None:
        raise FormatError("voxels of this type are not read; save them as integers or floats", code="bad_datatype")
    return np.dtype((">" if big else "<") + known)


def _sizes(header: TextHeader, name: str, count_name: str) -> list[int]:
    numbers, count = header.numbers(name), header.numbers(count_name)
    if not numbers or len(count) != 1 or len(numbers) != count[0]:
        raise FormatError(f"the header's {name!r} and {count_name!r} do not agree")
    if any(number < 1 or number != int(number) for number in numbers):
        raise GeometryError(f"sides of {numbers} voxels; each must be a whole number of at least 1")
    return [int(number) for number in numbers]


def _axes(
    sizes: list[int], apart: list[int], dtype: np.dtype[Any], kinds: list[str]
) -> tuple[tuple[int, int, int, int], Channels, bool]:
    """The shape, what the channels are, and whether they lie beside each other."""
    inside = [size for axis, size in enumerate(sizes) if axis not in apart]
    if len(apart) > 1 or not 2 <= len(inside) <= 3 or (apart and apart[0] not in (0, len(sizes) - 1)):
        raise FormatError(
            f"axes of {sizes} samples, {len(inside)} of them in space; two or three in space and one of channels or "
            "volumes are read",
            code="five_dimensions",
        )
    x, y, z = (*inside, 1)[:3]
    count = sizes[apart[0]] if apart else 1
    beside = bool(apart) and apart[0] == 0
    if count == 1:
        return (1, x, y, z), Channels.GREY, False
    coloured = count == 3 and dtype.itemsize == 1 and dtype.kind == "u" and beside
    if kinds[apart[0]] in ("rgb-color", "3-color") and not coloured:
        raise FormatError("colour voxels must be three bytes each; save them so", code="bad_datatype")
    return (count, x, y, z), Channels.RGB if coloured else Channels.VOLUMES, beside


def _to_ras(header: TextHeader, notes: list[str]) -> NDArray[np.float64]:
    space = header.get("space").lower().removesuffix("-time")
    named = _SHORT_SPACES.get(space.removesuffix("t"), space)
    if named not in _SPACES:
        notes.append("the header names no anatomical space: left, posterior, superior is assumed")
    factors = [_MM.get(unit) for unit in header.get("spaceunits").lower().replace('"', " ").split()] or [1.0]
    if factors[0] is None or len(set(factors[:3])) > 1:
        notes.append("the space units are unknown: millimetres are assumed")
        factors = [1.0]
    return _SPACES.get(named, LPS) * float(factors[0] or 1.0)


def _nrrd_place(
    header: TextHeader, steps: list[list[float] | None], inside: list[int], notes: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    columns = [step[:3] for axis in inside if (step := steps[axis])]
    if not columns:
        spacings = header.numbers("spacings") or [1.0] * (max(inside) + 1)
        if len(spacings) <= max(inside):
            raise FormatError("spacings and sizes have different lengths; mend the header")
        notes.append("the header gives no directions and no place: spacing alone is used")
        columns = [[0.0] * place + [spacings[axis]] for place, axis in enumerate(inside)]
    found = vectors(header.get("spaceorigin"), "space origin")
    origin = np.zeros(3)
    if found and found[0]:
        place = found[0][:3]
        origin[: len(place)] = place
    return with_third_axis(columns), origin


def _meta_affine(header: TextHeader, count: int, notes: list[str]) -> NDArray[np.float64]:
    spacing = header.numbers("elementspacing", "elementsize")
    if not spacing:
        notes.append("the header gives no spacing: 1 mm is assumed")
    spacing = spacing or [1.0] * count
    matrix = header.numbers("transformmatrix", "rotation", "orientation") or list(np.eye(count).ravel())
    origin = header.numbers("offset", "position", "origin") or [0.0] * count
    if len(spacing) != count or len(matrix) != count**2 or len(origin) != count:
        raise FormatError("spacing, matrix, offset and size have different lengths; mend the header")
    if min(spacing) <= 0:
        raise GeometryError(f"spacings of {spacing}; each must be above 0, in mm")
    directions = np.array(matrix).reshape(count, count)
    inside = min(count, 3)
    if count == 4 and (directions[3, :3].any() or directions[:3, 3].any()):
        raise GeometryError("the fourth axis is turned into space; save the volumes as separate files")
    columns = [list(directions[axis, :3] * spacing[axis]) for axis in range(inside)]
    place = np.zeros(3)
    place[:inside] = origin[:inside]
    return affine_of(with_third_axis(columns), place, LPS)
