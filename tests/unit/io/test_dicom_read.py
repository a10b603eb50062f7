# SPDX-License-Identifier: Apache-2.0
"""What a volume from DICOM carries: numbers, units, padding, polarity, headers, notes."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from clarivox.errors import CancelledError, FormatError, TruncatedError
from clarivox.io.dicom_read import is_dicom, read_dicom, scan_dicom
from clarivox.io.series import SeriesInfo
from clarivox.progress import Step
from clarivox.volume import Unit, Volume
from tests import toys
from tests.benchmarks.pitfalls import expected, right


def volume_of(datasets: list[Dataset], folder: Path) -> Volume:
    (info,) = scan_dicom(toys.write(datasets, folder))
    return read_dicom(info)


def test_a_plain_series_is_read_as_stored_with_its_unit(tmp_path: Path) -> None:
    volume = volume_of(toys.ct_series(), tmp_path)
    assert right(volume)
    assert volume.unit is Unit.HU
    assert volume.modality == "CT"
    assert volume.stored_range == (-32768, 32767)
    assert volume.frames.flags.c_contiguous
    assert volume.padding is None
    assert volume.notes == ()


def test_a_single_slice_takes_its_depth_from_the_header(tmp_path: Path) -> None:
    assert volume_of([toys.ct_slice(3)], tmp_path).spacing_mm == (0.5, 0.75, 1.25)


def test_padding_is_read_as_the_pixels_are_whatever_the_vr_says(tmp_path: Path) -> None:
    series = toys.ct_series()[:2]
    series[0].add_new(0x00280120, "US", 63536)
    series[1].add_new(0x00280120, "SS", -2000)
    series[1].add_new(0x00280121, "SS", -1990)
    volume = volume_of(series, tmp_path)
    assert volume.padding is not None
    assert volume.padding.tolist() == [[-2000, -2000], [-2000, -1990]]


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless]
)
def test_every_uncompressed_syntax_and_rle_give_the_same_voxels(syntax: str, tmp_path: Path) -> None:
    series = toys.ct_series()[:3]
    for number, one in enumerate(series):
        if syntax == RLELossless:
            one.compress(RLELossless, generate_instance_uid=False)
        elif syntax == ExplicitVRBigEndian:
            one.PixelData = toys.pixels(number).astype(">i2").tobytes()
        one.file_meta.TransferSyntaxUID = syntax
        one.save_as(tmp_path / str(number), enforce_file_format=True)
    (info,) = scan_dicom(tmp_path)
    volume = read_dicom(info)
    assert right(volume, expected(range(3)))
    assert volume.array.dtype == np.int16
    assert volume.array.dtype.isnative


def test_mixed_syntaxes_in_one_series_make_one_volume(tmp_path: Path) -> None:
    series = toys.ct_series()
    for one in series[::2]:
        one.compress(RLELossless, generate_instance_uid=False)
    (info,) = scan_dicom(toys.write(series, tmp_path))
    assert info.encoding == "RLE, explicit VR little-endian"
    assert right(read_dicom(info))


def test_a_file_without_preamble_is_read_with_a_note(tmp_path: Path) -> None:
    path = toys.write([toys.ct_slice(0)], tmp_path / "whole") / "000-0"
    data = path.read_bytes()
    (tmp_path / "bare").mkdir()
    bare = tmp_path / "bare" / "file"
    bare.write_bytes(data[data.index(b"\x08\x00\x08\x00CS") :])
    assert is_dicom(bare)
    (info,) = scan_dicom(bare)
    volume = read_dicom(info)
    assert np.array_equal(volume.array[0, :, :, 0].T, toys.pixels(0))
    assert any("preamble" in note for note in volume.notes)


def test_pet_in_becquerels_and_mr_have_their_units(tmp_path: Path) -> None:
    pet, mr = toys.ct_slice(0, series=5), toys.ct_slice(0, series=6)
    pet.SOPClassUID, pet.Modality, pet.Units = "1.2.840.10008.5.1.4.1.1.128", "PT", "BQML"
    mr.SOPClassUID, mr.Modality = "1.2.840.10008.5.1.4.1.1.4", "MR"
    found = scan_dicom(toys.write([pet, mr], tmp_path))
    assert {info.modality: info.unit for info in found} == {"PT": "Bq/ml", "MR": "relative"}
    assert {read_dicom(info).unit for info in found} == {Unit.BQML, Unit.RELATIVE}


def test_radiographs_of_one_series_are_pictures_of_their_own(tmp_path: Path) -> None:
    views = [toys.ct_slice(number) for number in range(2)]
    for one in views:
        one.SOPClassUID, one.Modality = "1.2.840.10008.5.1.4.1.1.1.1", "DX"
        one.ImagerPixelSpacing = [0.2, 0.1]
        del one.PixelSpacing
        del one.ImagePositionPatient
    found = scan_dicom(toys.write(views, tmp_path))
    assert [info.part for info in found] == ["image 1", "image 2"]
    assert len({info.key for info in found}) == 2
    volume = read_dicom(found[1])
    assert volume.spacing_mm == (0.1, 0.2, 1.0)
    assert any("detector" in note for note in volume.notes)


def test_the_listing_can_be_json_and_still_be_read(tmp_path: Path) -> None:
    (info,) = scan_dicom(toys.write(toys.ct_series(), tmp_path))
    plain = json.loads(json.dumps(asdict(info)))
    assert plain["shape"] == [1, 32, 24, 12]
    assert plain["kind"] == "CT image"
    again = SeriesInfo(**{**plain, "files": tuple(plain["files"])})
    assert right(read_dicom(again))
    with pytest.raises(FormatError):
        read_dicom(SeriesInfo(key="other", format="dicom", files=info.files))


def test_one_bad_file_does_not_hide_the_others(tmp_path: Path) -> None:
    toys.write(toys.two_series(), tmp_path)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    whole = (tmp_path / "000-0").read_bytes()
    (tmp_path / "deep" / "er" / "cut").write_bytes(whole[:-40])
    (tmp_path / "notes.txt").write_text("nothing")
    found = scan_dicom(tmp_path)
    assert sorted(info.error_code for info in found) == ["", "", "truncated_pixel_data"]


def test_headers_stay_with_the_volume_in_order_and_without_pixels(tmp_path: Path) -> None:
    source = volume_of(toys.reversed_numbers(), tmp_path).source
    assert source is not None
    assert [one.InstanceNumber for one in source.headers] == list(range(12, 0, -1))  # type: ignore[attr-defined]
    assert all("PixelData" not in one for one in source.headers)  # type: ignore[attr-defined]
    assert source.headers[0].file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"  # type: ignore[attr-defined]


def test_progress_is_told_and_can_stop_the_reading(tmp_path: Path) -> None:
    (info,) = scan_dicom(toys.write(toys.ct_series(), tmp_path))
    seen: list[Step] = []
    read_dicom(info, progress=seen.append)  # type: ignore[arg-type]
    assert len(seen) == toys.SLICES
    assert seen[-1].fraction == 1
    with pytest.raises(CancelledError):
        read_dicom(info, progress=lambda step: step.fraction < 0.5)


def test_a_file_that_went_away_after_the_scan_is_named_so(tmp_path: Path) -> None:
    (info,) = scan_dicom(toys.write(toys.ct_series(), tmp_path))
    Path(info.files[3]).unlink()
    with pytest.raises(FormatError) as caught:
        read_dicom(info)
    assert caught.value.code == "not_readable"


def test_a_file_cut_after_the_scan_is_named_so(tmp_path: Path) -> None:
    (info,) = scan_dicom(toys.write(toys.ct_series(), tmp_path))
    path = Path(info.files[3])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(TruncatedError):
        read_dicom(info)


def test_a_mosaic_is_refused_by_name(tmp_path: Path) -> None:
    dataset = toys.ct_slice(0)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    (info,) = scan_dicom(toys.write([dataset], tmp_path))
    assert info.error_code == "mosaic"


def test_a_modality_look_up_table_leaves_values_without_a_unit(tmp_path: Path) -> None:
    dataset = toys.ct_slice(0)
    dataset.ModalityLUTSequence = [Dataset()]
    volume = volume_of([dataset], tmp_path)
    assert volume.unit is Unit.RELATIVE
    assert any("look-up table" in note for note in volume.notes)
