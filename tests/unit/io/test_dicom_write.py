# SPDX-License-Identifier: Apache-2.0
"""What a derived series says, keeps and leaves out."""

import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset

from clarivox.errors import OptionError, OutputError
from clarivox.io import read
from clarivox.io.dicom_derive import CHANGED, DROPPED
from clarivox.io.dicom_encode import tag_and_vr
from clarivox.io.dicom_new import Kind
from clarivox.io.dicom_write import write_series
from clarivox.volume import Provenance, Volume
from tests.dicom_objects import DENOISED, IDENTITY, read_phantom


@pytest.fixture
def ct(tmp_path: Path) -> Volume:
    return read_phantom(Kind.CT, tmp_path / "source").replace(provenance=DENOISED)


def derived(volume: Volume, folder: Path, number: int = 0) -> Dataset:
    return pydicom.dcmread(write_series(volume, folder).files[number])


def source(volume: Volume, number: int = 0) -> Dataset:
    return pydicom.dcmread(volume.source.files[number])  # type: ignore[union-attr]


def test_the_same_volume_gives_the_same_bytes_again(ct: Volume, tmp_path: Path) -> None:
    first, again = write_series(ct, tmp_path / "a"), write_series(ct, tmp_path / "b")
    assert [file.name for file in first.files] == ["IM0001.dcm", "IM0002.dcm", "IM0003.dcm"]
    for one, other in zip(first.files, again.files, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_where_and_how_long_it_ran_changes_no_byte(ct: Volume, tmp_path: Path) -> None:
    elsewhere = Provenance(**{**vars(DENOISED), "device": "cuda:0", "seconds": 9.0})
    one, other = write_series(ct, tmp_path / "a"), write_series(ct.replace(provenance=elsewhere), tmp_path / "b")
    assert one.files[0].read_bytes() == other.files[0].read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"strength": 0.7},
        {"version": "2"},
        {"digest": "00"},
        {"options": {"rank": 3}},
        {"bundle": "x"},
        {"forced": True},
        {"engine": "openvino"},
    ],
)
def test_whatever_changes_the_result_changes_the_identifiers(
    change: dict[str, object], ct: Volume, tmp_path: Path
) -> None:
    run = Provenance(**{**vars(DENOISED), **change})  # type: ignore[arg-type]
    one, other = derived(ct, tmp_path / "a"), derived(ct.replace(provenance=run), tmp_path / "b")
    assert one.SOPInstanceUID != other.SOPInstanceUID
    assert one.SeriesInstanceUID != other.SeriesInstanceUID
    assert one.StudyInstanceUID == other.StudyInstanceUID


def test_what_is_neither_changed_nor_dropped_stays_byte_for_byte(ct: Volume, tmp_path: Path) -> None:
    before, after = source(ct), derived(ct, tmp_path / "d")
    touched = {tag_and_vr(keyword)[0] for keyword in (*CHANGED, *DROPPED)}
    kept = [tag for tag in before.keys() if tag not in touched]  # noqa: SIM118
    assert len(kept) > 30
    for tag in kept:
        assert after.get_item(tag).value == before.get_item(tag).value, tag
    assert set(map(int, after.keys())) - set(map(int, before.keys())) <= touched


def test_the_file_names_itself_alike_inside_and_outside(ct: Volume, tmp_path: Path) -> None:
    ds = derived(ct, tmp_path / "d")
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    assert ds.file_meta.MediaStorageSOPClassUID == ds.SOPClassUID
    assert ds.preamble == bytes(128)
    assert (tmp_path / "d" / "IM0001.dcm").read_bytes()[128:132] == b"DICM"


