# SPDX-License-Identifier: Apache-2.0
"""Only well-formed JPEG streams pass, without their application segments."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from clarivox.errors import DecodeError
from clarivox.io.dicom_jpeg import checked
from tests import toys


def stream() -> bytes:
    buffer = BytesIO()
    Image.fromarray(toys.pixels(0, 32, 32).astype(np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_a_good_stream_passes_without_its_application_segments_and_decodes_alike() -> None:
    data = stream()
    kept = checked(data)
    assert b"JFIF" in data
    assert b"JFIF" not in kept
    assert np.array_equal(np.asarray(Image.open(BytesIO(kept))), np.asarray(Image.open(BytesIO(data))))


def test_a_stream_without_its_end_marker_gets_one() -> None:
    assert checked(stream()[:-2]) == checked(stream())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\xff\xd8", b"\xff\xd9"),
        (b"\xff\xc0\x00\x0b\x08", b"\xff\xc0\x00\x0b\x63"),
        (b"\xff\xc0\x00\x0b", b"\xff\xc0\x00\x0c"),
        (b"\xff\xc0\x00\x0b", b"\xff\xc5\x00\x0b"),
        (b"\xff\xc4\x00", b"\xff\xc4\x40"),
        (b"\xff\xdb\x00\x43\x00", b"\xff\xdb\x00\x43\x10"),
        (b"\xff\xda\x00\x08\x01", b"\xff\xda\x00\x08\x03"),
    ],
)
def test_a_malformed_segment_is_refused(old: bytes, new: bytes) -> None:
    data = stream()
    assert old in data
    with pytest.raises(DecodeError):
        checked(data.replace(old, new, 1))


def test_a_huffman_table_with_too_many_codes_is_refused() -> None:
    data = stream()
    at = data.index(b"\xff\xc4") + 5
    with pytest.raises(DecodeError):
        checked(data[:at] + b"\x03" + data[at + 1 :])
