# SPDX-License-Identifier: Apache-2.0
"""NIfTI is read as nibabel reads it, or refused by name before anything large is allocated."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

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
from clarivox.volume import Axis, Channels

REFUSED = {
    "test.mgz": "unsupported_format",
    "tiny.mnc": "unsupported_format",
    "not_a_nifti.nii.gz": "unsupported_format",
    "truncated_ct.nii.gz": "truncated",
    "zero_bytes.nii.gz": "empty_file",
}


def header(**fields: object) -> nibabel.Nifti1Header:
    found = nibabel.Nifti1Header()
    found.set_data_dtype(np.int16)
    found.set_data_shape((4, 3, 2))
    found["sform_code"], found["srow_x"], found["srow_y"], found["srow_z"] = 1, (2, 0, 0, 5), (0, 2, 0, 6), (0, 0, 3, 7)
    found["vox_offset"], found["magic"] = 352, b"n+1"
    for name, value in fields.items():
        found[name] = value
    return found


def saved(path: Path, head: nibabel.Nifti1Header, data: bytes = bytes(48)) -> Path:
    path.write_bytes(head.binaryblock + bytes(4) + data)
    return path


@pytest.mark.parametrize("version", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "no_ending"])
def test_voxels_affine_and_type_are_as_nibabel_gives_them(tmp_path: Path, version: type, name: str) -> None:
    rng = np.random.default_rng(0)
    stored = rng.integers(-1000, 1000, (6, 5, 4, 3)).astype(np.int16)
    affine = np.array([[0, 2.0, 0.1, 3], [1.5, 0, 0, -4], [0, 0, 4, 5], [0, 0, 0, 1]])
    target = tmp_path / "x.nii.gz" if name.endswith("gz") else tmp_path / "x.nii"
    nibabel.save(version(stored, affine), target)
    path = target.rename(tmp_path / name)
    volume = io.read(path)
    assert volume.channels is Channels.VOLUMES
    np.testing.assert_array_equal(np.moveaxis(volume.array, 0, -1), stored)
    np.testing.assert_array_equal(volume.affine, nibabel.load(target if target.exists() else _named(path)).affine)
    assert volume.frames.flags.c_contiguous


def _named(path: Path) -> Path:
    return path if path.suffix else path.rename(path.with_suffix(".nii"))


def test_big_endian_numbers_are_turned_once(tmp_path: Path) -> None:
    stored = np.arange(24, dtype=">i2").reshape(4, 3, 2)
    swapped = nibabel.Nifti1Image(stored, np.eye(4), header=nibabel.Nifti1Header(endianness=">"))
    nibabel.save(swapped, tmp_path / "a.nii")
    np.testing.assert_array_equal(io.read(tmp_path / "a.nii").array[0], stored)


def test_values_use_the_headers_slope(tmp_path: Path) -> None:
    volume = io.read(saved(tmp_path / "a.nii", header(scl_slope=0.5, scl_inter=-1024), np.full(24, 8, "<i2").tobytes()))
    assert volume.array.dtype == np.int16
    assert (volume.values() == -1020).all()


def test_colour_becomes_three_channels(tmp_path: Path) -> None:
    data = np.arange(72, dtype=np.uint8)
    volume = io.read(saved(tmp_path / "a.nii", header(datatype=128, bitpix=24), data.tobytes()))
    assert volume.channels is Channels.RGB
    np.testing.assert_array_equal(volume.frames.transpose(1, 2, 3, 0).ravel(), data)


def test_pictures_over_seconds_are_a_clip(tmp_path: Path) -> None:
    head = header(dim=(4, 4, 3, 1, 2, 1, 1, 1), xyzt_units=10)
    assert io.read(saved(tmp_path / "a.nii", head)).third_axis is Axis.TIME
    volumes = io.read(saved(tmp_path / "b.nii", header(dim=(4, 4, 3, 1, 2, 1, 1, 1))))
    assert (volumes.third_axis, volumes.channels) == (Axis.SPACE, Channels.VOLUMES)


@pytest.mark.parametrize(("unit", "factor"), [(1, 1000.0), (2, 1.0), (3, 0.001), (0, 1.0)])
def test_the_affine_is_in_millimetres(tmp_path: Path, unit: int, factor: float) -> None:
    spacing = io.read(saved(tmp_path / "a.nii", header(xyzt_units=unit))).spacing_mm
    assert spacing == pytest.approx((2 * factor, 2 * factor, 3 * factor))


def test_without_codes_the_spacing_is_used_and_said(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii", header(sform_code=0, pixdim=(1, 2, 3, 4, 0, 0, 0, 0)))
    volume = io.read(path)
    np.testing.assert_array_equal(volume.affine, nibabel.load(path).affine)
    assert "no place" in volume.notes[0]


def test_nan_and_infinity_stay(tmp_path: Path) -> None:
    data = np.array([np.nan, np.inf, -np.inf, 1] * 6, "<f4")
    volume = io.read(saved(tmp_path / "a.nii", header(datatype=16, bitpix=32), data.tobytes()))
    assert volume.frames.tobytes() == data.tobytes()


@pytest.mark.parametrize(
    ("fields", "error", "code"),
    [
        ({"dim": (3, 32767, 32767, 32767, 1, 1, 1, 1)}, TruncatedError, "truncated_pixel_data"),
        ({"dim": (3, 4, 3, 20, 1, 1, 1, 1)}, TruncatedError, "truncated_pixel_data"),
        ({"dim": (3, 4, 0, 2, 1, 1, 1, 1)}, GeometryError, "bad_geometry"),
        ({"dim": (3, 4, -3, 2, 1, 1, 1, 1)}, GeometryError, "bad_geometry"),
        ({"dim": (5, 4, 3, 1, 1, 2, 1, 1)}, FormatError, "five_dimensions"),
        ({"datatype": 32, "bitpix": 64}, FormatError, "bad_datatype"),
        ({"datatype": 1536}, FormatError, "bad_datatype"),
        ({"datatype": 2304}, FormatError, "bad_datatype"),
        ({"datatype": 1}, FormatError, "bad_datatype"),
        ({"datatype": 7}, FormatError, "bad_datatype"),
        ({"srow_z": (0, 0, 0, 7)}, GeometryError, "singular_affine"),
        ({"srow_z": (2, 0, 0, 7)}, GeometryError, "singular_affine"),
        ({"srow_x": (np.nan, 0, 0, 7)}, GeometryError, "bad_geometry"),
        ({"sform_code": 0, "pixdim": (1, 0, 1, 1, 0, 0, 0, 0)}, GeometryError, "singular_affine"),
        ({"sform_code": 0, "qform_code": 1, "pixdim": (1, -1, 1, 1, 0, 0, 0, 0)}, GeometryError, "bad_geometry"),
        ({"sform_code": 0, "qform_code": 1, "quatern_b": 9}, GeometryError, "bad_geometry"),
        ({"scl_slope": np.inf}, RescaleError, "bad_rescale"),
        ({"scl_slope": 1, "scl_inter": np.nan}, RescaleError, "bad_rescale"),
        ({"vox_offset": 100}, FormatError, "unsupported_format"),
        ({"vox_offset": np.nan}, FormatError, "unsupported_format"),
        ({"vox_offset": 1e12}, LimitError, "too_large"),
        ({"magic": b"ni1"}, FormatError, "detached_data"),
    ],
)
def test_a_header_that_cannot_be_right_is_refused_by_name(
    tmp_path: Path, fields: dict[str, object], error: type[ClarivoxError], code: str
) -> None:
    path = saved(tmp_path / "a.nii", header(**fields))
    with pytest.raises(error) as caught:
        io.read(path)
    assert caught.value.code == code
    (info,) = io.scan(path)
    assert (info.usable, info.error_code) == (False, code)


def test_more_voxels_than_the_limit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LimitError, match="24"):
        io.read(saved(tmp_path / "a.nii", header()), limits=Limits(voxels=23))


def test_a_packed_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    head = header(dim=(3, 1100, 1000, 1000, 1, 1, 1, 1))
    path.write_bytes(gzip.compress(head.binaryblock + bytes(3 << 20)) + bytes(3 << 20))
    with pytest.raises(LimitError) as caught:
        io.read(path)
    assert caught.value.code == "packed_too_far"


def test_a_packed_file_cut_or_damaged_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 999, 24 * 500).astype("<i2")
    whole = gzip.compress(header(dim=(3, 40, 30, 10, 1, 1, 1, 1)).binaryblock + bytes(4) + stored.tobytes())
    path = tmp_path / "a.nii.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TruncatedError):
        io.read(path)
    path.write_bytes(whole[:-8] + bytes(4) + whole[-4:])
    with pytest.raises(DecodeError):
        io.read(path)
    path.write_bytes(whole[:8000] + bytes(64) + whole[8064:])
    with pytest.raises((DecodeError, TruncatedError)):
        io.read(path)


def test_bytes_after_the_voxels_are_said(tmp_path: Path) -> None:
    assert "after the last voxel" in io.read(saved(tmp_path / "a.nii", header(), bytes(50))).notes[0]


def test_every_awkward_file_is_as_nibabel_reads_it_or_refused_by_name(data_dir: Path) -> None:
    files = [
        file for folder in ("nifti", "nifti_derived") for file in sorted((data_dir / "awkward" / folder).iterdir())
    ]
    for path in files:
        if path.name in REFUSED:
            with pytest.raises(ClarivoxError) as caught:
                io.read(path)
            assert caught.value.code == REFUSED[path.name], path.name
            continue
        volume, peer = io.read(path), nibabel.load(path)
        np.testing.assert_array_equal(volume.affine, peer.affine, err_msg=path.name)
        values = np.asarray(peer.dataobj, np.float64).reshape(*volume.shape[1:], volume.shape[0], order="F")
        np.testing.assert_allclose(volume.values(), np.moveaxis(values, -1, 0), rtol=1e-6, err_msg=path.name)
