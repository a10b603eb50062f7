# SPDX-License-Identifier: Apache-2.0
"""Hostile and broken DICOM files get a named answer, before memory is taken."""

import struct
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from clarivox.errors import ClarivoxError, DecodeError
from clarivox.io.dicom_read import read_dicom, scan_dicom
from clarivox.io.limits import Limits
from tests import toys


def saved(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def code_of(data: bytes, folder: Path) -> str:
    """The code under which a scan refuses a file."""
    path = folder / "file.dcm"
    path.write_bytes(data)
    (info,) = scan_dicom(path)
    assert not info.usable
    assert info.error_message
    return info.error_code


@pytest.mark.parametrize("data", [b"", b"hello", b"<!DOCTYPE html><html></html>", b"\x89PNG\r\n\x1a\n" + bytes(300)])
def test_what_is_not_dicom_is_named_so(data: bytes, tmp_path: Path) -> None:
    assert code_of(data, tmp_path) == "not_dicom"


def test_a_file_cut_in_its_header_is_truncated(tmp_path: Path) -> None:
    assert code_of(saved(toys.ct_slice(0))[:700], tmp_path) in ("truncated", "no_pixels")
    dataset = toys.ct_slice(0)
    dataset.ImageComments = "x" * 1000
    whole = saved(dataset)
    assert code_of(whole[: whole.index(b"xxxx") + 10], tmp_path) == "truncated"


def test_a_file_cut_in_its_pixels_is_truncated(tmp_path: Path) -> None:
    assert code_of(saved(toys.ct_slice(0))[:-1], tmp_path) == "truncated_pixel_data"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Rows": 65535, "Columns": 65535}, "truncated_pixel_data"),
        ({"Rows": 30000, "Columns": 30000}, "truncated_pixel_data"),
        ({"NumberOfFrames": 2_000_000_000}, "truncated_pixel_data"),
        ({"NumberOfFrames": 0}, "bad_layout"),
        ({"Rows": 0}, "bad_layout"),
        ({"PixelSpacing": [0, 0]}, "bad_geometry"),
        ({"PixelSpacing": [-1, 1]}, "bad_geometry"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "bad_geometry"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "bad_geometry"),
        ({"ImagePositionPatient": ["1e99", 0, 0]}, "bad_geometry"),
        ({"RescaleSlope": "0"}, "bad_rescale"),
        ({"RescaleSlope": "1e300"}, "bad_rescale"),
        ({"BitsStored": 17}, "bad_layout"),
        ({"HighBit": 3}, "bad_layout"),
        ({"SamplesPerPixel": 3}, "bad_layout"),
        ({"PhotometricInterpretation": "HSV"}, "bad_layout"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.2"}, "not_enhanceable"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11"}, "not_enhanceable"),
    ],
)
def test_a_claim_that_cannot_hold_is_refused_by_name(changes: dict[str, object], code: str, tmp_path: Path) -> None:
    dataset = toys.ct_slice(0)
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    assert code_of(saved(dataset), tmp_path) == code


def test_a_slope_that_is_no_number_is_refused(tmp_path: Path) -> None:
    data = saved(toys.ct_slice(0)).replace(b"DS\x02\x001 ", b"DS\x02\x00-x")
    assert code_of(data, tmp_path) == "bad_rescale"


