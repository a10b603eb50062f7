# SPDX-License-Identifier: Apache-2.0
"""NRRD and MetaImage are read as SimpleITK reads them, or refused by name."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from clarivox import io
from clarivox.errors import (
    ClarivoxError,
    DecodeError,
    FormatError,
    GeometryError,
    LimitError,
    RescaleError,
    TruncatedError,
)
from clarivox.io import Limits
from clarivox.volume import Channels, Volume

NRRD = b"""NRRD0005
# a comment
type: short
dimension: 3
space: right-anterior-superior
sizes: 4 3 2
space directions: (2,0,0) (0,3,0) (0,0,4)
kinds: domain domain domain
endian: little
encoding: raw
space origin: (10,20,30)
patient:=JANE

"""
META = b"""ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 1 2 3
ElementSpacing = 2 3 4
DimSize = 4 3 2
ElementType = MET_SHORT
ElementDataFile = LOCAL
"""
DATA = np.arange(24, dtype="<i2").tobytes()


def saved(folder: Path, header: bytes, data: bytes = DATA) -> Path:
    path = folder / "file"
    path.write_bytes(header + data)
    return path


def by_simpleitk(path: Path, suffix: str) -> tuple[np.ndarray, np.ndarray]:
    """Samples in memory order and the affine in RAS."""
    renamed = path if path.suffix else path.rename(path.with_suffix(suffix))
    image = SimpleITK.ReadImage(str(renamed))
    count = min(3, image.GetDimension())
    directions = np.array(image.GetDirection()).reshape(image.GetDimension(), -1) * image.GetSpacing()
    affine = np.eye(4)
    affine[:count, :count] = directions[:count, :count]
    affine[:count, 3] = image.GetOrigin()[:count]
    return SimpleITK.GetArrayFromImage(image), np.diag([-1.0, -1, 1, 1]) @ affine


def frames_of(volume: Volume, peer: np.ndarray) -> np.ndarray:
    """The volume's samples in the order that SimpleITK's array has."""
    if peer.ndim == 4 and peer.shape[-1] == volume.shape[0]:
        return volume.frames.transpose(1, 2, 3, 0)
    return volume.frames if peer.ndim == 4 else volume.frames[0]


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_what_simpleitk_writes_is_read_the_same(tmp_path: Path, suffix: str, packed: bool, dtype: str) -> None:
    rng = np.random.default_rng(0)
    image = SimpleITK.GetImageFromArray(rng.integers(0, 99, (5, 6, 7)).astype(dtype))
    image.SetSpacing((0.5, 0.6, 3.0))
    image.SetOrigin((1, -2, 3.5))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    path = tmp_path / f"a.{suffix}"
    SimpleITK.WriteImage(image, str(path), packed)
    peer, affine = by_simpleitk(path, suffix)
    volume = io.read(path)
    np.testing.assert_array_equal(volume.frames[0], peer)
    assert volume.array.dtype == peer.dtype
    np.testing.assert_allclose(volume.affine, affine, atol=1e-12)


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
def test_colour_and_four_dimensions_are_read_the_same(tmp_path: Path, suffix: str) -> None:
    data = np.random.default_rng(0).integers(0, 255, (4, 5, 6, 3)).astype(np.uint8)
    for name, vector, channels in (("rgb", True, Channels.RGB), ("series", False, Channels.VOLUMES)):
        path = tmp_path / f"{name}.{suffix}"
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(data, isVector=vector), str(path))
        volume = io.read(path)
        assert volume.channels is channels
        np.testing.assert_array_equal(frames_of(volume, by_simpleitk(path, suffix)[0]), data)


@pytest.mark.parametrize(
    "change",
    [
        {b"right-anterior-superior": b"left-posterior-superior"},
        {b"right-anterior-superior": b"LAS"},
        {b"space: right-anterior-superior\n": b"space dimension: 3\n"},
        {b"endian: little": b"endian: big"},
        {b"type: short": b"type: uint16"},
        {b"space directions: (2,0,0) (0,3,0) (0,0,4)": b"space directions: (0,2,0) (3,0,0) (0,0,-4)"},
    ],
)
def test_spaces_and_byte_orders_are_read_the_same(tmp_path: Path, change: dict[bytes, bytes]) -> None:
    header = NRRD
    for old, new in change.items():
        header = header.replace(old, new)
    path = saved(tmp_path, header)
    volume = io.read(path)
    peer, affine = by_simpleitk(path, ".nrrd")
    np.testing.assert_array_equal(volume.frames[0], peer)
    np.testing.assert_allclose(volume.affine, affine)


def test_a_list_of_volumes_is_read_whichever_way_it_lies(tmp_path: Path) -> None:
    first = NRRD.replace(b"dimension: 3", b"dimension: 4").replace(b"kinds: ", b"kinds: list ")
    first = first.replace(b"directions: ", b"directions: none ").replace(b"sizes: ", b"sizes: 2 ")
    beside = io.read(saved(tmp_path, first, np.arange(48, dtype="<i2").tobytes()))
    assert (beside.channels, beside.shape) == (Channels.VOLUMES, (2, 4, 3, 2))
    assert beside.array[1, 0, 0, 0] == 1
    last = NRRD.replace(b"dimension: 3", b"dimension: 4").replace(b"domain\nendian", b"domain list\nendian")
    last = last.replace(b"(0,0,4)", b"(0,0,4) none").replace(b"sizes: 4 3 2", b"sizes: 4 3 2 2")
    apart = io.read(saved(tmp_path, last, np.arange(48, dtype="<i2").tobytes()))
    assert apart.array[1, 0, 0, 0] == 24


@pytest.mark.parametrize(
    "line", [b"data file: ../../x", b"datafile: x.raw", b"Data File: LIST", b"DATA FILE: /etc/passwd"]
)
def test_a_detached_nrrd_is_refused_before_anything_is_opened(tmp_path: Path, line: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        io.read(saved(tmp_path, NRRD[:-1] + line + b"\n\n"))
    assert caught.value.code == "detached_data"
    with pytest.raises(FormatError):
        io.read(saved(tmp_path, NRRD[:-1] + line + b"\n", b""))


@pytest.mark.parametrize("target", [b"LIST", b"/etc/passwd", b"x%03d.raw 1 4 1", b"../x.raw"])
def test_a_detached_metaimage_is_refused_before_anything_is_opened(tmp_path: Path, target: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        io.read(saved(tmp_path, META.replace(b"LOCAL", target)))
    assert caught.value.code == "detached_data"


@pytest.mark.parametrize(
    ("header", "old", "new", "error"),
    [
        (NRRD, b"(2,0,0)", b"(0,0,0)", GeometryError),
        (NRRD, b"(2,0,0)", b"(nan,0,0)", GeometryError),
        (NRRD, b"(2,0,0)", b"(0,6,0)", GeometryError),
        (NRRD, b"sizes: 4 3 2", b"sizes: 4 3 0", GeometryError),
        (NRRD, b"sizes: 4 3 2", b"sizes: 32767 32767 32767", LimitError),
        (NRRD, b"sizes: 4 3 2", b"sizes: 4 3 200", TruncatedError),
        (NRRD, b"sizes: 4 3 2", b"sizes: 4 3", FormatError),
        (NRRD, b"dimension: 3", b"dimension: x", FormatError),
        (NRRD, b"type: short", b"type: block", FormatError),
        (NRRD, b"encoding: raw", b"encoding: bzip2", FormatError),
        (NRRD, b"encoding: raw", b"encoding: gzip", DecodeError),
        (NRRD, b"encoding: raw", b"encoding: raw\nbyte skip: -1", FormatError),
        (NRRD, b"patient:=JANE", b"no field", FormatError),
        (META, b"ElementSpacing = 2 3 4", b"ElementSpacing = 0 0 0", GeometryError),
        (META, b"DimSize = 4 3 2", b"DimSize = 4 3 -2", GeometryError),
        (META, b"DimSize = 4 3 2", b"DimSize = 32767 32767 32767", LimitError),
        (META, b"DimSize = 4 3 2", b"DimSize = 4 3 9", TruncatedError),
        (META, b"1 0 0 0 1 0 0 0 1", b"0 0 0 0 0 0 0 0 0", GeometryError),
        (META, b"1 0 0 0 1 0 0 0 1", b"1 0 0 0", FormatError),
        (META, b"MET_SHORT", b"MET_SHORT_ARRAY", FormatError),
        (META, b"CompressedData = False", b"CompressedData = True", DecodeError),
        (META, b"Offset", b"ElementToIntensityFunctionSlope = 2\nOffset", RescaleError),
        (META, b"NDims", b"HeaderSize = 5\nNDims", FormatError),
    ],
)
def test_a_header_that_cannot_be_right_is_refused_by_name(
    tmp_path: Path, header: bytes, old: bytes, new: bytes, error: type[ClarivoxError]
) -> None:
    assert old in header
    with pytest.raises(error):
        io.read(saved(tmp_path, header.replace(old, new)))


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
def test_packed_voxels_cut_or_damaged_are_refused(tmp_path: Path, suffix: str) -> None:
    array = np.random.default_rng(0).integers(0, 999, (20, 40, 40)).astype(np.int16)
    path = tmp_path / f"a.{suffix}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path), True)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TruncatedError):
        io.read(path)
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes(64) + whole[middle + 64 :])
    with pytest.raises((DecodeError, TruncatedError)):
        io.read(path)


def test_a_packed_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    header = NRRD.replace(b"raw", b"gzip").replace(b"4 3 2", b"1000 1000 1000")
    path = saved(tmp_path, header, gzip.compress(bytes(1 << 20)) + bytes(2 << 20))
    with pytest.raises(LimitError) as caught:
        io.read(path)
    assert caught.value.code == "packed_too_far"


def test_more_voxels_than_the_limit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LimitError):
        io.read(saved(tmp_path, META), limits=Limits(voxels=23))


def test_a_header_without_end_is_refused(tmp_path: Path) -> None:
    for start in (NRRD[:-1], META[: META.index(b"ElementData")]):
        with pytest.raises(ClarivoxError):
            io.read(saved(tmp_path, start, b""))
