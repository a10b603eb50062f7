# SPDX-License-Identifier: Apache-2.0
"""One DICOM file's header, from bytes that nobody vouches for.

Only the bytes before the pixels are read; elements stay undecoded. A claim (a length, a depth, a deflated size) is
checked against the file before anything is allocated for it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from clarivox.errors import FormatError, LimitError, TruncatedError
from clarivox.io.dicom_depth import UNDEFINED, depth
from clarivox.io.dicom_values import PARSE_ERRORS, text
from clarivox.io.dicom_warnings import Quiet
from clarivox.io.limits import Limits

PIXEL_TAGS = {0x7FE00008: "float", 0x7FE00009: "double float", 0x7FE00010: "integer"}
"""Float Pixel Data, Double Float Pixel Data, Pixel Data."""

FIRST_READ = 1 << 16
"""Bytes read at first; almost every single-frame header fits."""

VRS = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN US UT".split()
)


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the pixels lie."""

    kind: str
    """A value of `PIXEL_TAGS`."""
    offset: int
    """First byte of the value, counted in the file or, where that is deflated, in the inflated data set."""
    length: int
    """Bytes of the value as the header says, or `UNDEFINED` for fragments."""
    vr: str = ""
    """OB or OW where the file says."""


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """A data set without its pixels.

    Attributes:
        dataset: with `file_meta`; elements undecoded until asked for.
        syntax: the transfer syntax's UID.
        implicit, little: how elements are written.
        pixels: where the pixels lie, or None for an object without.
        size: bytes of the file.
        deflated_at: where the deflated part begins in the file, or 0.
        notes: what had to be assumed.
    """

    path: Path
    dataset: Dataset
    syntax: str
    implicit: bool
    little: bool
    pixels: PixelElement | None
    size: int
    deflated_at: int = 0
    notes: tuple[str, ...] = ()


def starts_like_dicom(data: bytes) -> bool:
    """Whether the first 132 bytes or more of a file are DICOM's: marked, or beginning with a plausible element.

    >>> starts_like_dicom(bytes(128) + b"DICM"), starts_like_dicom(b"<html>")
    (True, False)
    """
    if data[128:132] == b"DICM":
        return True
    order: Literal["little", "big"] = "big" if data[:2] in (b"\0\2", b"\0\10") else "little"
    group, number = int.from_bytes(data[:2], order), int.from_bytes(data[2:4], order)
    if len(data) < 16 or group not in (2, 8) or number > 0x20:
        return False
    return data[4:6] in VRS or (order == "little" and int.from_bytes(data[4:8], order) <= 256)


def read_header(path: Path, limits: Limits, part: tuple[int, int] | None = None) -> Header:
    """The header of one file.

    Args:
        path: the file, or an archive that holds it uncompressed.
        limits: ceilings on its size, its header, and how deep that nests.
        part: in an archive, where the DICOM file begins and how many bytes it has; offsets count from there.

    Raises:
        FormatError: not DICOM (code not_dicom), or sequences too deep (sequence_too_deep).
        TruncatedError: the file ends within the header.
        LimitError: the file, its header, or what it inflates to is too large.
    """
    try:
        with path.open("rb") as file:
            start, size = part or (0, path.stat().st_size)
            file.seek(start)
            return _read(path, file, size, limits)
    except OSError as error:
        raise FormatError("the file cannot be opened", code="not_readable") from error


def _read(path: Path, file: BinaryIO, size: int, limits: Limits) -> Header:
    if size > limits.file_bytes:
        raise LimitError(f"the file has {size} bytes; at most {limits.file_bytes} are read", code="file_too_large")
    wanted = FIRST_READ
    data = b""
    while True:
        data += file.read(min(wanted, size) - len(data))
        header = _parse(path, data, size, limits, complete=len(data) >= size)
        if header is not None:
            return header
        if wanted > limits.header_bytes:
            raise LimitError(f"the header has over {limits.header_bytes} bytes", code="header_too_large")
        wanted *= 8


