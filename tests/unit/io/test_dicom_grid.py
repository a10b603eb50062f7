# SPDX-License-Identifier: Apache-2.0
"""What a finer grid changes in a header."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from clarivox.io import read
from clarivox.io.dicom_new import Kind
from clarivox.io.dicom_write import write_series
from tests.dicom_objects import doubled, read_phantom


@pytest.mark.parametrize("kind", [Kind.CT, Kind.MR, Kind.CR, Kind.US, Kind.ENHANCED_CT, Kind.ENHANCED_MR])
def test_the_finer_volume_comes_back_where_it_was(kind: Kind, tmp_path: Path) -> None:
    finer = doubled(read_phantom(kind, tmp_path / "s"))
    write_series(finer, tmp_path / "d")
    back = read(tmp_path / "d")
    np.testing.assert_array_equal(back.array, finer.array)
    np.testing.assert_allclose(back.affine[:3, :3], finer.affine[:3, :3], atol=1e-12)
    if kind not in (Kind.CR, Kind.US):
        np.testing.assert_allclose(back.affine, finer.affine, atol=1e-9)


def test_the_first_pixel_moves_inwards_by_half_of_what_it_lost(tmp_path: Path) -> None:
    volume = read_phantom(Kind.CT, tmp_path / "s")
    ds = pydicom.dcmread(write_series(doubled(volume), tmp_path / "d").files[1])
    assert (ds.Rows, ds.Columns) == (18, 22)
    assert ds.PixelSpacing == [0.4, 0.35]
    assert ds.ImagePositionPatient == [-100 - 0.35 / 2, -90 - 0.4 / 2, -27.5]
    assert ds.SourceImageSequence[0].SpatialLocationsPreserved == "NO"
    assert ds.DerivationCodeSequence[0].CodeValue == "113085"
    assert "may not be in the source" in ds.DerivationDescription


def test_everything_counted_in_pixels_is_counted_anew(tmp_path: Path) -> None:
    extra = {"ShutterLeftVerticalEdge": 2, "VerticesOfThePolygonalShutter": [1, 2, 3, 4], "PixelAspectRatio": [1, 1]}
    volume = read_phantom(Kind.CR, tmp_path / "s", **extra)
    ds = pydicom.dcmread(write_series(doubled(volume), tmp_path / "d").files[0])
    assert ds.ImagerPixelSpacing == [0.4, 0.35]
    assert ds.ShutterLeftVerticalEdge == 4
    assert ds.VerticesOfThePolygonalShutter == [2, 4, 6, 8]
    assert ds.PixelAspectRatio == [1, 1]


def test_ultrasound_regions_cover_the_same_area(tmp_path: Path) -> None:
    volume = read_phantom(Kind.US, tmp_path / "s")
    before = volume.source.headers[0].SequenceOfUltrasoundRegions[0]  # type: ignore[union-attr]
    after = pydicom.dcmread(write_series(doubled(volume), tmp_path / "d").files[0]).SequenceOfUltrasoundRegions[0]
    assert (after.RegionLocationMinX0, after.RegionLocationMaxX1, after.RegionLocationMaxY1) == (0, 21, 17)
    assert after.PhysicalDeltaX == before.PhysicalDeltaX / 2
    assert after.PhysicalUnitsXDirection == before.PhysicalUnitsXDirection


def test_an_enhanced_object_says_so_for_each_frame(tmp_path: Path) -> None:
    volume = read_phantom(Kind.ENHANCED_MR, tmp_path / "s")
    ds = pydicom.dcmread(write_series(doubled(volume), tmp_path / "d").files[0])
    shared, second = ds.SharedFunctionalGroupsSequence[0], ds.PerFrameFunctionalGroupsSequence[1]
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [0.4, 0.35]
    assert shared.MRImageFrameTypeSequence[0].FrameType[0] == "DERIVED"
    assert shared.MRImageFrameTypeSequence[0].FrameType[3] == "RESAMPLED"
    origin = second.DerivationImageSequence[0].SourceImageSequence[0]
    assert origin.ReferencedFrameNumber == 2
    assert origin.ReferencedSOPInstanceUID == volume.source.headers[0].SOPInstanceUID  # type: ignore[union-attr]
    assert "SourceImageEvidenceSequence" in ds
