# SPDX-License-Identifier: Apache-2.0
import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clarivox import io, prepared
from clarivox.errors import CancelledError, ModalityError, OptionError, SeriesError
from clarivox.prepared import Entry, entries_of, files_by_subject, plain, preprocess, subject_rule
from clarivox.volume import Channels, Unit, Volume
from tests.dicom_objects import series_of


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 24), np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        picture(tmp_path / "in" / f"jane_doe{number}" / "scan.png", number)
    return tmp_path / "in"


def test_pictures_become_plain_files_without_a_name(folder: Path, tmp_path: Path) -> None:
    outcome = preprocess(folder, tmp_path / "out")
    assert len(outcome.entries) == 4 and not outcome.unreadable
    assert len(files_by_subject(tmp_path / "out")) == 4
    everything = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert b"jane" not in everything
    assert not any("jane" in str(path) for path in (tmp_path / "out").rglob("*"))
    first = entries_of(tmp_path / "out")[0]
    values = io.read(tmp_path / "out" / first.path).values()
    assert any((values == io.read(path).values()).all() for path in folder.rglob("*.png"))


def test_a_volume_can_be_mapped_into_memory(folder: Path, tmp_path: Path) -> None:
    preprocess(folder, tmp_path / "out")
    entry = entries_of(tmp_path / "out")[0]
    mapped = np.memmap(tmp_path / "out" / entry.path, np.uint8, "r", offset=352, shape=entry.shape, order="F")
    assert (mapped == io.read(tmp_path / "out" / entry.path).values()[0]).all()


def test_a_run_that_was_stopped_goes_on_and_ends_as_one_that_was_not(folder: Path, tmp_path: Path) -> None:
    steps: list[object] = []
    with pytest.raises(CancelledError):
        preprocess(folder, tmp_path / "out", progress=lambda step: steps.append(step) or len(steps) < 2)
    with (tmp_path / "out" / prepared.INDEX).open("a") as file:
        file.write('{"path": "volumes/p')  # as a kill leaves it
    outcome = preprocess(folder, tmp_path / "out")
    assert outcome.already == 2 and len(outcome.entries) == 4
    assert len(entries_of(tmp_path / "out")) == 4 == len({entry.path for entry in outcome.entries})


def test_other_settings_want_another_folder(folder: Path, tmp_path: Path) -> None:
    preprocess(folder, tmp_path / "out")
    with pytest.raises(OptionError, match="other settings") as caught:
        preprocess(folder, tmp_path / "out", spacing_mm=(1, 1, 1))
    assert caught.value.code == "other_settings"


