# SPDX-License-Identifier: Apache-2.0
"""NRRD and MetaImage keep the source's header and are understood by SimpleITK."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from clarivox import io
from clarivox.errors import GeometryError, OutputError
from clarivox.volume import Channels, Fault, Irregularity, Volume, blank_like

TURNED = np.array([[0, -2.0, 0, 3], [1.5, 0, 0, -4], [0, 0, 4, 5], [0, 0, 0, 1]])
DIFFUSION = b"""NRRD0005
type: short
dimension: 4
space: right-anterior-superior
sizes: 2 4 3 2
space directions: none (1,0,0) (0,2,0) (0,0,3)
kinds: list domain domain domain
endian: little
encoding: raw
space origin: (10,20,30)
measurement frame: (1,0,0) (0,1,0) (0,0,1)
DWMRI_b-value:=1000

"""


def made(shape: tuple[int, int, int, int] = (1, 5, 4, 3), dtype: str = "i2", **more: object) -> Volume:
    array = blank_like(shape, np.dtype(dtype))
    array[:] = np.arange(array.size).reshape(shape) % 250
    return Volume(array, TURNED, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_type_comes_back_and_simpleitk_agrees(tmp_path: Path, suffix: str, dtype: str) -> None:
    volume = made(dtype=dtype)
    path = tmp_path / f"a.{suffix}"
    io.write(volume, path)
    again = io.read(path)
    np.testing.assert_array_equal(again.array, volume.array)
    np.testing.assert_array_equal(again.affine, volume.affine)
    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), volume.frames[0])
    np.testing.assert_allclose(
        image.TransformIndexToPhysicalPoint((4, 3, 2)), (TURNED @ (4, 3, 2, 1))[:3] * (-1, -1, 1)
    )


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_source_of_the_same_format_keeps_its_keys(tmp_path: Path, suffix: str, packed: bool) -> None:
    image = SimpleITK.GetImageFromArray(np.random.default_rng(0).integers(0, 9, (20, 30, 40)).astype(np.int16))
    image.SetMetaData("protocol", "knee")
    SimpleITK.WriteImage(image, str(tmp_path / f"in.{suffix}"), packed)
    volume = io.read(tmp_path / f"in.{suffix}")
    written = io.write(volume, tmp_path / f"out.{suffix}")
    assert "may name the patient" in written.notes[-1]
    again = SimpleITK.ReadImage(str(tmp_path / f"out.{suffix}"))
    assert again.GetMetaData("protocol") == "knee"
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(again), SimpleITK.GetArrayFromImage(image))


def test_an_unpacked_metaimage_comes_back_byte_for_byte(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(np.zeros((2, 3, 4), np.int16))
    SimpleITK.WriteImage(image, str(tmp_path / "in.mha"))
    io.write(io.read(tmp_path / "in.mha"), tmp_path / "out.mha")
    assert (tmp_path / "out.mha").read_bytes() == (tmp_path / "in.mha").read_bytes()


def test_space_measurement_frame_and_list_stay_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "in.nrrd").write_bytes(DIFFUSION + np.arange(48, dtype="<i2").tobytes())
    io.write(io.read(tmp_path / "in.nrrd"), tmp_path / "out.nrrd")
    assert (tmp_path / "out.nrrd").read_bytes() == (tmp_path / "in.nrrd").read_bytes()


def test_a_finer_grid_is_written_in_the_sources_space(tmp_path: Path) -> None:
    (tmp_path / "in.nrrd").write_bytes(DIFFUSION + bytes(96))
    source = io.read(tmp_path / "in.nrrd")
    affine = source.affine @ np.diag([0.5, 0.5, 1, 1])
    finer = source.replace(array=np.zeros((2, 8, 6, 2), np.int16), affine=affine)
    for name in ("out.nrrd", "out.mha"):
        io.write(finer, tmp_path / name)
        np.testing.assert_allclose(io.read(tmp_path / name).affine, affine)
    text = (tmp_path / "out.nrrd").read_bytes()
    assert b"space: right-anterior-superior" in text
    assert b"measurement frame: (1,0,0)" in text
    assert SimpleITK.ReadImage(str(tmp_path / "out.nrrd")).GetSize() == (8, 6, 2)


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
def test_colour_and_volumes_come_back(tmp_path: Path, suffix: str) -> None:
    for number, volume in enumerate(
        (made((3, 5, 4, 3), "u1", channels=Channels.RGB), made((4, 5, 4, 3), channels=Channels.VOLUMES))
    ):
        path = tmp_path / f"{number}.{suffix}"
        io.write(volume, path)
        again = io.read(path)
        assert again.channels is volume.channels
        np.testing.assert_array_equal(again.array, volume.array)
        np.testing.assert_array_equal(again.affine, volume.affine)


def test_slope_and_intercept_are_applied_since_the_format_has_none(tmp_path: Path) -> None:
    hounsfield = made(dtype="u2", intercept=np.array([-1024.0]), stored_range=(0, 4095))
    assert "int16" in io.write(hounsfield, tmp_path / "a.nrrd").notes[0]
    np.testing.assert_array_equal(io.read(tmp_path / "a.nrrd").array, hounsfield.values().astype(np.int16))
    activity = made(slope=np.array([0.1, 0.2, 0.3]))
    io.write(activity, tmp_path / "b.mha")
    np.testing.assert_array_equal(io.read(tmp_path / "b.mha").array, activity.values())


def test_sheared_and_irregular_slices_are_refused(tmp_path: Path) -> None:
    sheared = np.array([[1.0, 0, 0, 0], [0, 1, 0.3, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    with pytest.raises(GeometryError) as caught:
        io.write(Volume(made().array, sheared), tmp_path / "a.nrrd")
    assert caught.value.code == "sheared_grid"
    with pytest.raises(GeometryError):
        io.write(made(irregular=Irregularity(Fault.UNEVEN, "gaps of 1 to 3 mm")), tmp_path / "a.mha")
    with pytest.raises(OutputError):
        io.write(made(dtype="u1", channels=Channels.PALETTE), tmp_path / "a.mha")
    assert not list(tmp_path.iterdir())


def test_real_metaimages_keep_every_voxel(data_dir: Path, tmp_path: Path) -> None:
    for path in sorted((data_dir / "us" / "rf").glob("*.mha")):
        volume = io.read(path)
        io.write(volume, tmp_path / path.name)
        again, peer = io.read(tmp_path / path.name), SimpleITK.ReadImage(str(path))
        np.testing.assert_array_equal(again.frames[0], SimpleITK.GetArrayFromImage(peer).reshape(again.frames[0].shape))
        np.testing.assert_array_equal(again.affine, volume.affine)


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
def test_a_flat_picture_stays_flat_and_may_become_finer(tmp_path: Path, suffix: str) -> None:
    image = SimpleITK.GetImageFromArray(np.arange(30, dtype=np.uint8).reshape(5, 6))
    image.SetSpacing((0.5, 0.25))
    SimpleITK.WriteImage(image, str(tmp_path / f"in.{suffix}"))
    volume = io.read(tmp_path / f"in.{suffix}")
    assert volume.spacing_mm == (0.5, 0.25, 1)
    io.write(volume, tmp_path / f"same.{suffix}")
    finer = volume.replace(array=np.zeros((1, 12, 10, 1), np.uint8), affine=volume.affine @ np.diag([0.5, 0.5, 1, 1]))
    io.write(finer, tmp_path / f"finer.{suffix}")
    for name, size, spacing in (("same", (6, 5), (0.5, 0.25)), ("finer", (12, 10), (0.25, 0.125))):
        again = SimpleITK.ReadImage(str(tmp_path / f"{name}.{suffix}"))
        assert again.GetSize()[:2] == size
        assert again.GetSpacing()[:2] == spacing
        np.testing.assert_array_equal(
            io.read(tmp_path / f"{name}.{suffix}").affine[:3, :2], _affine(volume, name)[:3, :2]
        )


def _affine(volume: Volume, name: str) -> np.ndarray:
    return volume.affine @ np.diag([0.5, 0.5, 1, 1]) if name == "finer" else volume.affine
