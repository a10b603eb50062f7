# SPDX-License-Identifier: Apache-2.0
"""What a file, a folder or an archive holds, found from headers alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class SeriesInfo:
    """One volume that could be read, or the reason why it cannot.

    `dataclasses.asdict` gives a form that JSON can carry. `description` is the only field that may hold words written
    about a patient: it is for the user's own screen, never for a log.

    Attributes:
        key: names this volume within its input; what `clarivox.io.read(series=...)` accepts.
        format: one of dicom, nifti, nrrd, image.
        files: paths of the files, as strings; the reader sorts them.
        modality: DICOM's modality, or "" where the source does not say.
        kind: what the object is, in words: "CT image", "enhanced MR image", "NIfTI-2".
        series_uid: SeriesInstanceUID, or "".
        part: what tells this volume from others of its series, or "".
        description: the series description as the site wrote it.
        shape: (C, X, Y, Z), or None where the header does not say.
        channels: a value of `clarivox.volume.Channels`.
        third_axis: a value of `clarivox.volume.Axis`.
        spacing_mm: along X, Y, Z, or None.
        dtype: numpy's name of the stored type.
        unit: a value of `clarivox.volume.Unit`.
        encoding: the transfer syntax or compression, in words.
        lossy: the pixels were once compressed with loss.
        irregular: code of the departure from a regular grid (a value of `clarivox.volume.Fault`), or "".
        irregular_message: the same in words, with the slices.
        notes: what reading has to decide.
        usable: whether `read` gives a volume; an irregular one needs `allow_uneven=True`, see `irregular`.
        error_code, error_message: why it is not usable, or "".
    """

    key: str
    format: str
    files: tuple[str, ...] = ()
    modality: str = ""
    kind: str = ""
    series_uid: str = ""
    part: str = ""
    description: str = ""
    shape: tuple[int, int, int, int] | None = None
    channels: str = "grey"
    third_axis: str = "space"
    spacing_mm: tuple[float, float, float] | None = None
    dtype: str = ""
    unit: str = "relative"
    encoding: str = ""
    lossy: bool = False
    irregular: str = ""
    irregular_message: str = ""
    notes: tuple[str, ...] = ()
    usable: bool = True
    error_code: str = ""
    error_message: str = ""

    def as_dict(self) -> dict[str, Any]:
        """A form that JSON can carry.

        >>> SeriesInfo("scan.nii", "nifti", shape=(1, 4, 3, 2)).as_dict()["shape"]
        (1, 4, 3, 2)
        """
        return asdict(self)
