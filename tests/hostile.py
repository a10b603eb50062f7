# SPDX-License-Identifier: Apache-2.0
"""Hostile and broken inputs as a client may send them, each with the answers that are right.

The list is that of docs/security.md; a body is made when it is asked for, for some are large.
"""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from tests import toys

CANARY = "clarivox-escaped"
"""Part of every name that a hostile file tries to write outside."""
MIB = 1 << 20


@dataclass(frozen=True)
class Hostile:
    """One input."""

    name: str
    make: Callable[[], bytes]
    answers: frozenset[tuple[int, str]]
    """Status and code of a right answer; (200, "") where it may be read."""


def saved(dataset: Dataset) -> bytes:
    """A DICOM file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def changed(**values: Any) -> bytes:
    """The toy slice with other values."""
    dataset = toys.ct_slice(0)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return saved(dataset)


def inserted(element: bytes) -> bytes:
    """The toy slice with raw bytes before its pixel description."""
    head = saved(toys.ct_slice(0))
    at = head.index(b"\x28\x00\x02\x00US")
    return head[:at] + element + head[at:]


def nested(depth: int) -> bytes:
    """Sequences of undefined length in one another."""
    begin = struct.pack("<HH2sHLHHL", 0x0009, 0x1001, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
    end = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return inserted(begin * depth + end * depth)


def nested_by_length(depth: int) -> bytes:
    """The same with lengths."""
    value = b""
    for _ in range(depth):
        inner = struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value
        value = struct.pack("<HH2sHL", 0x0009, 0x1001, b"SQ", 0, len(inner)) + inner
    return inserted(value)


def deflate_bomb(megabytes: int) -> bytes:
    """A deflated file that unpacks to about a thousand times its size."""
    dataset = toys.ct_slice(0)
    dataset.Rows = dataset.Columns = 39_000
    del dataset.PixelData
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    whole = saved(dataset)
    start = 144 + struct.unpack("<L", whole[140:144])[0]
    plain = zlib.decompress(whole[start:], -zlib.MAX_WBITS)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(plain + struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OW", 0, megabytes * MIB))
    packed += packer.flush(zlib.Z_FULL_FLUSH)
    return whole[:start] + packed + zeros(megabytes) + b"\x03\x00"


def zeros(megabytes: int) -> bytes:
    """A deflated stream of zeros without its end: one block that begins anew, many times."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return (packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)) * megabytes


def encapsulated(syntax: str, *fragments: bytes, **values: Any) -> bytes:
    """The toy slice in 8 bits with compressed pixels."""
    dataset = toys.ct_slice(0)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.file_meta.TransferSyntaxUID = syntax
    items = b"".join(struct.pack("<LL", 0xE000FFFE, len(one)) + one for one in (b"", *fragments))
    dataset.PixelData = items + struct.pack("<LL", 0xE0DDFFFE, 0)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    return saved(dataset)


def jpeg(rows: int, columns: int) -> bytes:
    """A JPEG frame that claims a size, and little more."""
    head = b"\xff\xd8\xff\xc0\x00\x0b\x08" + struct.pack(">HH", rows, columns) + b"\x01\x01\x11\x00"
    return (head + bytes(5) + b"\xff\xd9").ljust(64, b"\0")


