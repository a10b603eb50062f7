# SPDX-License-Identifier: Apache-2.0
"""Damage to bytes, from a seed: flips, cuts, insertions, swapped and repeated pieces."""

from __future__ import annotations

import random

TELLING = (b"\0", b"\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff", b"\xff\x7f", b"\x80\0\0\0", b"\xfe\xff\0\xe0")
"""Values at which arithmetic goes wrong, and DICOM's item mark."""

HEAD = 2048
"""Half of all damage falls on these first bytes."""


def mutant(data: bytes, seed: str) -> bytes:
    """A damaged copy; the same seed gives the same damage.

    >>> mutant(b"abcdefgh", "1") == mutant(b"abcdefgh", "1") != b"abcdefgh"
    True
    """
    draw = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 3, 5, 9))):
        _damage(damaged, draw)
        if not damaged:
            break
    return bytes(damaged)


def _damage(data: bytearray, draw: random.Random) -> None:
    limit = min(len(data), HEAD) if draw.random() < 0.5 else len(data)
    at = draw.randrange(limit)
    length = min(int(2 ** draw.uniform(0, 10)), len(data) - at)
    kind = draw.choice(("flip", "flip", "value", "value", "cut", "remove", "insert", "repeat", "number"))
    if kind == "flip":
        data[at] ^= 1 << draw.randrange(8)
    elif kind == "value":
        value = draw.choice(TELLING)
        data[at : at + len(value)] = value
    elif kind == "cut":
        del data[at:]
    elif kind == "remove":
        del data[at : at + length]
    elif kind == "insert":
        data[at:at] = draw.randbytes(length)
    elif kind == "repeat":
        data[at:at] = data[at : at + length]
    else:
        data[at : at + 4] = draw.randrange(1 << 32).to_bytes(4, "little")
