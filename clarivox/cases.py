# SPDX-License-Identifier: Apache-2.0
"""The cases of an evaluation, from any folder: images made worse, images with a truth beside them, or as they are."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from clarivox import io
from clarivox.compare import CT_WINDOW
from clarivox.degradations import Degradation, width_of
from clarivox.errors import ClarivoxError, FormatError, SeriesError
from clarivox.evaluation import Case
from clarivox.io.data_list import Reference, volumes
from clarivox.io.dispatch import read_listed
from clarivox.io.series import SeriesInfo
from clarivox.patches import cropped
from clarivox.protocols import PictureProtocol
from clarivox.scores import Failure
from clarivox.volume import Unit, Volume

_FILE, _PATIENT = ("file", "filename", "name", "image", "image_id"), ("patient", "patient_id", "patientid", "subject")
"""Headings under which a table of patients may name files and patients."""
_ENDINGS = (".dcm", ".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".png", ".jpg", ".jpeg", ".tif", ".tiff")


@dataclass(frozen=True)
class FolderCases:
    """Every image below a folder.

    Attributes:
        data: a folder at any depth, a file, or a zip.
        degradation: what makes each image worse, which is then the truth; None takes it as it is.
        reference: a folder of truths, found by file name, or by the order of series where as many lie in both.
        patients: of files, by name: see `patients_of`.
        seed: of the degradation.
        window: of CT, see `clarivox.evaluation.Case`.
        allow_uneven: see `clarivox.enhance.enhance`.
    """

    data: Path
    degradation: Degradation | None = None
    reference: Path | None = None
    patients: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    window: tuple[float, float] = CT_WINDOW
    allow_uneven: bool = False

    def images(self) -> list[SeriesInfo]:
        """What is there, images only: a text file beside them is no case.

        Raises:
            SeriesError: there is no image.
        """
        found = [info for info in io.scan(self.data) if _is_image(info)]
        if not found:
            raise SeriesError("there is no image in the data; name a folder that holds some", code="empty_folder")
        return found

    def __len__(self) -> int:
        return len(self.images())

    def __iter__(self) -> Iterator[Case | Failure]:
        """Reads one after another; what cannot be read is given as a failure."""
        infos = self.images()
        names = _names(infos)
        truths = None if self.reference is None else _truths(self.reference, infos)
        every = io.read_all(self.data, allow_uneven=self.allow_uneven)
        kept = (found for found in every if not isinstance(found, io.Unreadable) or _is_image(found.info))
        for info, name, found in zip(infos, names, kept, strict=True):
            if isinstance(found, io.Unreadable):
                yield Failure(name, found.error.code, str(found.error))
                continue
            try:
                truth = None if truths is None else self._truth(truths, info)
                yield self._case(name, info, found, truth)
            except ClarivoxError as error:
                yield Failure(name, error.code, str(error))

    def _case(self, name: str, info: SeriesInfo, volume: Volume, truth: Volume | None) -> Case:
        worse = volume
        if self.degradation is not None:
            truth = cropped(volume, self.degradation.scale)
            worse = self.degradation(truth, name, self.seed)
        width = None
        if truth is not None and truth.unit is not Unit.HU and truth.array.dtype == "uint8":
            width = width_of(truth)
        return Case({"case": name}, worse, truth, width, self._patient(info, volume), self.window)

    def _patient(self, info: SeriesInfo, volume: Volume) -> str:
        file = Path(info.files[0])
        for key in (file.name, file.name.split(".")[0]):
            if key in self.patients:
                return self.patients[key]
        named = str(getattr(volume.source, "patient", "") or "")
        if named or info.format == "dicom":
            return named
        folders = Path(info.key).parts[:-1]
        return folders[0] if folders else ""

    def _truth(self, truths: Mapping[str, Reference], info: SeriesInfo) -> Volume:
        if info.key not in truths:
            raise FormatError("no truth of this name lies in the reference folder", code="no_truth")
        found = truths[info.key]
        return read_listed(found.paths, found.series, allow_uneven=self.allow_uneven)


def patients_of(path: Path) -> dict[str, str]:
    """Patients by file name, from a CSV file with a column of files and one of patients.

    Raises:
        FormatError: it has no such columns.
    """
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        headings = {heading.strip().lower(): heading for heading in reader.fieldnames or []}
        file = next((headings[name] for name in _FILE if name in headings), None)
        patient = next((headings[name] for name in _PATIENT if name in headings), None)
        if file is None or patient is None:
            raise FormatError(
                f"{path.name} needs a column file and a column patient; found {', '.join(headings) or 'none'}",
                code="bad_table",
            )
        return {Path(row[file]).name: row[patient] for row in reader}


def pictures_for(protocol: PictureProtocol, data: Path) -> tuple[list[tuple[str, Tensor]], list[Failure]]:
    """The pictures of a folder as a protocol takes them, by name; and what is none.

    Raises:
        SeriesError: there is no picture.
    """
    found: list[tuple[str, Tensor]] = []
    failures = []
    cases = FolderCases(data)
    for case in cases:
        if isinstance(case, Failure):
            failures.append(case)
            continue
        array = case.worse.array
        if array.shape[3] != 1 or array.shape[0] not in (1, 3) or array.dtype != "uint8":
            failures.append(Failure(case.name, "no_picture", "a protocol takes grey or colour pictures of 8 bits"))
            continue
        try:
            found.append((case.name, protocol.truth(array[..., 0])))
        except ClarivoxError as error:
            failures.append(Failure(case.name, error.code, str(error)))
    if not found:
        raise SeriesError("none of the data is a picture that the protocol takes", code="no_series")
    return found, failures


def _is_image(info: SeriesInfo) -> bool:
    """Whether a file is one, or is torn and was one by its name."""
    return bool(info.format) or info.key.lower().endswith(_ENDINGS)


def _names(infos: list[SeriesInfo]) -> list[str]:
    """What a user finds each by: a file's path below the folder, a DICOM series' number and modality."""
    return [
        "-".join(part for part in (f"{number:03d}", info.modality) if part) if info.format == "dicom" else info.key
        for number, info in enumerate(infos, start=1)
    ]


def _truths(folder: Path, infos: list[SeriesInfo]) -> dict[str, Reference]:
    """The truth of each image, by its key."""
    listed = [item["image"] for item in volumes(folder)]
    by_name = {Path(one.paths[0]).name.split(".")[0]: one for one in listed}
    found = {}
    for number, info in enumerate(infos):
        stem = Path(info.files[0]).name.split(".")[0]
        if info.format != "dicom" and stem in by_name:
            found[info.key] = by_name[stem]
        elif len(listed) == len(infos):
            found[info.key] = listed[number]
    return found
