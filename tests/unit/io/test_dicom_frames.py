# SPDX-License-Identifier: Apache-2.0
"""Multi-frame objects: frames find their place in space, among volumes, or in time."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from clarivox.errors import FormatError, GeometryError, RescaleError
from clarivox.io.dicom_read import read_dicom, scan_dicom
from clarivox.io.dicom_source import DicomSource
from clarivox.volume import Axis, Channels, Fault, Volume
from tests import toys

US_CLIP = "1.2.840.10008.5.1.4.1.1.3.1"


def volume_of(dataset: Dataset, folder: Path, *, allow_uneven: bool = False) -> Volume:
    (info,) = scan_dicom(toys.write([dataset], folder))
    return read_dicom(info, allow_uneven=allow_uneven)


def clip(frames: np.ndarray, photometric: str) -> Dataset:
    """An ultrasound clip, uint8 of shape (frames, rows, columns[, 3])."""
    d = toys.ct_slice(0, series=4)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept"):
        delattr(d, keyword)
    d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID = US_CLIP
    d.Modality, d.PhotometricInterpretation, d.NumberOfFrames = "US", photometric, len(frames)
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 8, 8, 7, 0
    d.Rows, d.Columns = frames.shape[1:3]
    d.SamplesPerPixel = 1 if frames.ndim == 3 else 3
    d.PlanarConfiguration = 0
    d.PixelData = frames.tobytes()
    d["PixelData"].VR = "OB"
    return d


def test_frames_of_an_enhanced_object_are_sorted_by_position(tmp_path: Path) -> None:
    volume = volume_of(toys.enhanced_mr(slices=4), tmp_path)
    assert volume.shape == (1, 32, 24, 4)
    assert np.array_equal(volume.array[0, :, :, 1].T, toys.pixels(1))
    assert volume.affine.tolist() == [[-0.5, 0, 0, 10], [0, -0.75, 0, 20], [0, 0, 2, 0], [0, 0, 0, 1]]
    assert volume.slope.tolist() == [2, 2, 2, 2]
    assert isinstance(volume.source, DicomSource)
    assert volume.source.placement.tolist() == [[[0, 3], [0, 2], [0, 1], [0, 0]]]
    assert "PixelData" not in volume.source.headers[0]


def test_a_full_grid_of_volumes_and_slices_becomes_channels(tmp_path: Path) -> None:
    volume = volume_of(toys.enhanced_mr(slices=3, volumes=2), tmp_path)
    assert volume.channels is Channels.VOLUMES
    assert volume.shape == (2, 32, 24, 3)
    for v in range(2):
        for z in range(3):
            assert np.array_equal(volume.array[v, :, :, z].T, toys.pixels(z + 100 * v).astype(np.int16))


def test_a_grid_with_a_hole_needs_allow_uneven(tmp_path: Path) -> None:
    dataset = toys.enhanced_mr(slices=3, volumes=2)
    dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient = [-10.0, -20.0, 40.0]
    with pytest.raises(GeometryError, match="no full grid"):
        volume_of(dataset, tmp_path)
    volume = volume_of(dataset, tmp_path, allow_uneven=True)
    assert volume.irregular is not None
    assert volume.irregular.fault is Fault.UNRELATED
    assert volume.shape == (1, 32, 24, 6)


def test_volumes_with_different_slopes_at_one_slice_are_refused(tmp_path: Path) -> None:
    dataset = toys.enhanced_mr(slices=2, volumes=2)
    own = Dataset()
    own.RescaleSlope, own.RescaleIntercept, own.RescaleType = "3", "0", "US"
    dataset.PerFrameFunctionalGroupsSequence[0].PixelValueTransformationSequence = [own]
    with pytest.raises(RescaleError) as caught:
        volume_of(dataset, tmp_path)
    assert caught.value.code == "mixed_rescale"


def test_functional_groups_for_another_number_of_frames_are_refused(tmp_path: Path) -> None:
    dataset = toys.enhanced_mr(slices=3)
    del dataset.PerFrameFunctionalGroupsSequence[0]
    with pytest.raises(FormatError) as caught:
        volume_of(dataset, tmp_path)
    assert caught.value.code == "damaged_functional_groups"


@pytest.mark.parametrize(
    ("photometric", "channels"),
    [("RGB", Channels.RGB), ("YBR_FULL", Channels.YBR), ("PALETTE COLOR", Channels.PALETTE)],
)
def test_a_clip_keeps_its_own_colour_space_and_runs_in_time(
    photometric: str, channels: Channels, tmp_path: Path
) -> None:
    shape = (3, 6, 8) if photometric == "PALETTE COLOR" else (3, 6, 8, 3)
    frames = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    volume = volume_of(clip(frames, photometric), tmp_path)
    assert volume.channels is channels
    assert volume.third_axis is Axis.TIME
    wanted = frames[..., None] if frames.ndim == 3 else frames
    assert np.array_equal(volume.array.transpose(3, 2, 1, 0), wanted)


def test_colour_by_plane_and_by_pixel_give_the_same_volume(tmp_path: Path) -> None:
    frames = np.random.default_rng(1).integers(0, 255, (2, 6, 8, 3), np.uint8)
    by_plane = clip(frames, "RGB")
    by_plane.PlanarConfiguration = 1
    by_plane.PixelData = frames.transpose(0, 3, 1, 2).tobytes()
    by_plane["PixelData"].VR = "OB"
    volume = volume_of(by_plane, tmp_path)
    assert np.array_equal(volume.array.transpose(3, 2, 1, 0), frames)


def test_half_resolution_chroma_is_repeated(tmp_path: Path) -> None:
    dataset = clip(np.zeros((1, 2, 2, 3), np.uint8), "YBR_FULL_422")
    dataset.PixelData = bytes([10, 20, 100, 200, 30, 40, 101, 201])
    dataset["PixelData"].VR = "OB"
    volume = volume_of(dataset, tmp_path)
    assert volume.channels is Channels.YBR
    luma, blue, red = volume.frames[:, 0].tolist()
    assert luma == [[10, 20], [30, 40]]
    assert blue == [[100, 100], [101, 101]]
    assert red == [[200, 200], [201, 201]]


def test_an_ultrasound_region_in_centimetres_gives_the_spacing(tmp_path: Path) -> None:
    dataset = clip(np.zeros((2, 6, 8), np.uint8), "MONOCHROME2")
    del dataset.PixelSpacing
    region = Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.03, 0.02
    dataset.SequenceOfUltrasoundRegions = [region]
    assert np.allclose(volume_of(dataset, tmp_path).spacing_mm, (0.3, 0.2, 1))


def test_frames_without_places_that_are_no_clip_need_allow_uneven(tmp_path: Path) -> None:
    dataset = clip(np.zeros((2, 6, 8), np.uint8), "MONOCHROME2")
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    with pytest.raises(GeometryError, match="no positions"):
        volume_of(dataset, tmp_path)
