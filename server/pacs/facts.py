# SPDX-License-Identifier: Apache-2.0
"""What rules ask of a series: a few words of one instance's header, and whether clarivox made it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import UID

from clarivox.io.dicom_header import read_header
from clarivox.io.dicom_values import PARSE_ERRORS, text, words
from clarivox.io.dicom_warnings import Quiet
from clarivox.io.limits import Limits
from clarivox.server.pacs.patterns import TEXT_CHARS
from clarivox.server.pacs.web import OURS

SHARED = "SharedFunctionalGroupsSequence"
_WITHIN = {
    "SliceThickness": "PixelMeasuresSequence",
    "ConvolutionKernel": "CTReconstructionSequence",
}
"""Where an object of many frames keeps what it says once for all."""


@dataclass(frozen=True)
class Facts:
    """One series as rules see it."""

    modality: str = ""
    sop_class: str = ""
    """UID."""
    image_type: tuple[str, ...] = ()
    description: str = ""
    """SeriesDescription."""
    body_part: str = ""
    kernel: str = ""
    thickness_mm: float | None = None
    calling: str = ""
    """AE title that sent it; the name of the source where it was not sent."""
    ours: bool = False
    """Whether it bears the mark of a result of clarivox."""

    @property
    def sop_class_name(self) -> str:
        """In words, as CT Image Storage."""
        return str(UID(self.sop_class).name)


@dataclass(frozen=True)
class Instance:
    """One file of DICOM: which instance of which series it is, and what rules may ask."""

    study: str
    series: str
    sop: str
    facts: Facts


def instance_of(path: Path, calling: str = "", limits: Limits | None = None) -> Instance:
    """What a file is.

    Args:
        path: the file.
        calling: who sent it.
        limits: ceilings on the header.

    Raises:
        InputError: it is no DICOM file, or a damaged one.
    """
    found = read_header(path, limits or Limits()).dataset
    study, series, sop = (text(found, f"{level}InstanceUID") for level in ("Study", "Series", "SOP"))
    return Instance(study, series, sop, facts_of(found, calling))


def facts_of(found: Dataset, calling: str = "") -> Facts:
    """What rules may ask of a data set."""
    with Quiet():
        return Facts(
            modality=text(found, "Modality"),
            sop_class=text(found, "SOPClassUID"),
            image_type=words(found, "ImageType"),
            description=described(found),
            body_part=text(found, "BodyPartExamined"),
            kernel="\\".join(words(within(found, "ConvolutionKernel"), "ConvolutionKernel")),
            thickness_mm=number(text(within(found, "SliceThickness"), "SliceThickness")),
            calling=calling,
            ours=made_here(found),
        )


def described(found: Dataset) -> str:
    """SeriesDescription in its own character set; as plain bytes where that is not known."""
    try:
        return str(found.get("SeriesDescription") or "")[:TEXT_CHARS].strip()
    except PARSE_ERRORS:
        return text(found, "SeriesDescription")[:TEXT_CHARS]


def within(found: Dataset, keyword: str) -> Dataset:
    """The data set that says it: this one, or what the frames of this one share."""
    if keyword in found:
        return found
    try:
        return Dataset(found[SHARED][0][_WITHIN[keyword]][0])
    except PARSE_ERRORS:
        return found


def number(said: str) -> float | None:
    """A decimal string as a number; None where it is none.

    >>> number("1.25"), number("thin")
    (1.25, None)
    """
    try:
        return float(said)
    except ValueError:
        return None


def made_here(found: Dataset) -> bool:
    """Whether clarivox stands among the equipment that contributed."""
    try:
        items = found.get("ContributingEquipmentSequence") or ()
        return any(text(one, "Manufacturer") == OURS for one in items)
    except PARSE_ERRORS:
        return False
