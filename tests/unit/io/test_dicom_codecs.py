# SPDX-License-Identifier: Apache-2.0
"""Compressed frames decode to what was stored, and to nothing where they are damaged."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from clarivox.errors import DecodeError
from clarivox.io.dicom_codecs import JPEG_BASELINE, PLUGINS, RLE, decode
from clarivox.io.dicom_image import PixelFormat
from clarivox.io.dicom_objects import NATIVE, SYNTAXES
from clarivox.io.dicom_read import read_dicom, scan_dicom
from tests import toys

GREY8 = PixelFormat(16, 24, 1, 8, 8, False, "MONOCHROME2", False, 1)
YBR8 = PixelFormat(16, 24, 3, 8, 8, False, "YBR_FULL_422", False, 1)

J2K = "1.2.840.10008.1.2.4.90"

ADOBE = b"\xff\xee\x00\x0eAdobe" + struct.pack(">HHHB", 100, 0, 0, 1)
"""A marker that says: the channels are YCbCr."""


def test_every_compressed_syntax_has_one_plugin() -> None:
    assert set(PLUGINS) == set(SYNTAXES) - NATIVE


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_lossless_compression_gives_back_signed_numbers(syntax: str, tmp_path: Path) -> None:
    series = toys.ct_series()[:3]
    for number, one in enumerate(series):
        toys.put_pixels(one, toys.pixels(number, 64, 64) - 500)
        one.compress(syntax, generate_instance_uid=False)
    (info,) = scan_dicom(toys.write(series, tmp_path))
    assert info.encoding == SYNTAXES[syntax]
    volume = read_dicom(info)
    assert volume.array.dtype == np.int16
    for number in range(3):
        assert np.array_equal(volume.frames[0, number], toys.pixels(number, 64, 64) - 500)


def colour_jpeg() -> tuple[bytes, np.ndarray]:
    rgb = np.zeros((16, 24, 3), np.uint8)
    rgb[:, :, 0], rgb[:, :, 1] = np.arange(24) * 10, 90
    picture, buffer = Image.fromarray(rgb), BytesIO()
    picture.save(buffer, "JPEG", quality=95)
    return buffer.getvalue(), np.asarray(picture.convert("YCbCr"))


@pytest.mark.parametrize("adobe", [False, True])
def test_colour_jpeg_gives_luma_and_chroma_whatever_marker_it_has(adobe: bool) -> None:
    data, wanted = colour_jpeg()
    if adobe:
        data = data[:2] + ADOBE + data[2:]
    numbers, note = decode(data, JPEG_BASELINE, YBR8)
    assert numbers.shape == (16, 24, 3)
    assert np.abs(numbers.astype(int) - wanted).max() < 12
    assert note == ""


def test_a_frame_without_its_end_marker_is_read_with_a_note() -> None:
    buffer = BytesIO()
    Image.fromarray(toys.pixels(0, 64, 64).astype(np.uint8)).save(buffer, "JPEG2000", no_jp2=True)
    found = PixelFormat(64, 64, 1, 8, 8, False, "MONOCHROME2", False, 1)
    assert decode(buffer.getvalue(), J2K, found)[1] == ""
    assert "end marker" in decode(buffer.getvalue()[:-2] + bytes(2), J2K, found)[1]


def test_a_grey_header_over_a_colour_frame_is_refused() -> None:
    with pytest.raises(DecodeError) as caught:
        decode(colour_jpeg()[0], JPEG_BASELINE, GREY8)
    assert caught.value.code == "codestream_mismatch"


@pytest.mark.parametrize("data", [b"", bytes(64), struct.pack("<16L", 1, 64, *[0] * 14) + b"\x7f"])
def test_a_damaged_rle_frame_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(data, RLE, GREY8)


def test_twelve_bit_jpeg_equals_simpleitk(data_dir: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    path = data_dir / "awkward/transfer_syntax_same_ct/CTImage_JPEGProcess2_4_1.2.840.10008.1.2.4.51.dcm"
    (info,) = scan_dicom(path)
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(path))[0]
    np.testing.assert_allclose(read_dicom(info).values()[0, :, :, 0].T, theirs, atol=1e-2)
