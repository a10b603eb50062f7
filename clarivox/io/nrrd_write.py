# SPDX-License-Identifier: Apache-2.0
"""Writing attached NRRD and MetaImage files, from the array in memory order, with the source's own header lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import GeometryError, OutputError
from clarivox.io import atomic, carried, gzip_file
from clarivox.io.nrrd_layout import LPS, META_TYPES, NRRD_TYPES, NrrdSource
from clarivox.io.written import Written
from clarivox.volume import Axis, Channels, Volume

_NRRD_NAMES = {dtype: name for name, dtype in reversed(NRRD_TYPES.items())} | {
    "i1": "signed char",
    "u1": "unsigned char",
    "u2": "unsigned short",
    "u4": "unsigned int",
    "i8": "long long int",
    "u8": "unsigned long long int",
}
_META_NAMES = {dtype: name for name, dtype in META_TYPES.items() if name not in ("MET_LONG", "MET_ULONG")}
_STALE = ("min", "max", "oldmin", "oldmax", "axismins", "axismaxs", "elementmin", "elementmax", "compresseddatasize")
_SIZE_DIGITS = 20

Fields = dict[str, tuple[str, str]]
"""What a header has to say: the field's compact name to its usual name and its value."""


def save(
    volume: Volume,
    path: Path,
    *,
    as_: str,
    overwrite: bool = False,
    tell: Callable[[float], None] = lambda share: None,
) -> Written:
    """Write one file. No second copy of the volume is made.

    Key/value pairs and comments of a source in the same format are kept; they may name the patient.

    Args:
        volume: any volume but palette indices, sheared or unevenly spaced slices.
        path: ends with .nrrd or .mha, as `as_` says.
        as_: nrrd or mha.
        overwrite: replace a file that is there.
        tell: called with the share that is written.

    Raises:
        OutputError: the name has another ending, or the file exists.
        GeometryError: the slices are not one grid, or its axes are not at right angles (code sheared_grid).
    """
    if not path.name.lower().endswith(f".{as_}"):
        raise OutputError(f"the file's name ends with .{as_}; found {path.name!r}", code="bad_name")
    carried.check_not_palette(volume)
    carried.check_regular(volume)
    _check_right_angles(volume)
    numbers = carried.without_scale(volume)
    source = volume.source
    own = source if isinstance(source, NrrdSource) and source.written_as == as_ else None
    coloured = volume.channels in (Channels.RGB, Channels.YBR)
    beside = coloured or (own is not None and own.beside and volume.shape[0] > 1)
    packing = own.packing if own else ("gzip" if as_ == "nrrd" else "raw")
    same_place = own is not None and np.array_equal(volume.affine, own.affine) and volume.shape == own.shape
    build = _nrrd_fields if as_ == "nrrd" else _meta_fields
    fields = build(volume, numbers.dtype, beside, own, packing)
    mark = _MARK[as_]
    header = _merged(own, fields, same_place) if own else [f"{usual}{mark}{text}" for usual, text in fields.values()]
    head = _framed(header, as_)
    little = numbers.dtype.newbyteorder("<")

    def content() -> Iterator[NDArray[Any] | bytes]:
        for block in (carried.interleaved if beside else carried.blocks)(volume, numbers, tell):
            yield block.astype(little, copy=False)

    with atomic.file(path, overwrite) as temporary:
        length = gzip_file.write_after(temporary, head, content(), packing)
        if packing == "zlib":
            _patch_size(temporary, head, length)
    return Written((path,), as_, _notes(volume, numbers.notes, own))


_MARK = {"nrrd": ": ", "mha": " = "}


def _check_right_angles(volume: Volume) -> None:
    axes = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
        raise GeometryError(
            "the axes are not at right angles, which readers of NRRD and MHA misplace; write NIfTI or DICOM",
            code="sheared_grid",
        )


def _nrrd_fields(volume: Volume, dtype: np.dtype[Any], beside: bool, own: NrrdSource | None, packing: str) -> Fields:
    channels, x, y, z = volume.shape
    inside = [x, y, z]
    factors = own.to_ras if own else LPS
    steps = (volume.affine[:3, :3] / factors[:, None]).T
    origin = volume.affine[:3, 3] / factors
    vectors = [_vector(step) for step in steps]
    kinds = ["domain"] * len(inside)
    if channels > 1:
        kind = "RGB-color" if volume.channels in (Channels.RGB, Channels.YBR) else "list"
        place = 0 if beside else len(inside)
        inside.insert(place, channels)
        vectors.insert(place, "none")
        kinds.insert(place, kind)
    return {
        "type": ("type", _NRRD_NAMES[dtype.str[1:]]),
        "dimension": ("dimension", str(len(inside))),
        "space": ("space", "left-posterior-superior"),
        "sizes": ("sizes", " ".join(map(str, inside))),
        "spacedirections": ("space directions", " ".join(vectors)),
        "kinds": ("kinds", " ".join(kinds)),
        "endian": ("endian", "little"),
        "encoding": ("encoding", packing),
        "spaceorigin": ("space origin", _vector(origin)),
    }


