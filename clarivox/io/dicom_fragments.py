# SPDX-License-Identifier: Apache-2.0
"""Where each compressed frame lies in a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from struct import unpack

from clarivox.errors import DecodeError, TruncatedError
from clarivox.io.dicom_codestream import ends

Span = tuple[int, int]
"""Offset in the file, and bytes."""

ITEM, SEQUENCE_END = 0xE000FFFE, 0xE0DDFFFE
"""Tags as one little-endian number."""


def frame_spans(descriptor: int, offset: int, size: int, frames: int, extended: Sequence[int] = ()) -> list[list[Span]]:
    """The fragments of each frame.

    Args:
        descriptor: of the open file.
        offset: where the value of Pixel Data begins: the item of the offset table.
        size: bytes of the file.
        frames: how many frames the header claims.
        extended: the Extended Offset Table, where the header has one.

    Raises:
        DecodeError: fragments that cannot be told apart into that many frames.
        TruncatedError: the file ends within a fragment, or has fewer fragments than frames.
    """
    spans = _fragments(descriptor, offset, size)
    if not spans:
        raise TruncatedError("the compressed pixels are missing; send the file again", code="truncated_pixel_data")
    table, spans = spans[0], [span for span in spans[1:] if span[1]]
    if len(spans) == frames:
        return [[span] for span in spans]
    if len(spans) < frames:
        raise TruncatedError(
            f"the header claims {frames} frames; the file has {len(spans)}; send it again", code="truncated_pixel_data"
        )
    if frames == 1:
        return [spans]
    starts = set(extended) or _basic_table(descriptor, table)
    grouped = _by_table(starts, spans) or _by_marker(descriptor, spans)
    if len(grouped) != frames:
        raise DecodeError(
            f"the fragments make {len(grouped)} frames where the header claims {frames}", code="frames_unclear"
        )
    return grouped


def read_spans(descriptor: int, spans: list[Span]) -> bytes:
    """The bytes of one frame."""
    return b"".join(os.pread(descriptor, length, offset) for offset, length in spans)


def _fragments(descriptor: int, offset: int, size: int) -> list[Span]:
    found: list[Span] = []
    while offset + 8 <= size:
        tag, length = unpack("<LL", os.pread(descriptor, 8, offset))
        if tag == SEQUENCE_END:
            break
        if tag != ITEM:
            raise DecodeError("the compressed pixels are not in fragments as they should be", code="bad_fragments")
        if offset + 8 + length > size:
            raise TruncatedError("the file ends within its pixels; send it again", code="truncated_pixel_data")
        found.append((offset + 8, length))
        offset += 8 + length
    return found


def _basic_table(descriptor: int, table: Span) -> set[int]:
    count = table[1] // 4
    return set(unpack(f"<{count}L", os.pread(descriptor, 4 * count, table[0])))


def _by_table(starts: set[int], spans: list[Span]) -> list[list[Span]]:
    """Frames by an offset table; empty where there is none."""
    if not starts:
        return []
    grouped: list[list[Span]] = []
    for span in spans:
        if span[0] - spans[0][0] in starts or not grouped:
            grouped.append([])
        grouped[-1].append(span)
    return grouped


def _by_marker(descriptor: int, spans: list[Span]) -> list[list[Span]]:
    """Frames by the end marker of their last fragment."""
    grouped: list[list[Span]] = [[]]
    for offset, length in spans:
        grouped[-1].append((offset, length))
        tail = min(length, 64)
        if ends(os.pread(descriptor, tail, offset + length - tail)):
            grouped.append([])
    return grouped if grouped[-1] else grouped[:-1]
