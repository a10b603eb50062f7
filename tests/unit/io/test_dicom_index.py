# SPDX-License-Identifier: Apache-2.0
"""The ranges of an index lead to the same headers, frames and files that pydicom finds."""

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRLittleEndian

from clarivox.errors import LimitError
from clarivox.io.dicom_index import MAGIC, Source, write_index
from clarivox.io.limits import Limits
from tests.dicom_objects import series_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

KINDS = ["ct", "mr", "pet", "us-clip", "enhanced-ct", "enhanced-mr", "sc", "dx"]
FILES = [
    "CT_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_bigendian.dcm",
    "image_dfl.dcm",
    "examples_ybr_color.dcm",
    "SC_rgb_rle_2frame.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "rtdose.dcm",
    "liver_1frame.dcm",
]


class Read:
    """An index as the server reads it."""

    def __init__(self, index: Path, sources: list[Path]) -> None:
        self.data = index.read_bytes()
        assert self.data[-32:-16] == MAGIC
        self.head = json.loads(self.data[int(self.data[-16:], 16) : -32])
        self.sources = [path.read_bytes() for path in sources]

    def records(self) -> list[dict[str, Any]]:
        spans = [series["records"] for series in self.head["series"]]
        return [json.loads(line) for at, size in spans for line in self.data[at : at + size].splitlines()]

    def of(self, source: int) -> bytes:
        return self.data if source < 0 else self.sources[source]

    def file(self, record: dict[str, Any]) -> bytes:
        file = record["file"]
        at, size = file.get("meta", (0, 0))
        body = self.of(file["source"])[file["at"] : file["at"] + file["bytes"]]
        return bytes(128) + b"DICM" + self.data[at : at + size] + body

    def frames(self, record: dict[str, Any]) -> list[bytes]:
        frames = record["frames"]
        data = self.of(frames["source"])
        if "spans" in frames:
            return [b"".join(data[at : at + size] for at, size in spans) for spans in frames["spans"]]
        first, each = frames["first"], frames["each"]
        return [data[first + n * each : first + (n + 1) * each] for n in range(frames["count"])]

    def header(self, record: dict[str, Any]) -> dict[str, Any]:
        at, size = record["meta"]
        found: dict[str, Any] = json.loads(self.data[at : at + size].replace(b"\0", b"http://here"))
        return found


def indexed(sources: list[Path], folder: Path) -> Read:
    out = folder / "index"
    assert write_index([Source("0" * 64, path) for path in sources], out)
    return Read(out, sources)


