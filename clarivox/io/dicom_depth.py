# SPDX-License-Identifier: Apache-2.0
"""How deep the sequences of a DICOM data set nest, found without recursion.

pydicom parses nested sequences by recursion and decodes some only when asked, which may be in another layer: so the
depth is checked on the bytes, once, when a header is read.
"""

from __future__ import annotations

from struct import Struct

from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF
"""The length of what ends at a delimiter."""

LONG_VRS = {vr.encode() for vr in EXPLICIT_VR_LENGTH_32}


def depth(data: bytes, start: int, length: int, *, implicit: bool, little: bool, at_most: int) -> int:
    """How many sequences lie in one another in the value of a sequence element.

    Args:
        data: bytes that hold the value.
        start: where the value begins.
        length: its length in bytes, or `UNDEFINED`.
        implicit: no VR is written with the elements.
        little: numbers are little-endian.
        at_most: stop when the depth exceeds this.

    Returns:
        1 for a sequence without sequences in it; at most `at_most + 1`. Damaged bytes end the count early.
    """
    order = "<" if little else ">"
    head, long_length = Struct(order + "HHL").unpack_from, Struct(order + "L").unpack_from
    ends = [len(data) if length == UNDEFINED else min(start + length, len(data))]
    deepest, position, limit = 1, start, len(data)
    while ends and position + 8 <= limit and deepest <= at_most:
        if position >= ends[-1]:
            ends.pop()
            continue
        group, number, size = head(data, position)
        tag = group << 16 | number
        if tag == ITEM:
            position += 8
            continue
        if tag in (ITEM_END, SEQUENCE_END):
            position += 8
            if tag == SEQUENCE_END and len(ends) > 1:
                ends.pop()
            continue
        position += 8
        vr = b"" if implicit else data[position - 4 : position - 2]
        if vr in LONG_VRS:
            if position + 4 > limit:
                break
            size = long_length(data, position)[0]
            position += 4
        elif vr:
            size = size & 0xFFFF if not little else size >> 16
        if size == UNDEFINED or vr == b"SQ" or (implicit and _begins_item(data, position, size)):
            ends.append(ends[-1] if size == UNDEFINED else min(position + size, ends[-1]))
            deepest = max(deepest, len(ends))
        else:
            position += size
    return deepest


def _begins_item(data: bytes, position: int, size: int) -> bool:
    return size >= 8 and data[position : position + 4] in (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