def _parse(path: Path, data: bytes, size: int, limits: Limits, *, complete: bool) -> Header | None:
    """The header, or None where more bytes are needed for it."""
    if not starts_like_dicom(data):
        raise FormatError("not a DICOM file", code="not_dicom")
    with Quiet() as quiet:
        try:
            meta, start = _meta(data)
            syntax = text(meta, "TransferSyntaxUID")
            body, deflated_at = data, 0
            if syntax == DeflatedExplicitVRLittleEndian:
                body, deflated_at = _inflated(data[start:], limits.header_bytes if complete else 8 * len(data)), start
                start = 0
                complete = complete and len(body) < limits.header_bytes
            implicit, little = _encoding(body[start : start + 8], syntax)
            dataset, pixels = _body(body, start, implicit, little, limits, complete=complete)
        except PARSE_ERRORS as error:
            if not complete:
                return None
            code = "sequence_too_deep" if isinstance(error, RecursionError) else "damaged_header"
            raise FormatError("the DICOM header is damaged or nests too deep", code=code) from error
    if pixels is None and not complete:
        return None
    if not len(dataset) or (data[128:132] != b"DICM" and not _plausible(dataset)):
        raise FormatError("not a DICOM file", code="not_dicom")
    dataset.file_meta = meta
    notes = list(quiet.notes)
    if data[128:132] != b"DICM":
        notes.append("the file has no DICOM preamble; it was recognised by its first elements")
    if not syntax:
        syntax = _assumed_syntax(implicit, little)
        notes.append("the file does not name its transfer syntax; it was told from the first element")
    return Header(path, dataset, syntax, implicit, little, pixels, size, deflated_at, tuple(notes))


def _meta(data: bytes) -> tuple[FileMetaDataset, int]:
    buffer = BytesIO(data)
    buffer.seek(132 if data[128:132] == b"DICM" else 0)
    meta = read_dataset(buffer, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    return FileMetaDataset(meta), buffer.tell()


def _encoding(first: bytes, syntax: str) -> tuple[bool, bool]:
    """Whether elements are implicit, and whether little-endian."""
    if syntax == ImplicitVRLittleEndian:
        return True, True
    if syntax == ExplicitVRBigEndian:
        return False, False
    if syntax:
        return False, True
    explicit = first[4:6] in VRS
    return not explicit, not (explicit and int.from_bytes(first[:2], "little") >= 0x400)


def _assumed_syntax(implicit: bool, little: bool) -> str:
    if implicit:
        return str(ImplicitVRLittleEndian)
    return "1.2.840.10008.1.2.1" if little else str(ExplicitVRBigEndian)


def _inflated(data: bytes, at_most: int) -> bytes:
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, at_most)


def _body(
    data: bytes, start: int, implicit: bool, little: bool, limits: Limits, *, complete: bool
) -> tuple[Dataset, PixelElement | None]:
    buffer = BytesIO(data)
    buffer.seek(start)
    end = len(data)
    found: list[PixelElement] = []
    beyond: list[int] = []

    def stop(tag: int, vr: str | None, length: int) -> bool:
        at = buffer.tell()
        if tag in PIXEL_TAGS:
            found.append(PixelElement(PIXEL_TAGS[tag], at, length, vr or ""))
        elif length != UNDEFINED and at + length > end:
            beyond.append(tag)
        return bool(found or beyond)

    dataset = read_dataset(buffer, implicit, little, stop_when=stop)
    if beyond and complete:
        raise TruncatedError("the file ends within its header; send it again")
    if not beyond:
        _check_depth(data, dataset, limits)
    return dataset, found[0] if found else None


def _check_depth(data: bytes, dataset: Dataset, limits: Limits) -> None:
    """Look into every value that holds more item marks than sequences may nest."""
    for element in dataset.elements():
        raw = isinstance(element, RawDataElement)
        if not raw and element.VR != "SQ":
            continue
        if raw and (element.length < 16 * limits.sequence_depth or element.VR not in ("SQ", "UN", None)):
            continue
        implicit, little = dataset.original_encoding
        found = depth(
            element.value if raw else data,
            0 if raw else element.file_tell,
            element.length if raw else UNDEFINED,
            implicit=bool(implicit),
            little=bool(little),
            at_most=limits.sequence_depth,
        )
        if found > limits.sequence_depth:
            raise FormatError(
                f"sequences nest over {limits.sequence_depth} deep; no such file is read", code="sequence_too_deep"
            )


def _plausible(dataset: Dataset) -> bool:
    """Whether a data set without DICOM's mark is one: it says what it is."""
    return text(dataset, "SOPClassUID").startswith("1.2.840.10008.") or ("Modality" in dataset and "Rows" in dataset)