def test_a_deflate_bomb_is_refused_without_inflating_it(tmp_path: Path) -> None:
    dataset = toys.ct_slice(0)
    dataset.Rows = dataset.Columns = 20000
    del dataset.PixelData
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    whole = saved(dataset)
    start = 144 + struct.unpack("<L", whole[140:144])[0]  # the group length of the file meta information
    plain = zlib.decompress(whole[start:], -zlib.MAX_WBITS)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(plain + struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OW", 0, 800_000_000))
    packed += b"".join(packer.compress(bytes(1 << 20)) for _ in range(40)) + packer.flush()
    tracemalloc.start()
    assert code_of(whole[:start] + packed, tmp_path) == "deflate_bomb"
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()


def nested(depth: int) -> bytes:
    """A data set with sequences of undefined length in one another."""
    head = saved(toys.ct_slice(0))
    at = head.index(b"\x28\x00\x02\x00US")
    begin = struct.pack("<HH2sHLHHL", 0x0009, 0x1001, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
    end = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return head[:at] + begin * depth + end * depth + head[at:]


def defined(depth: int) -> bytes:
    """The same with defined lengths, which pydicom does not look into by itself."""
    value = b""
    for _ in range(depth):
        inner = struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value
        value = struct.pack("<HH2sHL", 0x0009, 0x1001, b"SQ", 0, len(inner)) + inner
    head = saved(toys.ct_slice(0))
    at = head.index(b"\x28\x00\x02\x00US")
    return head[:at] + value + head[at:]


@pytest.mark.parametrize("make", [nested, defined])
@pytest.mark.parametrize("depth", [100, 5000])
def test_sequences_that_nest_too_deep_are_refused(make: object, depth: int, tmp_path: Path) -> None:
    assert code_of(make(depth), tmp_path) == "sequence_too_deep"  # type: ignore[operator]


@pytest.mark.parametrize("make", [nested, defined])
def test_sequences_that_nest_a_little_are_read(make: object, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(make(20))  # type: ignore[operator]
    (info,) = scan_dicom(tmp_path)
    assert info.usable


def test_an_element_of_two_gigabytes_in_a_small_file_is_refused(tmp_path: Path) -> None:
    head = saved(toys.ct_slice(0))
    at = head.index(b"\x28\x00\x02\x00US")
    element = struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, 0x7FFFFFFF)
    assert code_of(head[:at] + element + head[at:], tmp_path) == "truncated"


def test_an_executable_preamble_and_a_path_as_uid_are_harmless(tmp_path: Path) -> None:
    dataset = toys.ct_slice(0)
    data = saved(dataset).replace(b"1.2.826.0.1.3680043.10.999.1\0", b"../../../../../etc/passwd....")
    (tmp_path / "file").write_bytes(b"MZ" + data[2:])
    (info,) = scan_dicom(tmp_path)
    assert read_dicom(info).shape == (1, 32, 24, 1)


def test_a_compressed_frame_of_another_size_is_refused_before_decoding(tmp_path: Path) -> None:
    frame = bytes.fromhex("ffd8 ffc0 0011 08 ea60 ea60 01 01 11 00 0000000000 ffd9").ljust(64, b"\0")
    dataset = toys.ct_slice(0)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.50"
    dataset.PixelData = struct.pack("<LLLL", 0xE000FFFE, 0, 0xE000FFFE, 64) + frame + struct.pack("<LL", 0xE0DDFFFE, 0)
    dataset["PixelData"].is_undefined_length = True
    (tmp_path / "file").write_bytes(saved(dataset))
    (info,) = scan_dicom(tmp_path)
    with pytest.raises(DecodeError) as caught:
        read_dicom(info)
    assert caught.value.code == "codestream_mismatch"


def test_messages_hold_nothing_of_the_patient(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    dataset = toys.ct_slice(0)
    dataset.PatientName = "SENTINEL^NAME"
    dataset.RescaleSlope = "0"
    data = saved(dataset).replace(b"19700101", b"SENTINEL")
    (tmp_path / "file").write_bytes(data)
    (info,) = scan_dicom(tmp_path)
    with pytest.raises(ClarivoxError) as caught:
        read_dicom(info)
    assert "SENTINEL" not in str(caught.value) + str(info)
    assert not recwarn.list


def test_limits_are_the_callers_to_set(tmp_path: Path) -> None:
    toys.write(toys.ct_series()[:2], tmp_path)
    (info,) = scan_dicom(tmp_path, Limits(voxels=1000))
    assert info.error_code == "too_many_voxels"
    with pytest.raises(ClarivoxError, match="over 1 files"):
        scan_dicom(tmp_path, Limits(entries=1))
