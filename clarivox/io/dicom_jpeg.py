# SPDX-License-Identifier: Apache-2.0
"""JPEG streams checked segment by segment before GDCM sees them.

GDCM decodes lossless and 12-bit JPEG, but answers some damage by ending the whole process (an uncaught C++ exception,
found by fuzzing GDCM 3.2). Only streams whose segments chain and whose tables are well-formed reach it, and without
application segments, which say nothing that DICOM does not say itself.
"""

from __future__ import annotations

from clarivox.errors import DecodeError

SOI, EOI, SOS, DHT, DQT, DRI, COM = 0xD8, 0xD9, 0xDA, 0xC4, 0xDB, 0xDD, 0xFE
FRAMES = (0xC0, 0xC1, 0xC3)
"""Baseline, extended, lossless."""
RESTARTS = range(0xD0, 0xD8)
APPLICATION = range(0xE0, 0xF0)


def checked(data: bytes) -> bytes:
    """The stream without application segments and comments.

    Raises:
        DecodeError: segments that do not chain, or a table or header that is not well-formed (code bad_codestream).
    """
    kept, at, components = bytearray(data[:2]), 2, 0
    _demand(data[:2] == b"\xff\xd8")
    while at < len(data):
        marker, at = _marker(data, at)
        if marker == EOI:
            break
        length = int.from_bytes(data[at : at + 2])
        body = data[at + 2 : at + length]
        _demand(len(body) == length - 2)
        if marker in FRAMES:
            _demand(components == 0)
            components = _frame(body)
        elif marker == DHT:
            _huffman_tables(body)
        elif marker == DQT:
            _quantisation_tables(body)
        elif marker == SOS:
            _scan(body, components)
        else:
            _demand(marker in (COM, DRI) or marker in APPLICATION)
            _demand(marker != DRI or length == 4)
        start, at = at, at + length
        if marker == SOS:
            at = _after_entropy(data, at)
        if marker != COM and marker not in APPLICATION:
            kept += bytes((0xFF, marker)) + data[start:at]
    _demand(components > 0)
    return bytes(kept) + b"\xff\xd9"


def _demand(holds: bool) -> None:
    if not holds:
        raise DecodeError("a JPEG frame is damaged; send the file again", code="bad_codestream")


def _marker(data: bytes, at: int) -> tuple[int, int]:
    """The marker at a place, fill bytes passed over, and the place after it."""
    _demand(data[at] == 0xFF)
    while at < len(data) and data[at] == 0xFF:
        at += 1
    _demand(at < len(data))
    return data[at], at + 1


def _frame(body: bytes) -> int:
    _demand(len(body) >= 6 and len(body) == 6 + 3 * body[5] and body[5] in (1, 3))
    rows, columns = int.from_bytes(body[1:3]), int.from_bytes(body[3:5])
    _demand(2 <= body[0] <= 16 and rows > 0 and columns > 0)
    for start in range(6, len(body), 3):
        _demand(1 <= body[start + 1] >> 4 <= 2 and 1 <= body[start + 1] & 15 <= 2 and body[start + 2] < 4)
    return body[5]


def _huffman_tables(body: bytes) -> None:
    at = 0
    while at < len(body):
        counts = body[at + 1 : at + 17]
        _demand(len(counts) == 16 and body[at] >> 4 < 2 and body[at] & 15 < 4 and sum(counts) <= 256)
        code = 0
        for length, count in enumerate(counts, 1):
            code = (code << 1) + count
            _demand(code <= 1 << length)
        at += 17 + sum(counts)
    _demand(at == len(body))


def _quantisation_tables(body: bytes) -> None:
    at = 0
    while at < len(body):
        _demand(body[at] >> 4 < 2 and body[at] & 15 < 4)
        at += 1 + 64 * (1 + (body[at] >> 4))
    _demand(at == len(body))


def _scan(body: bytes, components: int) -> None:
    _demand(len(body) >= 4 and len(body) == 4 + 2 * body[0] and 1 <= body[0] <= components)


def _after_entropy(data: bytes, at: int) -> int:
    """Where the next marker that is no restart begins, or the end."""
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            return len(data)
        following = data[at + 1]
        if following not in (0, 0xFF) and following not in RESTARTS:
            return at
        at += 1 if following == 0xFF else 2
