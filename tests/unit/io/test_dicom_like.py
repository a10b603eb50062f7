# SPDX-License-Identifier: Apache-2.0
"""Volumes of other formats under a series' headers."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from clarivox.errors import GeometryError, OutputError
from clarivox.io import read, write
from clarivox.io.dicom_like import like_series
from clarivox.io.dicom_new import Kind
from clarivox.volume import Channels, Volume
from tests.dicom_objects import DENOISED, read_phantom


@pytest.fixture
def series(tmp_path: Path) -> Volume:
    return read_phantom(Kind.CT, tmp_path / "series")


def values_of(series: Volume) -> Volume:
    """The series' values as a NIfTI would hold them: floating point, other axes, no source."""
    array = series.values().transpose(0, 2, 1, 3)[:, :, ::-1]
    affine = series.affine[:, [1, 0, 2, 3]].copy()
    affine[:3, 3] += affine[:3, 1] * (array.shape[2] - 1)
    affine[:3, 1] *= -1
    return Volume(array, affine)


def test_turned_axes_are_turned_back_and_values_requantised(series: Volume) -> None:
    found, notes = like_series(values_of(series), series)
    np.testing.assert_array_equal(found.array, series.array)
    assert notes == ()
    assert found.source is series.source


def test_a_nifti_of_a_series_goes_back_to_dicom(series: Volume, tmp_path: Path) -> None:
    write(series, tmp_path / "a.nii.gz")
    nifti = read(tmp_path / "a.nii.gz").replace(provenance=DENOISED)
    written = write(nifti, tmp_path / "d", as_="dicom", like=tmp_path / "series")
    np.testing.assert_array_equal(read(tmp_path / "d").array, series.array)
    assert pydicom.dcmread(written.files[0]).PatientID == "PHANTOM"


def test_values_that_do_not_fit_are_clipped_and_counted(series: Volume) -> None:
    volume = values_of(series)
    volume.array[0, 0, 0, 0], volume.array[0, 1, 1, 1] = 1e6, np.nan
    found, notes = like_series(volume, series)
    assert found.array.max() == 32767
    assert notes == ("2 voxels did not fit the series' stored range and were clipped",)


def test_padding_of_the_series_stays(series: Volume) -> None:
    padded = series.array.copy(order="K")
    padded[0, 0, 0, :] = -2000
    found, _ = like_series(values_of(series), series.replace(array=padded))
    assert (found.array[0, 0, 0, :] == -2000).all()


def test_another_grid_is_refused_by_name(series: Volume) -> None:
    volume = values_of(series)
    moved = volume.affine.copy()
    moved[0, 3] += 1
    tilted = volume.affine @ np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    for wrong in (
        volume.replace(affine=moved),
        volume.replace(affine=tilted),
        volume.replace(array=volume.array[:, :-1]),
    ):
        with pytest.raises(GeometryError) as caught:
            like_series(wrong, series)
        assert caught.value.code == "grid_differs"
    with pytest.raises(OutputError):
        like_series(volume.replace(array=volume.array.repeat(3, 0), channels=Channels.VOLUMES), series)