def test_what_cannot_be_read_is_named_and_the_rest_is_made(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.nii").write_bytes((b"\0" * 344) + b"n+1\0")
    (folder / "notes.txt").write_text("no image")
    outcome = preprocess(folder, tmp_path / "out")
    assert [name for name, _, _ in outcome.unreadable] == ["broken.nii"]
    assert len(outcome.entries) == 4
    assert "broken.nii" in (tmp_path / "out" / "unreadable.csv").read_text()


def test_values_that_are_no_numbers_are_found(tmp_path: Path) -> None:
    array = np.ones((1, 8, 8, 2), np.float32)
    array[0, 3, 3, 1] = np.nan
    io.write(Volume(array, np.eye(4)), tmp_path / "in" / "a.nii")
    outcome = preprocess(tmp_path / "in", tmp_path / "out")
    assert [code for _, code, _ in outcome.unreadable] == ["not_finite"]


def test_a_folder_without_images_is_said(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(SeriesError) as caught:
        preprocess(tmp_path / "in", tmp_path / "out")
    assert caught.value.code == "empty_folder"
    (tmp_path / "in" / "notes.txt").write_text("no image")
    with pytest.raises(SeriesError) as caught:
        preprocess(tmp_path / "in", tmp_path / "out")
    assert caught.value.code == "empty_folder"


def test_patients_of_dicom_are_told_apart_by_their_id_which_is_not_kept(tmp_path: Path) -> None:
    for number, patient in enumerate(("DOE^1", "DOE^1", "DOE^2")):
        series_of("ct", tmp_path / "in" / f"s{number}", PatientID=patient, SeriesInstanceUID=f"1.2.{number}")
    outcome = preprocess(tmp_path / "in", tmp_path / "out", modalities=("CT",))
    assert sorted(len(paths) for paths in files_by_subject(tmp_path / "out").values()) == [1, 2]
    assert {entry.modality for entry in outcome.entries} == {"CT"}
    digest = hashlib.sha256(b"DOE^1").hexdigest()[:10]
    everything = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert b"DOE" not in everything and digest.encode() not in everything


def test_images_of_another_modality_are_left_out_or_refused(tmp_path: Path) -> None:
    series_of("ct", tmp_path / "in" / "a", SeriesInstanceUID="1.2.1")
    series_of("mr", tmp_path / "in" / "b", SeriesInstanceUID="1.2.2")
    outcome = preprocess(tmp_path / "in", tmp_path / "out", modalities=("CT",))
    assert len(outcome.entries) == 1 and dict(outcome.other_modality) == {"MR": 1}
    with pytest.raises(ModalityError, match="1 CT, 1 MR; wanted US"):
        preprocess(tmp_path / "in", tmp_path / "other", modalities=("US",))


def test_a_table_can_say_which_patient_a_file_belongs_to(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "patients.csv"
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    table.write_text("".join(f"{name},{'ab'[number // 2]}\n" for number, name in enumerate(names)))
    preprocess(folder, tmp_path / "out", patients=table)
    assert sorted(len(paths) for paths in files_by_subject(tmp_path / "out").values()) == [2, 2]
    table.write_text(f"{names[0]},a\n")
    with pytest.raises(OptionError, match="no line for 3 files") as caught:
        preprocess(folder, tmp_path / "other", patients=table)
    assert caught.value.code == "bad_patients"


def test_a_large_folder_is_a_collection_and_no_patient() -> None:
    names = [f"{set_}/{n:03d}_{m}.png" for set_ in ("one", "two") for n in range(25) for m in range(2)]
    assert subject_rule(names)("one/003_1.png") == "003"
    assert subject_rule(names[:80])("one/003_1.png") == "003"
    assert subject_rule(names[:40] + names[60:])("one/003_1.png") == "one"


def test_numbers_are_stored_as_small_as_they_are() -> None:
    affine = np.diag([0.5, 0.5, 2.0, 1.0])
    grey = np.arange(128).reshape(1, 8, 8, 2)
    assert next(plain(Volume(grey.astype(np.int32), affine))).array.dtype == np.uint8
    assert next(plain(Volume(grey - 1000.0, affine))).array.dtype == np.int16
    assert next(plain(Volume(grey / 3, affine))).array.dtype == np.float32


def test_colour_becomes_luma_and_padding_the_least_value() -> None:
    rgb = np.zeros((3, 4, 4, 1), np.uint8)
    rgb[1] = 100
    colour = next(plain(Volume(rgb, np.eye(4), channels=Channels.RGB)))
    assert colour.values()[0, 0, 0, 0] == pytest.approx(58.7)
    padded = np.full((1, 4, 4, 1), -2000, np.int16)
    padded[0, 1:] = 40
    volume = Volume(padded, np.eye(4), padding=np.array([[-2000, -2000]]))
    assert float(next(plain(volume)).values().min()) == 40


def test_volumes_come_to_the_spacing_that_is_wanted_with_their_place_kept() -> None:
    volume = Volume(np.full((1, 10, 12, 4), 30, np.int16), np.diag([0.5, 0.5, 3.0, 1.0]), unit=Unit.HU)
    part = next(plain(volume, (1.0, 1.0, 1.0)))
    assert part.shape == (1, 5, 6, 12) and part.spacing_mm == pytest.approx((1, 1, 1))
    corners = [v.affine @ np.array([-0.5, -0.5, -0.5, 1]) for v in (volume, part)]
    assert np.allclose(*corners)
    assert part.array.dtype == np.uint8 and (part.array == 30).all()


def test_an_entry_says_no_more_than_training_needs() -> None:
    assert set(Entry.__dataclass_fields__) == {"path", "subject", "source", "modality", "shape", "spacing_mm"}
