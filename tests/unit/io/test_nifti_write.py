# SPDX-License-Identifier: Apache-2.0
"""What was not changed comes back bit for bit; what cannot be said in NIfTI is refused or noted."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from clarivox import io
from clarivox.errors import GeometryError, OutputError
from clarivox.io import nifti_write
from clarivox.volume import Axis, Channels, Fault, Irregularity, Volume, blank_like


def grey(shape: tuple[int, int, int, int] = (1, 5, 4, 3), dtype: str = "i2", **more: object) -> Volume:
    array = blank_like(shape, np.dtype(dtype))
    array[:] = np.arange(array.size).reshape(shape)
    return Volume(array, np.diag([2.0, 3.0, 4.0, 1.0]), **more)  # type: ignore[arg-type]


def unpacked(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def test_a_real_file_comes_back_byte_for_byte(data_dir: Path, tmp_path: Path) -> None:
    for name in ("nifti/example4d", "nifti/example_nifti2", "nifti_derived/ct_int16_slope0p5_inter-1024"):
        path = data_dir / "awkward" / f"{name}.nii.gz"
        io.write(io.read(path), tmp_path / path.name, keep_text=True)
        assert unpacked(tmp_path / path.name) == unpacked(path), name


def test_free_text_is_left_out_unless_asked_for(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 3, 2), np.int16), np.eye(4))
    image.header["descrip"], image.header["aux_file"] = b"DOE^JANE", b"jane.txt"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"JANE"))
    nibabel.save(image, tmp_path / "in.nii")
    volume = io.read(tmp_path / "in.nii")
    io.write(volume, tmp_path / "out.nii")
    assert b"JANE" not in (tmp_path / "out.nii").read_bytes().upper()
    io.write(volume, tmp_path / "kept.nii", keep_text=True)
    assert (tmp_path / "kept.nii").read_bytes() == (tmp_path / "in.nii").read_bytes()


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (2, 1), (4, 3), (0, 0)])
def test_both_codes_and_the_affine_stay(tmp_path: Path, codes: tuple[int, int]) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 3, 2), np.int16), None)
    affine = np.array([[0, -2.0, 0, 3], [1.5, 0, 0, -4], [0, 0, 4, 5], [0, 0, 0, 1]])
    image.header.set_sform(affine, codes[0])
    image.header.set_qform(affine, codes[1])
    nibabel.save(image, tmp_path / "in.nii")
    io.write(io.read(tmp_path / "in.nii"), tmp_path / "out.nii")
    before, after = nibabel.load(tmp_path / "in.nii"), nibabel.load(tmp_path / "out.nii")
    assert before.header.binaryblock == after.header.binaryblock
    np.testing.assert_array_equal(before.affine, after.affine)


def test_a_finer_grid_gets_its_own_affine_under_the_same_codes(tmp_path: Path) -> None:
    io.write(grey(), tmp_path / "in.nii")
    source = io.read(tmp_path / "in.nii")
    affine = source.affine @ np.array([[0.5, 0, 0, -0.25], [0, 0.5, 0, -0.25], [0, 0, 1, 0], [0, 0, 0, 1]])
    finer = source.replace(array=grey((1, 10, 8, 3)).array, affine=affine)
    io.write(finer, tmp_path / "out.nii.gz")
    after = nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(after.affine, affine)
    assert after.shape == (10, 8, 3)
    assert (int(after.header["sform_code"]), int(after.header["qform_code"])) == (2, 2)
    np.testing.assert_allclose(after.get_qform(), affine, atol=1e-6)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_type_goes_through(tmp_path: Path, dtype: str) -> None:
    volume = grey(dtype=dtype, slope=np.array([0.5]), intercept=np.array([-7.0]))
    io.write(volume, tmp_path / "a.nii.gz")
    again = io.read(tmp_path / "a.nii.gz")
    assert again.array.dtype == volume.array.dtype
    np.testing.assert_array_equal(again.array, volume.array)
    np.testing.assert_array_equal(again.values(), volume.values())


def test_slices_with_different_slopes_become_values(tmp_path: Path) -> None:
    volume = grey(slope=np.array([1.0, 2.0, 3.0]))
    written = io.write(volume, tmp_path / "a.nii")
    assert "32-bit floating point" in written.notes[0]
    np.testing.assert_array_equal(io.read(tmp_path / "a.nii").values(), volume.values())


def test_another_scale_than_the_sources_is_written(tmp_path: Path) -> None:
    io.write(grey(intercept=np.array([-1024.0])), tmp_path / "in.nii")
    source = io.read(tmp_path / "in.nii")
    for number, scale in enumerate(((1.0, 0.0), (1.0, 5.0), (2.0, 0.0))):
        volume = source.replace(slope=np.array(scale[:1]), intercept=np.array(scale[1:]))
        path = tmp_path / f"{number}.nii"
        io.write(volume, path)
        np.testing.assert_array_equal(io.read(path).values(), volume.values())


def test_volumes_colour_and_clips_come_back_as_they_were(tmp_path: Path) -> None:
    volumes = grey((4, 5, 4, 3), channels=Channels.VOLUMES)
    colour = grey((3, 5, 4, 3), "u1", channels=Channels.RGB)
    clip = grey((1, 5, 4, 6), third_axis=Axis.TIME)
    film = grey((3, 5, 4, 6), "u1", channels=Channels.RGB, third_axis=Axis.TIME)
    for number, volume in enumerate((volumes, colour, clip, film)):
        path = tmp_path / f"{number}.nii.gz"
        io.write(volume, path)
        again = io.read(path)
        assert (again.channels, again.third_axis) == (volume.channels, volume.third_axis)
        np.testing.assert_array_equal(again.array, volume.array)


def test_luma_and_colour_difference_become_rgb(tmp_path: Path) -> None:
    array = np.full((3, 4, 4, 1), 128, np.uint8)
    written = io.write(Volume(array, np.eye(4), channels=Channels.YBR), tmp_path / "a.nii")
    assert "converted to RGB" in written.notes[0]
    assert (io.read(tmp_path / "a.nii").array == 128).all()


def test_a_sheared_grid_is_said_in_the_sform_alone(tmp_path: Path) -> None:
    affine = np.array([[1.0, 0, 0, 0], [0, 1, 0.3, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    tilted = Irregularity(Fault.TILTED, "gantry tilt of 8.5 degrees")
    io.write(Volume(grey().array, affine, irregular=tilted), tmp_path / "a.nii")
    after = nibabel.load(tmp_path / "a.nii")
    np.testing.assert_allclose(after.affine, affine, atol=1e-7)
    assert int(after.header["qform_code"]) == 0


def test_what_one_grid_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GeometryError) as caught:
        io.write(grey(irregular=Irregularity(Fault.MISSING, "slice 2 is absent")), tmp_path / "a.nii")
    assert caught.value.code == "missing_slices"
    with pytest.raises(OutputError):
        io.write(grey(dtype="u1", channels=Channels.PALETTE), tmp_path / "a.nii")
    assert not list(tmp_path.iterdir())


def test_the_same_volume_gives_the_same_bytes(tmp_path: Path) -> None:
    volume = grey((1, 300, 200, 60))
    for name in ("a.nii.gz", "b.nii.gz"):
        io.write(volume, tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_a_side_too_long_for_the_first_version_is_written_as_the_second(tmp_path: Path) -> None:
    io.write(grey((1, 40_000, 1, 1), "u2"), tmp_path / "a.nii")
    assert io.scan(tmp_path / "a.nii")[0].kind == "NIfTI-2"


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.nii"):
        nifti_write.save(grey(), tmp_path / "a.img")
