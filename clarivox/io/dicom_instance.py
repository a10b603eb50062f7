# SPDX-License-Identifier: Apache-2.0
"""One DICOM file as the reader sees it, and the plan by which one or many become a volume."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from clarivox.errors import FormatError
from clarivox.io.dicom_geometry import Vector, checked_orientation, checked_spacing
from clarivox.io.dicom_header import Header, read_header
from clarivox.io.dicom_image import PixelFormat, pixel_format
from clarivox.io.dicom_objects import DIRECTORY, IMAGES, check_enhanceable, class_of
from clarivox.io.dicom_values import decimals, integer, items, text, words
from clarivox.io.limits import Limits
from clarivox.volume import Axis, Channels, Irregularity


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One image object, its header checked.

    Attributes:
        header: the data set without pixels, and where those lie.
        format: the layout of the pixels.
        uid, series_uid, sop_class: identifiers; "" where absent.
        modality: as the file says, or as its class implies.
        position: of the first pixel's centre, LPS millimetres, or None.
        orientation: row and column direction, shape (2, 3), or None.
        spacing: between rows, and between columns, or None where the file does not say.
        notes: what had to be assumed.
    """

    header: Header
    format: PixelFormat
    uid: str
    series_uid: str
    sop_class: str
    modality: str
    position: Vector | None
    orientation: Vector | None
    spacing: tuple[float, float] | None
    notes: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The file."""
        return self.header.path

    @property
    def grouped(self) -> bool:
        """Whether functional groups describe the frames."""
        return "PerFrameFunctionalGroupsSequence" in self.header.dataset

    @property
    def localizer(self) -> bool:
        """Whether the image is a scout view."""
        return "LOCALIZER" in words(self.header.dataset, "ImageType")


@dataclass(frozen=True, eq=False)
class Plan:
    """How instances become one volume; everything but the pixels.

    Attributes:
        instances: in the order of `DicomSource.headers`.
        placement: (instance, frame) for each volume and slice, shape (V, Z, 2).
        affine: index to RAS millimetres.
        channels, third_axis, irregular, part, notes: as in `Volume` and `DicomSource`.
    """

    instances: tuple[Instance, ...]
    placement: NDArray[np.int64]
    affine: NDArray[np.float64]
    channels: Channels
    third_axis: Axis = Axis.SPACE
    irregular: Irregularity | None = None
    part: str = ""
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, X, Y, Z) of the volume."""
        found = self.instances[0].format
        volumes, depth, _ = self.placement.shape
        return volumes * found.samples, found.columns, found.rows, depth


def read_instance(path: Path, limits: Limits) -> Instance:
    """One file's header, checked.

    Raises:
        FormatError: no DICOM, no image, or a layout that is not read.
        TruncatedError, LimitError, GeometryError: see the codes in docs/errors.md.
    """
    header = read_header(path, limits)
    dataset = header.dataset
    sop_class = text(dataset, "SOPClassUID") or text(dataset.file_meta, "MediaStorageSOPClassUID")
    if DIRECTORY in (sop_class, text(dataset.file_meta, "MediaStorageSOPClassUID")):
        raise FormatError("a DICOMDIR is not followed; the files beside it are read", code="dicomdir")
    check_enhanceable(sop_class, header.pixels is not None)
    if "MOSAIC" in words(dataset, "ImageType"):
        raise FormatError("the image is a mosaic of slices; convert it to an enhanced object first", code="mosaic")
    found = pixel_format(header, limits)
    position, orientation = decimals(dataset, "ImagePositionPatient"), decimals(dataset, "ImageOrientationPatient")
    spacing, notes = _spacing(header)
    if "ModalityLUTSequence" in dataset:
        notes += ("values are those before the modality look-up table",)
    placed = len(position) == 3 and bool(orientation)
    return Instance(
        header=header,
        format=found,
        uid=text(dataset, "SOPInstanceUID"),
        series_uid=text(dataset, "SeriesInstanceUID"),
        sop_class=sop_class,
        modality=text(dataset, "Modality") or IMAGES[class_of(sop_class)][1],
        position=np.array(position) if placed else None,
        orientation=checked_orientation(orientation) if placed else None,
        spacing=spacing,
        notes=(*header.notes, *notes),
    )


def _spacing(header: Header) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Millimetres between rows and columns from the first element that says so."""
    dataset = header.dataset
    for keyword, note in (
        ("PixelSpacing", ()),
        ("ImagerPixelSpacing", ("pixel spacing is that of the detector, not of the patient",)),
        ("NominalScannedPixelSpacing", ("pixel spacing is that of the scanned film",)),
    ):
        if values := decimals(dataset, keyword):
            return checked_spacing(values), note
    if aspect := decimals(dataset, "PixelAspectRatio"):
        return checked_spacing(aspect), ("pixel spacing is unknown; the aspect ratio stands in its place",)
    if region := _region_spacing(items(dataset, "SequenceOfUltrasoundRegions")):
        return region, ()
    return None, ()


def _region_spacing(regions: list[Dataset]) -> tuple[float, float] | None:
    """Spacing of an ultrasound picture: that of its regions in centimetres, where they agree."""
    found = set()
    for region in regions:
        units = (integer(region, "PhysicalUnitsXDirection"), integer(region, "PhysicalUnitsYDirection"))
        deltas = decimals(region, "PhysicalDeltaY") + decimals(region, "PhysicalDeltaX")
        if units == (3, 3) and len(deltas) == 2 and all(1e-9 < abs(one) < 1e3 for one in deltas):
            found.add((abs(deltas[0]) * 10, abs(deltas[1]) * 10))
    return found.pop() if len(found) == 1 else None
