# SPDX-License-Identifier: Apache-2.0
"""The identifiers of an encoded data set, read without decoding anything else, and the head of its file.

Source:
    DICOM PS3.5 chapter 7 (the encoding of elements), PS3.10 chapter 7 (the head of a file).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from clarivox.errors import FormatError, TruncatedError
from clarivox.io.dicom_uid import uid

IMPLICIT = "1.2.840.10008.1.2"
DEFLATED = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.8.1"})
BIG_ENDIAN = "1.2.840.10008.1.2.2"
WRITTEN_BY = uid("clarivox", "node")
"""ImplementationClassUID in the head: not that of our results, which are known by theirs."""

HEAD_BYTES = 1 << 20
"""How far the identifiers are looked for."""
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
WANTED = {0x00080016: "sop_class", 0x00080018: "sop", 0x0020000D: "study", 0x0020000E: "series"}
LAST = max(WANTED)
LONG = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"},
)
"""Kinds of values whose length takes four bytes."""


@dataclass(frozen=True)
class Identifiers:
    """Of an instance; "" for what it does not have."""

    sop_class: str = ""
    sop: str = ""
    study: str = ""
    series: str = ""


def identifiers(data: bytes | memoryview, syntax: str) -> Identifiers:
    """The identifiers of a data set.

    Args:
        data: its first `HEAD_BYTES`, or all of it.
        syntax: its transfer syntax.

    Raises:
        FormatError: it is not encoded so, or has no SOPInstanceUID.
        TruncatedError: it ends within an element before the identifiers.
    """
    if syntax in DEFLATED:
        try:
            data = zlib.decompressobj(-15).decompress(data, HEAD_BYTES)
        except zlib.error:
            raise FormatError("the data set is not deflated as its transfer syntax says") from None
    found = _scan(bytes(data[:HEAD_BYTES]), ">" if syntax == BIG_ENDIAN else "<", implicit=syntax == IMPLICIT)
    if not found.get("sop") or not found.get("sop_class"):
        raise FormatError("the data set has no SOPClassUID or no SOPInstanceUID")
    return Identifiers(**found)


def _scan(data: bytes, order: str, *, implicit: bool) -> dict[str, str]:
    found: dict[str, str] = {}
    within: list[bool] = []  # of each open sequence or item whether its elements are implicit
    at, end = 0, len(data)
    while at + 8 <= end:
        group, element = struct.unpack_from(order + "HH", data, at)
        tag = group << 16 | element
        if not within and tag > LAST:
            return found
        if tag in (ITEM_END, SEQUENCE_END):
            if not within:
                raise FormatError("a sequence ends that did not begin")
            within.pop()
            at += 8
            continue
        now_implicit = within[-1] if within else implicit
        length, begin, unknown = _length(data, at, order, now_implicit or tag == ITEM)
        if length == UNDEFINED:
            within.append(now_implicit or unknown)  # PS3.5 6.2.2: an unknown sequence is implicit within
            at = begin
            continue
        if not within and tag in WANTED:
            found[WANTED[tag]] = data[begin : begin + length].decode("latin-1").strip(" \0")
        at = begin + length
    if end < HEAD_BYTES and at != end:
        raise TruncatedError("the data set ends within an element")
    return found


def _length(data: bytes, at: int, order: str, implicit: bool) -> tuple[int, int, bool]:
    """Length of a value, where it begins, and whether its kind is said to be unknown."""
    if implicit:
        return int(struct.unpack_from(order + "I", data, at + 4)[0]), at + 8, False
    kind = data[at + 4 : at + 6]
    if not (kind.isalpha() and kind.isupper()):
        raise FormatError("the data set is not encoded as its transfer syntax says")
    if kind not in LONG:
        return int(struct.unpack_from(order + "H", data, at + 6)[0]), at + 8, False
    if at + 12 > len(data):
        raise TruncatedError("the data set ends within an element")
    return int(struct.unpack_from(order + "I", data, at + 8)[0]), at + 12, kind == b"UN"


def file_head(sop_class: str, sop: str, syntax: str) -> bytes:
    """What stands before a data set in a file: a preamble of zeros, and the group that says how it is encoded.

    It is the same whoever sent the data set, so that the same instance makes the same file.

    >>> file_head("1.2", "1.3", "1.2.840.10008.1.2")[128:132]
    b'DICM'
    """
    elements = [
        struct.pack("<HH2sHI", 2, 1, b"OB", 0, 2) + b"\0\1",
        _uid(0x02, sop_class),
        _uid(0x03, sop),
        _uid(0x10, syntax),
        _uid(0x12, WRITTEN_BY),
    ]
    group = b"".join(elements)
    return bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(group)) + group


def _uid(element: int, value: str) -> bytes:
    text = value.encode("latin-1")
    text += b"\0" * (len(text) % 2)
    return struct.pack("<HH2sH", 2, element, b"UI", len(text)) + text
