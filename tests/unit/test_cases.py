# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from clarivox import io
from clarivox.cases import FolderCases, patients_of, pictures_for
from clarivox.degradations import parsed
from clarivox.errors import FormatError, SeriesError
from clarivox.evaluation import Case
from clarivox.io.dicom_new import new_series, save_series
from clarivox.phantoms import mr
from clarivox.protocols import DncnnGray
from clarivox.scores import Failure
from clarivox.volume import Volume


def grey(seed: int = 0, side: int = 32) -> Volume:
    array = np.random.default_rng(seed).integers(60, 200, (1, side, side, 1)).astype(np.uint8)
    return Volume(np.asfortranarray(array), np.eye(4), stored_range=(0, 255))


def folder(tmp_path: Path) -> Path:
    for number in range(3):
        io.write(grey(number), tmp_path / "data" / f"p{number % 2}" / f"{number}.png")
    (tmp_path / "data" / "torn.png").write_bytes((tmp_path / "data" / "p0" / "0.png").read_bytes()[:90])
    (tmp_path / "data" / "notes.txt").write_text("no image")
    return tmp_path / "data"


def test_each_image_is_a_case_made_worse_and_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    cases = FolderCases(folder(tmp_path), parsed("gaussian:0.1"))
    found = list(cases)
    assert len(cases) == len(found) == 4
    good = [case for case in found if isinstance(case, Case)]
    assert [case.name for case in good] == ["p0/0.png", "p0/2.png", "p1/1.png"]
    assert [case.patient for case in good] == ["p0", "p0", "p1"]
    assert all((case.truth.array == grey(n).array).all() for case, n in zip(good, (0, 2, 1), strict=True))
    assert [one.case for one in found if isinstance(one, Failure)] == ["torn.png"]


def test_truths_are_found_by_name(tmp_path: Path) -> None:
    data = folder(tmp_path)
    for number in (0, 1):
        io.write(grey(10 + number), tmp_path / "truth" / f"{number}.png")
    found = {
        one.name if isinstance(one, Case) else one.case: one for one in FolderCases(data, reference=tmp_path / "truth")
    }
    assert (found["p1/1.png"].truth.array == grey(11).array).all()
    assert found["p0/2.png"].code == "no_truth"


def test_patients_can_be_told_by_a_table(tmp_path: Path) -> None:
    table = tmp_path / "who.csv"
    table.write_text("image_id,patient_id\n0,anna\n1,anna\n2,ben\n")
    cases = FolderCases(folder(tmp_path), patients=patients_of(table))
    assert [case.patient for case in cases if isinstance(case, Case)] == ["anna", "ben", "anna"]
    table.write_text("a,b\n1,2\n")
    with pytest.raises(FormatError, match="column patient"):
        patients_of(table)


def test_patients_of_dicom_are_told_apart_without_being_named(tmp_path: Path) -> None:
    for number, patient in enumerate(("anna", "ben", "anna")):
        made = new_series(mr(size=64, slices=1, seed=number)[0], "mr", patient_id=patient, seed=number)
        save_series(made, tmp_path / str(number))
    cases = list(FolderCases(tmp_path))
    assert sorted(case.name for case in cases) == ["001-MR", "002-MR", "003-MR"]
    told = [case.patient for case in cases]
    assert len(set(told)) == 2 and not {"anna", "ben"} & set(told)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(SeriesError, match="no image"):
        len(FolderCases(tmp_path))


def test_a_protocol_takes_the_pictures_of_a_folder(tmp_path: Path) -> None:
    truths, failures = pictures_for(DncnnGray(25), folder(tmp_path))
    assert [name for name, _ in truths] == ["p0/0.png", "p0/2.png", "p1/1.png"]
    assert truths[0][1].shape == (1, 32, 32) and [one.case for one in failures] == ["torn.png"]