def pydicom_frames(dataset: pydicom.Dataset) -> list[bytes]:
    count = int(dataset.get("NumberOfFrames", 1) or 1)
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        return list(generate_frames(dataset.PixelData, number_of_frames=count))
    size = max(1, dataset.BitsAllocated // 8)
    samples = 2 if dataset.PhotometricInterpretation == "YBR_FULL_422" else dataset.SamplesPerPixel
    each = dataset.Rows * dataset.Columns * samples * dataset.BitsAllocated // 8
    data = dataset.PixelData
    if not dataset.original_encoding[1]:
        data = np.frombuffer(data, f">u{size}").astype(f"<u{size}").tobytes()
    return [data[n * each : (n + 1) * each] for n in range(count)]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("packed", ["plain", "stored", "deflated"])
def test_frames_and_files_are_those_that_pydicom_reads(name: str, packed: str, tmp_path: Path) -> None:
    source = Path(str(get_testdata_file(name, download=False)))
    stored = source
    if packed != "plain":
        stored = tmp_path / "in.zip"
        how = zipfile.ZIP_STORED if packed == "stored" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(stored, "w", how) as archive:
            archive.writestr("note.txt", "no image")
            archive.write(source, "a/b.dcm")
    read = indexed([stored], tmp_path)
    [record] = read.records()
    expected = pydicom.dcmread(source)
    assert read.frames(record) == pydicom_frames(expected)
    served = pydicom.dcmread(io.BytesIO(read.file(record)))
    assert served == expected
    assert read.file(record)[132:] == source.read_bytes()[132:]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_series_is_indexed(kind: str, tmp_path: Path) -> None:
    files = series_of(kind, tmp_path / "in")
    read = indexed(files, tmp_path)
    records = read.records()
    assert len(records) == len(files)
    assert [record["number"] for record in records] == sorted(record["number"] for record in records)
    for record in records:
        dataset = pydicom.dcmread(files[record["file"]["source"]])
        assert read.frames(record) == pydicom_frames(dataset)
        header = pydicom.Dataset.from_json(read.header(record), lambda *_: b"")
        del dataset.PixelData, header.PixelData, header.AvailableTransferSyntaxUID
        header.SpecificCharacterSet = dataset.SpecificCharacterSet
        assert header == pydicom.Dataset(dataset)


def test_a_file_without_preamble_and_meta_information_gets_both(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    plain = pydicom.Dataset(dataset)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, plain, implicit_vr=True, little_endian=True, enforce_file_format=False)
    (tmp_path / "bare").write_bytes(buffer.getvalue())
    read = indexed([tmp_path / "bare"], tmp_path)
    [record] = read.records()
    served = pydicom.dcmread(io.BytesIO(read.file(record)))
    assert served.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2"
    assert served.PixelData == dataset.PixelData


def test_an_extended_offset_table_tells_frames_apart(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("SC_rgb_rle_2frame.dcm", download=False)))
    frames = [b"x" * 40, b"y" * 20 + b"z" * 20 + b"w" * 20]
    dataset.PixelData = encapsulate([b"x" * 20] * 2 + [b"y" * 20, b"z" * 20, b"w" * 20], has_bot=False)
    dataset.ExtendedOffsetTable = struct.pack("<QQ", 0, 2 * 28)
    dataset.ExtendedOffsetTableLengths = struct.pack("<QQ", 48, 76)
    dataset.save_as(tmp_path / "eot.dcm")
    read = indexed([tmp_path / "eot.dcm"], tmp_path)
    assert [read.frames(record) for record in read.records()] == [frames]


def test_long_binary_values_lie_beside_the_header(tmp_path: Path) -> None:
    source = Path(str(get_testdata_file("examples_palette.dcm", download=False)))
    read = indexed([source], tmp_path)
    [record] = read.records()
    expected = pydicom.dcmread(source)
    header = read.header(record)
    assert "BulkDataURI" in header["00281201"] or "InlineBinary" in header["00281201"]
    for path, (at, size) in record["bulk"].items():
        assert header[path]["BulkDataURI"] == f"http://here/bulkdata/{path}"
        assert read.data[at : at + size] == expected[path].value
    assert header["7FE00010"]["BulkDataURI"] == "http://here/bulkdata/7FE00010"


def test_files_that_are_no_dicom_leave_no_index(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no image")
    assert write_index([Source("0" * 64, tmp_path / "a.txt")], tmp_path / "index") == 0
    assert not (tmp_path / "index").exists()


def test_an_identifier_that_is_none_keeps_a_file_out(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    dataset.StudyInstanceUID = "../../etc/passwd"
    dataset.save_as(tmp_path / "a.dcm")
    assert write_index([Source("0" * 64, tmp_path / "a.dcm")], tmp_path / "index") == 0


def test_an_instance_that_comes_twice_is_listed_once(tmp_path: Path) -> None:
    source = Path(str(get_testdata_file("CT_small.dcm", download=False)))
    assert write_index([Source("0" * 64, source)] * 2, tmp_path / "index") == 1


def test_limits_hold_for_archives(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(1 << 22))
    source = [Source("0" * 64, tmp_path / "in.zip")]
    with pytest.raises(LimitError):
        write_index(source, tmp_path / "index", Limits(unpacked_bytes=1 << 21))
    with pytest.raises(LimitError):
        write_index(source, tmp_path / "index", Limits(entries=0))


def test_what_all_instances_share_is_told_of_the_series(tmp_path: Path) -> None:
    files = series_of("ct", tmp_path / "in", PatientName="Doe^Jane")
    read = indexed(files, tmp_path)
    [series] = read.head["series"]
    at, size = series["shared"]
    shared = json.loads(read.data[at : at + size].replace(b"\0", b""))
    assert shared["00100010"] == series["few"]["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}
    assert "00200013" not in shared
    assert series["count"] == len(files)
    assert pydicom.dcmread(files[0]).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
