# SPDX-License-Identifier: Apache-2.0
"""What a compressed frame says of itself, read before any decoder sees it.

A decoder allocates by the size in the codestream, which may be anything; so that size must be the header's.
"""

from __future__ import annotations

from dataclasses import dataclass

from clarivox.errors import DecodeError

STARTS_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""JPEG markers that carry the size; F7 is JPEG-LS."""

ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""JPEG markers without a length."""

J2K_START = b"\xff\x4f\xff\x51"
END = b"\xff\xd9"
"""The last marker: EOI of JPEG and JPEG-LS, EOC of JPEG 2000."""


@dataclass(frozen=True)
class Codestream:
    """Size and kind of a compressed frame."""

    rows: int
    columns: int
    components: int
    bits: int
    complete: bool
    """The end marker is there."""


def codestream(data: bytes) -> Codestream:
    """The size that a JPEG, JPEG-LS, JPEG 2000 or HTJ2K frame claims.

    Raises:
        DecodeError: no such frame.

    >>> codestream(bytes.fromhex("ffd8 ffc0 000b 08 0010 0020 01 01 11 00 ffd9"))
    Codestream(rows=16, columns=32, components=1, bits=8, complete=True)
    """
    start = data.find(J2K_START, 0, 1 << 16)
    if start >= 0 and (start == 0 or data[4:8] == b"jP  "):
        return _j2k(data, start)
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    raise DecodeError("a compressed frame does not begin as its transfer syntax demands", code="bad_codestream")


def ends(data: bytes) -> bool:
    """Whether a fragment ends with an end marker, padding aside."""
    return data.rstrip(b"\0")[-2:] == END


def _j2k(data: bytes, start: int) -> Codestream:
    at = start + 4
    if len(data) < at + 40:
        raise DecodeError("a JPEG 2000 frame ends within its header", code="bad_codestream")
    across, down, left, top = (int.from_bytes(data[at + 4 + 4 * i : at + 8 + 4 * i]) for i in range(4))
    components = int.from_bytes(data[at + 36 : at + 38])
    bits = (data[at + 38] & 0x7F) + 1 if len(data) > at + 38 else 0
    return Codestream(down - top, across - left, components, bits, ends(data[-64:]))


def _jpeg(data: bytes) -> Codestream:
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in ALONE:
            at += 2
        elif marker in STARTS_OF_FRAME and at + 10 <= len(data):
            rows, columns = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
            return Codestream(rows, columns, data[at + 9], data[at + 4], ends(data[-64:]))
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4])
    raise DecodeError("a JPEG frame has no size", code="bad_codestream")
