# SPDX-License-Identifier: Apache-2.0
"""Pictures as PNG with numpy and the standard library alone, for machines that only train."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import DecodeError, FormatError


def encoded(levels: NDArray[np.uint8]) -> bytes:
    """A grey picture as a PNG file.

    Args:
        levels: shape (Y, X).

    Source:
        W3C, Portable Network Graphics, third edition.

    >>> encoded(np.zeros((2, 3), np.uint8))[:8]
    b'\\x89PNG\\r\\n\\x1a\\n'
    """
    high, wide = levels.shape
    rows = np.zeros((high, wide + 1), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = levels
    header = struct.pack(">2I5B", wide, high, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def decoded(content: bytes) -> NDArray[Any]:
    """The pixels of a PNG file of 8 or 16 bits, grey or RGB, not interlaced; some ten times slower than pillow.

    Returns:
        Shape (Y, X) or (Y, X, 3), uint8 or uint16.

    Raises:
        FormatError: the file is of another kind.
        DecodeError: the file is damaged.

    >>> decoded(encoded(np.array([[1, 200], [3, 4]], np.uint8))).tolist()
    [[1, 200], [3, 4]]
    """
    try:
        wide, high, bits, colour, _, _, interlaced = struct.unpack(">2I5B", content[16:29])
        if bits not in (8, 16) or colour not in (0, 2) or interlaced:
            raise FormatError("without pillow only grey and RGB PNG of 8 or 16 bits are read", code="codec_missing")
        at, packed = 8, []
        while at < len(content):
            length, name = struct.unpack(">I4s", content[at : at + 8])
            if name == b"IDAT":
                packed.append(content[at + 8 : at + 8 + length])
            at += 12 + length
        raw = zlib.decompress(b"".join(packed))
    except (struct.error, zlib.error) as error:
        raise DecodeError("the PNG file is damaged or cut short; fetch it again") from error
    channels = 3 if colour == 2 else 1
    step = channels * bits // 8
    rows = np.frombuffer(raw, np.uint8).reshape(high, 1 + wide * step)
    plain = np.zeros((high + 1, (wide + 1) * step), np.uint8)  # a row above and a pixel to the left are 0
    for number in range(high):
        plain[number + 1, step:] = _unfiltered(int(rows[number, 0]), rows[number, 1:], plain[number], step)
    pixels = np.ascontiguousarray(plain[1:, step:]).view(">u2" if bits == 16 else np.uint8)
    shaped = pixels.reshape((high, wide, 3) if channels == 3 else (high, wide))
    return shaped.astype(np.uint16 if bits == 16 else np.uint8)


def _unfiltered(kind: int, row: NDArray[np.uint8], above: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """One row without its filter; `above` has the pixel to the left of its first too."""
    if kind == 0:
        return row
    if kind == 1:
        return np.cumsum(row.reshape(-1, step), axis=0, dtype=np.uint8).reshape(-1)
    if kind == 2:
        return row + above[step:]
    values, up, left = row.tolist(), above.tolist(), [0] * step
    for place, value in enumerate(values):
        a, b = left[place], up[place + step]
        if kind == 3:
            guess = (a + b) >> 1
        else:
            c = up[place]
            near_a, near_b, near_c = abs(b - c), abs(a - c), abs(a + b - 2 * c)
            guess = a if near_a <= near_b and near_a <= near_c else b if near_b <= near_c else c
        left.append((value + guess) & 255)
    return np.array(left[step:], np.uint8)
