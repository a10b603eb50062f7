# SPDX-License-Identifier: Apache-2.0
"""What a file is decides how it is read; a folder's every file is listed."""

import gzip
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clarivox import io
from clarivox.errors import CancelledError, ClarivoxError, FormatError, LimitError, SeriesError
from clarivox.io import Limits, Unreadable
from clarivox.io.dicom_new import Kind, new_series, save_series
from clarivox.io.sniff import kind_of
from clarivox.volume import Volume

GREY = Volume(np.arange(60, dtype=np.int16).reshape(1, 5, 4, 3), np.diag([1.0, 1, 2, 1]))


@pytest.fixture
def mixture(tmp_path: Path) -> Path:
    """A DICOM series, a NIfTI, a NRRD and a PNG file, a text and an empty file, in sub-folders, names misleading."""
    root = tmp_path / "in"
    (root / "deep" / "er").mkdir(parents=True)
    save_series(new_series(GREY, Kind.CT), root / "deep" / "series")
    io.write(GREY, root / "deep" / "a.nii.gz")
    (root / "deep" / "a.nii.gz").rename(root / "deep" / "a.txt")
    io.write(GREY, root / "deep" / "er" / "b.nrrd")
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(root / "c.png")
    (root / "c.png").rename(root / "c.dcm")
    (root / "notes.nii").write_text("this is text, and long enough to be looked at for a while" * 20)
    (root / "empty.dcm").write_bytes(b"")
    (root / ".hidden").write_text("x")
    return root


def test_everything_in_a_folder_is_listed(mixture: Path) -> None:
    found = {(info.format, info.usable, info.error_code) for info in io.scan(mixture)}
    assert found == {
        ("dicom", True, ""),
        ("nifti", True, ""),
        ("nrrd", True, ""),
        ("image", True, ""),
        ("", False, "unsupported_format"),
        ("", False, "empty_file"),
    }


def test_one_of_several_is_chosen_by_key_uid_or_place(mixture: Path) -> None:
    infos = io.scan(mixture)
    with pytest.raises(SeriesError, match=r"deep/a\.txt"):
        io.read(mixture)
    assert io.read(mixture, series="deep/a.txt").shape == GREY.shape
    dicom = next(info for info in infos if info.format == "dicom")
    assert io.read(mixture, series=dicom.series_uid).modality == "CT"
    assert io.read(mixture, series=infos.index(dicom)).modality == "CT"
    for wrong in ("no such", 99, -1):
        with pytest.raises(SeriesError) as caught:
            io.read(mixture, series=wrong)
        assert caught.value.code == "no_series"


def test_all_are_read_and_what_cannot_be_is_given_as_such(mixture: Path) -> None:
    results = list(io.read_all(mixture))
    assert sum(isinstance(result, Volume) for result in results) == 4
    unreadable = {result.error.code for result in results if isinstance(result, Unreadable)}
    assert unreadable == {"unsupported_format", "empty_file"}


def test_a_zip_is_read_as_a_folder(mixture: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in mixture.rglob("*"):
            if file.is_file():
                archive.write(file, file.relative_to(mixture))
    results = list(io.read_all(tmp_path / "a.zip"))
    assert sum(isinstance(result, Volume) for result in results) == 4


def test_an_empty_folder_and_a_folder_without_images_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SeriesError) as caught:
        io.scan(tmp_path)
    assert caught.value.code == "empty_folder"
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(FormatError):
        io.read(tmp_path)
    (tmp_path / "b.txt").write_text("b")
    with pytest.raises(SeriesError, match="none of the files"):
        io.read(tmp_path)


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        io.read(tmp_path / "absent.nii")
    assert caught.value.code == "not_found"


def test_too_many_files_are_refused(mixture: Path) -> None:
    with pytest.raises(LimitError):
        io.scan(mixture, limits=Limits(entries=2))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty file"),
        (b"<html></html>", "no image format that is known here"),
        (b"\x7fELF" + bytes(400), "no image format that is known here"),
        (b"\x93NUMPY" + bytes(400), "no image format that is known here"),
        (b"CDF\x01" + bytes(400), "MINC"),
        (b"\0\0\0\x01" + bytes(400), "FreeSurfer MGH or MGZ"),
        (gzip.compress(b"\0\0\0\x01" + bytes(400), mtime=0), "FreeSurfer MGH or MGZ"),
        (b"\x5c\x01\0\0" + bytes(400), "Analyze 7.5"),
        (b"II*\0" + bytes(124) + b"DICM" + bytes(300), "dicom"),
        (b"PK\x03\x04" + bytes(400), "zip"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(content)
    assert kind_of(path) == kind
    with pytest.raises(ClarivoxError):
        io.read(path)


def test_reading_tells_how_far_it_is_and_can_be_stopped(tmp_path: Path) -> None:
    io.write(GREY, tmp_path / "a.nii.gz")
    seen: list[float] = []
    io.read(tmp_path / "a.nii.gz", progress=lambda step: seen.append(step.fraction))
    assert seen[-1] == pytest.approx(1)
    with pytest.raises(CancelledError):
        io.read(tmp_path / "a.nii.gz", progress=lambda step: False)


def test_importing_costs_nothing_heavy() -> None:
    heavy = ("torch", "monai", "pydicom", "nibabel", "PIL", "SimpleITK")
    program = f"import sys, clarivox.io; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    assert all(getattr(io, name) is not None for name in io.__all__)
    with pytest.raises(AttributeError):
        _ = io.nothing
