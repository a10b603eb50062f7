# SPDX-License-Identifier: Apache-2.0
"""Fragments are put together into frames by count, offset table, or end marker; else refused."""

import os
import struct
from pathlib import Path

import pytest

from clarivox.errors import DecodeError, InputError, TruncatedError
from clarivox.io.dicom_fragments import frame_spans, read_spans

END = struct.pack("<LL", 0xE0DDFFFE, 0)


def item(data: bytes) -> bytes:
    return struct.pack("<LL", 0xE000FFFE, len(data)) + data


def frames_of(data: bytes, frames: int, folder: Path) -> list[bytes]:
    path = folder / "file"
    path.write_bytes(data)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return [read_spans(descriptor, one) for one in frame_spans(descriptor, 0, len(data), frames)]
    finally:
        os.close(descriptor)


def test_as_many_fragments_as_frames_are_the_frames(tmp_path: Path) -> None:
    assert frames_of(item(b"") + item(b"one!") + item(b"two!") + END, 2, tmp_path) == [b"one!", b"two!"]


def test_all_fragments_are_the_only_frame(tmp_path: Path) -> None:
    assert frames_of(item(b"") + item(b"on") + item(b"e!") + END, 1, tmp_path) == [b"one!"]


def test_an_offset_table_tells_frames_apart(tmp_path: Path) -> None:
    data = item(struct.pack("<LL", 0, 20)) + item(b"on") + item(b"e!") + item(b"two!") + END
    assert frames_of(data, 2, tmp_path) == [b"one!", b"two!"]


def test_end_markers_tell_frames_apart_where_there_is_no_table(tmp_path: Path) -> None:
    data = item(b"") + item(b"on") + item(b"e\xff\xd9\0") + item(b"two\xff\xd9\0") + END
    assert frames_of(data, 2, tmp_path) == [b"one\xff\xd9\0", b"two\xff\xd9\0"]


def test_an_end_of_sequence_within_a_fragment_is_data(tmp_path: Path) -> None:
    assert frames_of(item(b"") + item(END) + END, 1, tmp_path) == [END]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", TruncatedError),
        (item(b"") + END, TruncatedError),
        (item(b"") + item(b"one!") + END, TruncatedError),
        (item(b"") + struct.pack("<LL", 0xE000FFFE, 1000) + b"x", TruncatedError),
        (item(b"") + b"abcdefgh", DecodeError),
        (item(b"") + item(b"a!") + item(b"b!") + item(b"c!") + END, DecodeError),
    ],
)
def test_fragments_that_make_no_two_frames_are_refused(data: bytes, error: type[InputError], tmp_path: Path) -> None:
    with pytest.raises(error):
        frames_of(data, 2, tmp_path)