def jpeg2000(**changes: int) -> bytes:
    """The toy slice as JPEG 2000 from a real encoder, then spoilt: `flip` bytes, or of another size."""
    from PIL import Image

    pixels = (toys.pixels(0) // 8).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels[: changes.get("rows", pixels.shape[0])]).save(buffer, "JPEG2000", no_jp2=True)
    frame = bytearray(buffer.getvalue())
    for at in range(changes.get("flip", 0)):
        frame[len(frame) // 2 + at] ^= 0xFF
    frame += b"\0" * (len(frame) % 2)
    return encapsulated("1.2.840.10008.1.2.4.90", bytes(frame))


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries:
            info = name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name)
            archive.writestr(info, content, method)
    return buffer.getvalue()


def series(datasets: list[Dataset]) -> bytes:
    """A zip of DICOM files."""
    return zipped(*((f"{number:04d}", saved(dataset)) for number, dataset in enumerate(datasets)))


def link(target: str) -> bytes:
    """A zip with a symbolic link, and a file that would be written through it."""
    info = zipfile.ZipInfo("a")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return zipped((info, target.encode()), (f"a/{CANARY}", b"x"))


def many(entries: int) -> bytes:
    """A zip of so many empty files, in fact of one that is listed so often."""
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, 1, 0) + b"a"
    central = (
        struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    ) * entries
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, entries, entries, len(central), len(local))
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(local) + len(central), 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return local + central + end64 + locator + end


def lying() -> bytes:
    """A zip whose entry unpacks to far more than it says."""
    honest = zipped(("a", bytes(64 * MIB)))
    return honest.replace(struct.pack("<L", 64 * MIB), struct.pack("<L", 1000))


def twice() -> bytes:
    """A zip with one name twice."""
    whole = zipped(("slice-x", saved(toys.ct_slice(0))), ("slice-y", saved(toys.ct_slice(1))))
    return whole.replace(b"slice-y", b"slice-x")


def nifti(data: bytes = b"", **fields: Any) -> bytes:
    """A NIfTI file of 4 x 3 x 2 int16, with other fields of its header."""
    import nibabel

    head = nibabel.Nifti1Header()
    head.set_data_dtype(np.int16)
    head.set_data_shape((4, 3, 2))
    head.set_sform(np.diag([2, 2, 2, 1]), 1)
    head["vox_offset"] = 352
    for name, value in fields.items():
        head[name] = value
    return bytes(head.binaryblock) + bytes(4) + (data or bytes(48))


