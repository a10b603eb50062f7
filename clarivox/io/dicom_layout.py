# SPDX-License-Identifier: Apache-2.0
"""Where each frame of a DICOM file lies, as byte ranges."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clarivox.errors import ClarivoxError
from clarivox.io.archive import CHUNK
from clarivox.io.dicom_depth import UNDEFINED
from clarivox.io.dicom_fragments import frame_spans
from clarivox.io.dicom_header import Header, PixelElement
from clarivox.io.dicom_json import Span, swapped
from clarivox.io.dicom_objects import NATIVE
from clarivox.io.dicom_values import PARSE_ERRORS, decimals, integer, text
from clarivox.io.limits import Limits


@dataclass(frozen=True)
class Place:
    """A DICOM file within a stored one."""

    source: int
    """Which stored file, or -1 for the index itself."""
    path: Path
    at: int
    bytes: int


Frames = dict[str, object]
"""source; and first, each, count of equal frames one after another, or the spans of each frame's fragments."""


def frames_of(header: Header, place: Place, append: Callable[[bytes], Span], limits: Limits) -> Frames | None:
    """The byte ranges of each frame, or None where it has none: no pixels, too few bytes, or frames of odd bits.

    Args:
        header: of the file.
        place: where the file lies.
        append: keeps bytes in the index, one piece after the other, and says where.
        limits: ceilings on frames and size.
    """
    if header.pixels is None:
        return None
    try:
        count = int((decimals(header.dataset, "NumberOfFrames") or (1.0,))[0])
        if not 1 <= count <= limits.frames:
            return None
        if header.pixels.length == UNDEFINED and header.syntax not in NATIVE:
            return _compressed(header, header.pixels, place, count)
        return _native(header, header.pixels, place, count, append, limits)
    except (ClarivoxError, *PARSE_ERRORS):
        return None


def _compressed(header: Header, pixels: PixelElement, place: Place, count: int) -> Frames:
    table = header.dataset.get("ExtendedOffsetTable") or b""
    extended = [int.from_bytes(table[at : at + 8], "little") for at in range(0, len(table), 8)]
    if len(extended) != count:
        extended = []
    descriptor = os.open(place.path, os.O_RDONLY)
    try:
        end = place.at + place.bytes
        spans = frame_spans(descriptor, place.at + pixels.offset, end, count, extended)
    finally:
        os.close(descriptor)
    return {"source": place.source, "spans": spans}


def _native(
    header: Header, pixels: PixelElement, place: Place, count: int, append: Callable[[bytes], Span], limits: Limits
) -> Frames | None:
    dataset = header.dataset
    samples = integer(dataset, "SamplesPerPixel", 1)
    allocated = integer(dataset, "BitsAllocated")
    if text(dataset, "PhotometricInterpretation") == "YBR_FULL_422":
        samples = 2
    bits = integer(dataset, "Rows") * integer(dataset, "Columns") * samples * allocated
    each, total = bits // 8, bits // 8 * count
    if not each or bits % 8 or header.syntax not in NATIVE or total > min(pixels.length, limits.unpacked_bytes):
        return None
    width = allocated // 8 if pixels.vr != "OB" and allocated > 8 else (2 if pixels.vr == "OW" else 1)
    if header.little and not header.deflated_at:
        if pixels.offset + total > place.bytes:
            return None
        return {"source": place.source, "first": place.at + pixels.offset, "each": each, "count": count}
    first, done = None, 0
    for piece in _pieces(header, pixels, place, total):
        at, length = append(piece if header.little else swapped(piece, width))
        first, done = at if first is None else first, done + length
    return {"source": -1, "first": first, "each": each, "count": count} if done == total else None


def _pieces(header: Header, pixels: PixelElement, place: Place, total: int) -> Iterator[bytes]:
    """The bytes of the pixels in pieces of whole numbers, inflated where they have to be."""
    with place.path.open("rb") as file:
        if not header.deflated_at:
            file.seek(place.at + pixels.offset)
            while total > 0 and (chunk := file.read(min(CHUNK, total))):
                total -= len(chunk)
                yield chunk
            return
        file.seek(place.at + header.deflated_at)
        inflate, ahead = zlib.decompressobj(-zlib.MAX_WBITS), pixels.offset
        data = b""
        while total > 0 and not inflate.eof and (data := inflate.unconsumed_tail or file.read(CHUNK)):
            found = inflate.decompress(data, CHUNK)
            kept = found[ahead : ahead + total]
            ahead -= min(ahead, len(found))
            total -= len(kept)
            if kept:
                yield kept