def _meta_fields(volume: Volume, dtype: np.dtype[Any], beside: bool, own: NrrdSource | None, packing: str) -> Fields:
    channels, *inside = volume.shape
    if own is not None and volume.shape[3] == 1 and own.header.numbers("ndims") == [2.0]:
        inside = inside[:2]
    count = len(inside)
    spacing = [float(side) for side in np.linalg.norm(volume.affine[:3, :3], axis=0)][:count]
    steps = (volume.affine[:3, :3] / LPS[:, None] / np.linalg.norm(volume.affine[:3, :3], axis=0)).T
    matrix, origin = np.eye(count), np.zeros(count)
    matrix[:count, :count], origin[:count] = steps[:count, :count], (volume.affine[:3, 3] / LPS)[:count]
    if channels > 1 and not beside:
        grown = np.eye(count + 1)
        grown[:count, :count] = matrix
        matrix, origin, spacing, inside = grown, np.append(origin, 0.0), [*spacing, 1.0], [*inside, channels]
    fields = {
        "objecttype": ("ObjectType", "Image"),
        "ndims": ("NDims", str(len(inside))),
        "binarydata": ("BinaryData", "True"),
        "binarydatabyteordermsb": ("BinaryDataByteOrderMSB", "False"),
        "compresseddata": ("CompressedData", str(packing == "zlib")),
        "compresseddatasize": ("CompressedDataSize", " " * _SIZE_DIGITS),
        "transformmatrix": ("TransformMatrix", _plain(matrix)),
        "offset": ("Offset", _plain(origin)),
        "elementspacing": ("ElementSpacing", _plain(np.array(spacing))),
        "dimsize": ("DimSize", " ".join(map(str, inside))),
        "elementnumberofchannels": ("ElementNumberOfChannels", str(channels)),
        "elementtype": ("ElementType", _META_NAMES[dtype.str[1:]]),
        "elementdatafile": ("ElementDataFile", "LOCAL"),
    }
    if packing != "zlib":
        del fields["compresseddatasize"]
    if not beside:
        del fields["elementnumberofchannels"]
    return fields


_PLACE = (
    "space",
    "spacedirections",
    "spaceorigin",
    "spacings",
    "kinds",
    "dimension",
    "sizes",
    "ndims",
    "dimsize",
    "transformmatrix",
    "offset",
    "elementspacing",
)
_SYNONYMS = {
    "elementbyteordermsb": "binarydatabyteordermsb",
    "rotation": "transformmatrix",
    "orientation": "transformmatrix",
    "position": "offset",
    "origin": "offset",
    "elementsize": "elementspacing",
}


def _merged(own: NrrdSource, fields: Fields, same_place: bool) -> list[str]:
    """The source's lines with what changed put in; where nothing moved, its words for place and size stay."""
    mark = _MARK[own.written_as]
    left, gone = dict(fields), set(_STALE)
    last = left.pop("elementdatafile", None)
    if same_place:
        for name in _PLACE:
            left.pop(name, None)
    else:
        gone |= {"spacings", "spacedimension", "thicknesses", "elementdatafile"}
        if own.header.get("space"):
            left.pop("space", None)
        if len(own.header.get("kinds").split()) == len(fields.get("kinds", ("", ""))[1].split()):
            left.pop("kinds", None)
    lines: list[str] = []
    for line in own.header.lines:
        name = _SYNONYMS.get(line.name, line.name)
        if name in left:
            usual, text = left.pop(name)
            lines.append(f"{usual}{mark}{text}")
            if name == "dimension" and "space" in left:
                usual, text = left.pop("space")  # directions may only follow the space that they are in
                lines.append(f"{usual}{mark}{text}")
        elif name not in gone and name != "elementdatafile":
            lines.append(line.text)
    lines += [f"{usual}{mark}{text}" for usual, text in left.values()]
    return [*lines, f"{last[0]}{mark}{last[1]}"] if last else lines


def _framed(lines: list[str], as_: str) -> bytes:
    text = "\n".join(["NRRD0005", *lines, "", ""] if as_ == "nrrd" else [*lines, ""])
    return text.encode("utf-8", "surrogateescape")


def _patch_size(path: Path, head: bytes, length: int) -> None:
    """Put the packed length, known only now, into the room that the header left for it."""
    blank = b" " * _SIZE_DIGITS
    with path.open("r+b") as stream:
        stream.seek(head.index(b"CompressedDataSize = " + blank) + len(b"CompressedDataSize = "))
        stream.write(str(length).encode().ljust(_SIZE_DIGITS))


def _vector(step: NDArray[np.float64]) -> str:
    return f"({','.join(_number(value) for value in step)})"


def _plain(values: NDArray[np.float64]) -> str:
    return " ".join(_number(value) for value in values.ravel())


def _number(value: float) -> str:
    """The shortest text that reads back as the same number."""
    text = repr(float(value) + 0.0)
    return text.removesuffix(".0")


def _notes(volume: Volume, notes: tuple[str, ...], own: NrrdSource | None) -> tuple[str, ...]:
    found = list(notes)
    if volume.channels is Channels.YBR:
        found.append("luma and colour difference were converted to RGB, rounded to 8 bits")
    if volume.third_axis is Axis.TIME:
        found.append("frames are written along the third axis, 1 mm apart")
    if volume.inverted:
        found.append("larger values mean darker (MONOCHROME1); this format cannot say so")
    if own is not None:
        found.append("keys and comments of the source were kept; they may name the patient")
    return tuple(found)