def nifti_bomb() -> bytes:
    """A .nii.gz of a thousand to one, whose header says so."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    out = packer.compress(nifti(dim=(3, 1100, 1000, 1000, 1, 1, 1, 1))) + packer.flush(zlib.Z_FULL_FLUSH)
    return out + zeros(2048) + b"\x03\x00" + bytes(8)


NRRD = b"NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 3 2\nencoding: raw\n"
NRRD += b"endian: little\nspace directions: (1,0,0) (0,1,0) (0,0,2)\nspace origin: (0,0,0)\n"
META = b"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
META += b"TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 1 1 2\nDimSize = 4 3 2\n"
META += b"ElementType = MET_SHORT\nElementDataFile = "


def numpy_file(kind: str) -> bytes:
    """An array, or a checkpoint, as programs of Python keep them."""
    buffer = io.BytesIO()
    if kind == "npz":
        np.savez(buffer, a=np.zeros((4, 4)))
    elif kind == "pt":
        return zipped(("archive/data.pkl", b"cos\nsystem\n(S'true'\ntR."), ("archive/version", b"3\n"))
    elif kind == "pickle":
        return b"cos\nsystem\n(S'touch /tmp/" + CANARY.encode() + b"'\ntR."
    else:
        np.save(buffer, np.zeros((4, 4)))
    return buffer.getvalue()


def rows() -> Iterator[Hostile]:
    """Every input of the list."""
    for name, make, answers in (*_files(), *_dicom(), *_archives(), *_others()):
        yield Hostile(name, make, frozenset(answers if isinstance(answers, list) else [answers]))


READ = (200, "")
Row = tuple[str, Callable[[], bytes], Any]


def _files() -> Iterator[Row]:
    no_image = [(415, "unsupported_format"), (415, "not_dicom"), (415, "empty_file")]
    yield "nothing", lambda: b"", no_image
    yield "text", lambda: b"Dear colleague, the images are attached.", no_image
    yield "HTML", lambda: b"<!DOCTYPE html><html><body>Login</body></html>", no_image
    yield "a PNG's start, named .dcm", lambda: b"\x89PNG\r\n\x1a\n" + bytes(300), [*no_image, (422, "cannot_decode")]
    yield "DICM and then text", lambda: bytes(128) + b"DICM" + b"hello" * 40, [*no_image, *_cut()]
    for kind in ("npy", "npz", "pt", "pickle"):
        yield kind, lambda kind=kind: numpy_file(kind), no_image  # type: ignore[misc]


def _cut() -> list[tuple[int, str]]:
    return [(422, "truncated"), (422, "damaged_header"), (422, "no_pixels")]


def _dicom() -> Iterator[Row]:
    whole = saved(toys.ct_slice(0))
    yield "cut in the header", lambda: changed(ImageComments="x" * 1000)[:900], _cut()
    yield "cut in the pixels", lambda: whole[:-100], (422, "truncated_pixel_data")
    yield "65535 x 65535 in a small file", lambda: changed(Rows=65535, Columns=65535), (422, "truncated_pixel_data")
    yield "2e9 frames in a small file", lambda: changed(NumberOfFrames=2_000_000_000), (422, "truncated_pixel_data")
    yield "no rows", lambda: changed(Rows=0), (422, "bad_layout")
    yield "pixels of no size", lambda: changed(PixelSpacing=[0, 0]), (422, "bad_geometry")
    zero, bent = [0] * 6, [1, 0, 0, 1, 0, 0]
    yield "orientation of zeros", lambda: changed(ImageOrientationPatient=zero), (422, "bad_geometry")
    yield "orientation not at right angles", lambda: changed(ImageOrientationPatient=bent), (422, "bad_geometry")
    yield "slope 0", lambda: changed(RescaleSlope="0"), (422, "bad_rescale")
    yield "slope 1e300", lambda: changed(RescaleSlope="1e300"), (422, "bad_rescale")
    yield "slope NaN", lambda: whole.replace(b"DS\x02\x001 ", b"DS\x04\x00NaN "), (422, "bad_rescale")
    yield "deflate bomb, 3 GB", lambda: deflate_bomb(3000), (413, "deflate_bomb")
    yield "sequences 5000 deep", lambda: nested(5000), (422, "sequence_too_deep")
    yield "sequences 5000 deep, by length", lambda: nested_by_length(5000), (422, "sequence_too_deep")
    element = struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, 0x7FFFFFFF)
    yield "an element of 2 GB in 2 kB", lambda: inserted(element), (422, "truncated")
    yield "a path as UID", lambda: _with_path(whole), READ
    yield "ELF in the preamble", lambda: b"\x7fELF" + whole[4:], READ
    yield "MZ in the preamble", lambda: b"MZ" + whole[2:], READ
    spoilt = [READ, (422, "cannot_decode"), (422, "bad_codestream"), (422, "reader_failed")]
    yield "JPEG 2000, bytes turned", lambda: jpeg2000(flip=12), spoilt
    yield "JPEG 2000 of another size", lambda: jpeg2000(rows=12), (422, "codestream_mismatch")
    big = {"Rows": 60_000, "Columns": 60_000}
    yield "JPEG, 60000 x 60000", lambda: encapsulated("1.2.840.10008.1.2.4.50", jpeg(60_000, 60_000), **big), (
        413, "too_many_voxels",
    )  # fmt: skip
    yield "JPEG, 60000 x 60000 behind 24 x 32", lambda: encapsulated("1.2.840.10008.1.2.4.50", jpeg(60_000, 60_000)), (
        422, "codestream_mismatch",
    )  # fmt: skip


def _with_path(whole: bytes) -> bytes:
    """A path in the place of every UID of the toy series; pydicom would not write it."""
    uid = toys.ROOT.encode()
    assert whole.count(uid) >= 5
    return whole.replace(uid, (b"../../../" + CANARY.encode()).ljust(len(uid), b"x")[: len(uid)])


def _archives() -> Iterator[Row]:
    dicom = saved(toys.ct_slice(0))
    yield "zip bomb", lambda: zipped(("a", bytes(512 * MIB))), (413, "zip_bomb")
    yield "zip bomb that lies", lying, [(413, "zip_bomb"), (422, "truncated")]
    yield "zip in zip", lambda: zipped(("a.zip", zipped(("b", dicom)))), (422, "nested_zip")
    for name in (f"/tmp/{CANARY}", f"../../{CANARY}", f"a/../../../{CANARY}", f"..\\..\\{CANARY}", f"C:\\{CANARY}"):
        yield f"zip with {name}", lambda name=name: zipped((name, dicom)), (422, "unsafe_name")  # type: ignore[misc]
    yield "zip with a link", lambda: link("/tmp"), (422, "unsafe_entry")
    yield "zip of 1e6 entries", lambda: many(1_000_000), (413, "zip_bomb")
    yield "zip with a name twice", twice, (422, "duplicate_name")
    yield "zip with a long name", lambda: zipped(("a" * 5000, dicom)), (413, "long_name")
    yield "zip cut", lambda: zipped(("a", dicom))[:-30], [(422, "bad_zip"), (415, "unsupported_format")]
    yield "gaps", lambda: series(toys.missing_slice()), (422, "missing_slices")
    yield "uneven", lambda: series(toys.uneven_spacing()), (422, "uneven_spacing")
    yield "tilted gantry", lambda: series(toys.gantry_tilt()), READ  # the affine carries the shear
    yield "a position twice", lambda: series(toys.duplicate_position()), (422, "duplicate_position")
    yield "two series", lambda: series(toys.two_series()), READ  # each by itself


def _others() -> Iterator[Row]:
    huge = (3, 32767, 32767, 32767, 1, 1, 1, 1)
    yield "NIfTI, 32767^3 in a small file", lambda: nifti(dim=huge), (422, "truncated_pixel_data")
    yield "NIfTI, 32767^3 in a small .gz", lambda: gzip.compress(nifti(dim=huge)), [
        (422, "truncated_pixel_data"), (413, "packed_too_far"), (413, "too_many_voxels"),
    ]  # fmt: skip
    floats = np.array([np.nan, np.inf, -np.inf, 1] * 6, "<f4").tobytes()
    yield "NIfTI, NaN and Inf", lambda: nifti(floats, datatype=16, bitpix=32), [READ, (422, "not_finite")]
    flat = {"sform_code": 0, "pixdim": (1, 0, 1, 1, 0, 0, 0, 0)}
    yield "NIfTI, pixdim 0", lambda: nifti(**flat), (422, "singular_affine")
    negative = {"sform_code": 0, "qform_code": 1, "pixdim": (1, -1, 1, 1, 0, 0, 0, 0)}
    yield "NIfTI, pixdim -1", lambda: nifti(**negative), (422, "bad_geometry")
    yield "NIfTI, singular affine", lambda: nifti(srow_z=(2, 0, 0, 7)), (422, "singular_affine")
    for name, datatype in (("complex", 32), ("128 bit", 1536), ("RGBA", 2304)):
        yield f"NIfTI, {name}", lambda datatype=datatype: nifti(datatype=datatype), (415, "bad_datatype")  # type: ignore[misc]
    yield "NIfTI, gz bomb", nifti_bomb, (413, "packed_too_far")
    away = (415, "detached_data")
    for target in (f"../../{CANARY}", "/etc/passwd", "LIST"):
        yield f"NRRD with data in {target}", lambda target=target: NRRD + f"data file: {target}\n\n".encode(), away  # type: ignore[misc]
        yield f"MHA with data in {target}", lambda target=target: META + target.encode() + b"\n", away  # type: ignore[misc]
    yield "NRRD, 32767^3", lambda: NRRD.replace(b"4 3 2", b"32767 32767 32767") + b"\n" + bytes(48), [
        (413, "too_many_voxels"), (422, "truncated_pixel_data"), (422, "truncated"),
    ]  # fmt: skip
