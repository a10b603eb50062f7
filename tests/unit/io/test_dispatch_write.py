# SPDX-License-Identifier: Apache-2.0
"""The format is what was asked for, else what the name says, else what the source was."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clarivox import io
from clarivox.errors import CancelledError, GeometryError, OptionError, OutputError
from clarivox.io.dicom_new import Kind, new_series, save_series
from clarivox.volume import Unit, Volume

GREY = Volume(np.arange(60, dtype=np.int16).reshape(1, 5, 4, 3), np.diag([-1.0, -1, 2, 1]))


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A CT series of three slices."""
    volume = GREY.replace(array=GREY.array.astype(np.uint16), intercept=np.array([-1024.0]), unit=Unit.HU)
    save_series(new_series(volume, Kind.CT), tmp_path / "ct")
    return tmp_path / "ct"


def test_the_format_is_asked_for_or_named_or_the_sources(tmp_path: Path) -> None:
    assert io.write(GREY, tmp_path / "a.nrrd").format == "nrrd"
    assert io.write(GREY, tmp_path / "b.nii", as_="nifti").format == "nifti"
    source = io.read(tmp_path / "a.nrrd")
    assert io.write(source, tmp_path / "c.mha").format == "mha"
    with pytest.raises(OutputError, match=r"\.nrrd"):
        io.write(source, tmp_path / "no ending")
    with pytest.raises(OutputError) as caught:
        io.write(GREY, tmp_path / "no ending")
    assert caught.value.code == "bad_name"


def test_nothing_is_overwritten_unless_asked_for(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.nrrd", "a.mha", "a.tif"):
        io.write(GREY, tmp_path / name)
        before = (tmp_path / name).read_bytes()
        with pytest.raises(OutputError) as caught:
            io.write(GREY.replace(array=GREY.array + np.int16(1)), tmp_path / name)
        assert caught.value.code == "output_exists"
        assert (tmp_path / name).read_bytes() == before
        io.write(GREY.replace(array=GREY.array + np.int16(1)), tmp_path / name, overwrite=True)
        assert (tmp_path / name).read_bytes() != before


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.mha", "a.tif"])
def test_stopping_leaves_nothing_behind(tmp_path: Path, name: str) -> None:
    with pytest.raises(CancelledError):
        io.write(GREY, tmp_path / name, progress=lambda step: False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"as_": "jpeg"}, OptionError),
        ({"window": (0, 1)}, OptionError),
        ({"like": "series"}, OptionError),
        ({"compress": "jpegls"}, OptionError),
        ({"keep_private": ("X",)}, OptionError),
        ({"as_": "dicom"}, OutputError),
    ],
)
def test_options_of_another_format_are_refused(tmp_path: Path, how: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        io.write(GREY, tmp_path / "a.nii.gz", **how)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_dicom_to_another_format_and_back_changes_no_voxel(series: Path, tmp_path: Path, name: str) -> None:
    before = io.read(series)
    io.write(before, tmp_path / name)
    between = io.read(tmp_path / name)
    np.testing.assert_array_equal(between.values(), before.values())
    np.testing.assert_allclose(between.affine, before.affine, atol=1e-6)
    io.write(between, tmp_path / "back", as_="dicom", like=series)
    after = io.read(tmp_path / "back")
    np.testing.assert_array_equal(after.array, before.array)
    np.testing.assert_array_equal(after.affine, before.affine)


def test_another_grid_is_not_put_under_a_series_headers(series: Path, tmp_path: Path) -> None:
    moved = GREY.replace(affine=np.diag([-1.0, -1, 2.5, 1]))
    with pytest.raises(GeometryError):
        io.write(moved, tmp_path / "out", as_="dicom", like=series)


def test_a_picture_becomes_a_secondary_capture(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    written = io.write(io.read(tmp_path / "a.png"), tmp_path / "out", as_="dicom")
    assert written.format == "dicom"
    np.testing.assert_array_equal(io.read(written.files[0]).frames[0, 0], pixels)