def test_it_says_what_it_is_derived_from(ct: Volume, tmp_path: Path) -> None:
    before, ds = source(ct), derived(ct, tmp_path / "d")
    assert list(ds.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
    assert ds.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert ds.SourceImageSequence[0].SpatialLocationsPreserved == "YES"
    series = ds.ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == before.SeriesInstanceUID
    assert len(series.ReferencedInstanceSequence) == 3
    assert ds.DerivationCodeSequence[0].CodeValue == "113087"
    assert "denoise by mr_unet_denoise 1.0, cdcdcdcdcdcd, strength 0.5" in ds.DerivationDescription
    assert ds.SeriesNumber == 101
    assert ds.SeriesDescription.endswith("[mr_unet_denoise]")


def test_equipment_is_added_to_what_stood_there(tmp_path: Path) -> None:
    before = Dataset()
    before.Manufacturer = "Früher"
    phantom = read_phantom(Kind.CT, tmp_path / "s", ContributingEquipmentSequence=[before])
    items = derived(phantom.replace(provenance=DENOISED), tmp_path / "d").ContributingEquipmentSequence
    assert [one.Manufacturer for one in items] == ["Früher", "clarivox"]
    assert items[1].SoftwareVersions[1] == "cd" * 32


def test_a_long_description_is_cut_and_the_bundle_still_named(tmp_path: Path) -> None:
    phantom = read_phantom(Kind.CT, tmp_path / "s", SeriesDescription="ü" * 64)
    found = derived(phantom.replace(provenance=DENOISED), tmp_path / "d").SeriesDescription
    assert len(found) == 64
    assert found.endswith("ü [mr_unet_denoise]")


@pytest.mark.parametrize("room", [0, 64])
def test_a_series_that_may_show_invented_texture_says_so_in_its_description(tmp_path: Path, room: int) -> None:
    phantom = read_phantom(Kind.CT, tmp_path / "s", SeriesDescription="a" * room)
    run = Provenance(**{**vars(DENOISED), "may_invent": True})
    found = derived(phantom.replace(provenance=run), tmp_path / "d")
    assert found.SeriesDescription.endswith("[mr_unet_denoise, may invent texture]")
    assert len(found.SeriesDescription) <= 64
    assert "may invent texture" in found.DerivationDescription


def test_no_clock_enters_unless_it_is_given(ct: Volume, tmp_path: Path) -> None:
    plain = derived(ct, tmp_path / "a")
    assert "InstanceCreationDate" not in plain
    dated = pydicom.dcmread(write_series(ct, tmp_path / "b", made_at=datetime(2027, 3, 4, 5, 6, 7)).files[0])
    assert (dated.InstanceCreationDate, dated.ContentDate, dated.SeriesTime) == ("20270304", "20270304", "050607")
    assert dated.AcquisitionDate == plain.AcquisitionDate
    assert dated.ContributingEquipmentSequence[0].ContributionDateTime == "20270304050607"
    assert dated.SOPInstanceUID == plain.SOPInstanceUID


def test_dropped_elements_are_gone_at_any_depth(tmp_path: Path) -> None:
    inner = Dataset()
    inner.add_new(0x00291010, "LO", "hidden")
    inner.CodeMeaning = "shown"
    extra = {
        "InstanceCreationDate": "20200101",
        "SmallestImagePixelValue": 0,
        "PerformedProcedureStepID": "1",
        "AnatomicRegionSequence": [inner],
    }
    ds = derived(read_phantom(Kind.CT, tmp_path / "s", **extra).replace(provenance=DENOISED), tmp_path / "d")
    for keyword in set(extra) - {"AnatomicRegionSequence"}:
        assert keyword not in ds
    assert ds.AnatomicRegionSequence[0].CodeMeaning == "shown"
    assert 0x00291010 not in ds.AnatomicRegionSequence[0]


def test_private_elements_go_unless_their_creator_is_named(tmp_path: Path) -> None:
    volume = read_phantom(Kind.CT, tmp_path / "s")
    for file in volume.source.files:  # type: ignore[union-attr]
        ds = pydicom.dcmread(file)
        ds.private_block(0x0029, "KEEP ME", create=True).add_new(1, "LO", "kept")
        ds.private_block(0x0029, "DROP ME", create=True).add_new(1, "LO", "dropped")
        ds.save_as(file)
    volume = read(tmp_path / "s").replace(provenance=DENOISED)
    without = write_series(volume, tmp_path / "a")
    assert "6 private elements" in without.notes[0]
    assert not [e for e in pydicom.dcmread(without.files[0]) if e.tag.is_private]
    kept = pydicom.dcmread(write_series(volume, tmp_path / "b", keep_private=("KEEP ME",)).files[0])
    assert [e.value for e in kept if e.tag.is_private] == ["KEEP ME", "kept"]


def test_a_deidentified_root_is_kept(tmp_path: Path) -> None:
    volume = read_phantom(
        Kind.CT, tmp_path / "s", PatientIdentityRemoved="YES", SeriesInstanceUID="1.3.6.1.4.1.14519.5.2.1.77"
    )
    ds = derived(volume.replace(provenance=DENOISED), tmp_path / "d")
    assert ds.SeriesInstanceUID.startswith("1.3.6.1.4.1.14519.5.2.1.")
    assert ds.SeriesInstanceUID != "1.3.6.1.4.1.14519.5.2.1.77"


def test_a_change_that_nobody_explains_is_said_to_be_one(ct: Volume, tmp_path: Path) -> None:
    changed = ct.replace(array=ct.array + np.int16(1), provenance=None)
    ds, same = derived(changed, tmp_path / "a"), derived(ct.replace(provenance=None), tmp_path / "b")
    assert ds.ImageType[0] == "DERIVED"
    assert "change by the user" in ds.DerivationDescription
    assert ds.SOPInstanceUID != same.SOPInstanceUID


def test_pixels_of_every_kind_come_back_as_they_were(tmp_path: Path) -> None:
    for kind in Kind:
        volume = read_phantom(kind, tmp_path / kind)
        for compress in (None, "jpegls"):
            target = tmp_path / f"{kind} {compress}"
            write_series(volume.replace(provenance=IDENTITY), target, compress=compress)
            np.testing.assert_array_equal(read(target).array, volume.array)


def test_a_frame_that_would_grow_is_left_uncompressed(tmp_path: Path) -> None:
    volume = read_phantom(Kind.SC, tmp_path / "s").replace(provenance=IDENTITY)
    written = write_series(volume, tmp_path / "d", compress="jpegls")
    assert written.notes == ("1 instances would have grown by compression and were left uncompressed",)


def test_each_slice_of_an_uneven_series_keeps_its_own_place(tmp_path: Path) -> None:
    volume = read_phantom(Kind.CT, tmp_path / "s")
    for file, z in zip(volume.source.files, (0, 2.5, 9), strict=True):  # type: ignore[union-attr]
        ds = pydicom.dcmread(file)
        ds.ImagePositionPatient = [0, 0, z]
        ds.save_as(file)
    uneven = read(tmp_path / "s", allow_uneven=True)
    written = write_series(uneven.replace(provenance=IDENTITY), tmp_path / "d")
    assert [float(pydicom.dcmread(file).ImagePositionPatient[2]) for file in written.files] == [0, 2.5, 9]


def test_what_cannot_be_derived_is_refused_by_name(ct: Volume, tmp_path: Path) -> None:
    for volume, code in (
        (ct.replace(source=None), "needs_like"),
        (ct.replace(array=ct.array.astype(np.float32)), "dtype_changed"),
        (ct.replace(array=ct.array[:, :-1]), "grid_changed"),
        (ct.replace(array=ct.array[..., :-1], slope=np.ones(1), intercept=np.zeros(1), padding=None), "grid_changed"),
    ):
        with pytest.raises(OutputError) as caught:
            write_series(volume, tmp_path / "d")
        assert caught.value.code == code
    with pytest.raises(OptionError, match="jpegls or none"):
        write_series(ct, tmp_path / "d", compress="jpeg")
    assert not (tmp_path / "d").exists()


def test_an_existing_series_is_kept_unless_told(ct: Volume, tmp_path: Path) -> None:
    write_series(ct, tmp_path / "d")
    with pytest.raises(OutputError) as caught:
        write_series(ct, tmp_path / "d")
    assert caught.value.code == "output_exists"
    write_series(ct.replace(provenance=IDENTITY), tmp_path / "d", overwrite=True)
    assert pydicom.dcmread(tmp_path / "d" / "IM0001.dcm").SeriesNumber == 104


def test_the_source_is_never_replaced(ct: Volume, tmp_path: Path) -> None:
    before = (tmp_path / "source" / "IM0001.dcm").read_bytes()
    for target in ("source", "source/IM0001.dcm"):
        with pytest.raises(OutputError, match="made of"):
            write_series(ct, tmp_path / target, overwrite=True)
    assert (tmp_path / "source" / "IM0001.dcm").read_bytes() == before


def test_one_instance_may_go_to_a_file(ct: Volume, tmp_path: Path) -> None:
    single = read_phantom(Kind.CR, tmp_path / "cr").replace(provenance=IDENTITY)
    assert write_series(single, tmp_path / "a.dcm").files == (tmp_path / "a.dcm",)
    assert pydicom.dcmread(tmp_path / "a.dcm").ImageType[0] == "DERIVED"
    with pytest.raises(OutputError, match="3 instances"):
        write_series(ct, tmp_path / "b.dcm")


def test_other_peoples_images_are_never_replaced(ct: Volume, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "IM0001.dcm").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(OutputError, match="did not write"):
        write_series(ct, tmp_path / "theirs", overwrite=True)


def test_a_kill_while_writing_leaves_no_series(ct: Volume, tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from clarivox.io import read
from clarivox.io.dicom_write import write_series
def wait(share):
    print("written", flush=True)
    time.sleep(60)
write_series(read(sys.argv[1]), Path(sys.argv[2]) / "d", tell=wait)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "source"), str(tmp_path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "written\n"
    child.send_signal(signal.SIGKILL)
    child.wait(60)
    child.stdout.close()
    assert not (tmp_path / "d").exists()
