# SPDX-License-Identifier: Apache-2.0
"""Toy DICOM series, written with pydicom alone, among them one for each row of the pitfall matrix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

ROOT = "1.2.826.0.1.3680043.10.999"
CT = "1.2.840.10008.5.1.4.1.1.2"
SLICES = 12
SPACING_MM = 1.25
ROWS, COLUMNS = 24, 32


def pixels(number: int, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """A slice that no other slice equals: int16, (rows, columns), 0 to 1100."""
    y, x = np.mgrid[:rows, :columns]
    return (20 * y + 10 * x + 7 * number).astype(np.int16)


def ct_slice(number: int, *, series: int = 1, position: tuple[float, float, float] | None = None) -> Dataset:
    """One CT slice of the toy series; `number` counts from 0 in the order of position."""
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID = CT
    d.SOPInstanceUID = f"{ROOT}.{series}.{number + 1}"
    d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID
    d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = f"{ROOT}.100", f"{ROOT}.{series}", f"{ROOT}.200"
    d.Modality, d.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    d.PatientName, d.PatientID, d.PatientBirthDate, d.PatientSex = "Toy^Series", "TOY", "19700101", "O"
    d.StudyID, d.AccessionNumber, d.ReferringPhysicianName = "1", "", ""
    d.StudyDate = d.StudyTime = d.PositionReferenceIndicator = d.Manufacturer = d.PatientPosition = ""
    d.SeriesNumber, d.InstanceNumber, d.AcquisitionNumber = series, number + 1, 1
    d.KVP, d.SliceThickness, d.BodyPartExamined = "120", SPACING_MM, "HEAD"
    d.ImagePositionPatient = list(position or (-10.0, -20.0, 30.0 + SPACING_MM * number))
    d.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    d.PixelSpacing = [0.75, 0.5]
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 1
    d.RescaleIntercept, d.RescaleSlope, d.RescaleType = "-1024", "1", "HU"
    put_pixels(d, pixels(number))
    return d


def put_pixels(dataset: Dataset, numbers: np.ndarray) -> None:
    """Set a grey image's pixels and size."""
    dataset.Rows, dataset.Columns = numbers.shape[-2:]
    dataset.PixelData = numbers.astype(numbers.dtype.newbyteorder("<")).tobytes()
    dataset["PixelData"].VR = "OW"


def ct_series() -> list[Dataset]:
    """The plain toy series, in order."""
    return [ct_slice(number) for number in range(SLICES)]


def write(datasets: list[Dataset], folder: Path) -> Path:
    """Save each data set under a name that says nothing of its order."""
    folder.mkdir(parents=True, exist_ok=True)
    for count, dataset in enumerate(datasets):
        dataset.save_as(folder / f"{(count * 7919) % 1000:03d}-{count}", enforce_file_format=True)
    return folder


def enhanced_mr(slices: int = 4, volumes: int = 1) -> Dataset:
    """An enhanced MR object: slices 2 mm apart, stored in falling order; volumes told apart by temporal position."""
    d = ct_slice(0, series=3)
    d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "KVP"):
        delattr(d, keyword)
    for keyword in ("RescaleIntercept", "RescaleSlope", "RescaleType"):
        delattr(d, keyword)
    d.Modality, d.NumberOfFrames = "MR", slices * volumes
    shared, d.PerFrameFunctionalGroupsSequence = Dataset(), []
    shared.PlaneOrientationSequence = [_with(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]
    shared.PixelMeasuresSequence = [_with(PixelSpacing=[0.75, 0.5], SliceThickness=2.0)]
    shared.PixelValueTransformationSequence = [_with(RescaleIntercept="0", RescaleSlope="2", RescaleType="US")]
    d.SharedFunctionalGroupsSequence = [shared]
    frames = [(volume, slices - 1 - place) for place in range(slices) for volume in range(volumes)]
    for volume, place in frames:
        own = Dataset()
        own.FrameContentSequence = [_with(DimensionIndexValues=[place + 1, volume + 1])]
        own.PlanePositionSequence = [_with(ImagePositionPatient=[-10.0, -20.0, 2.0 * place])]
        d.PerFrameFunctionalGroupsSequence.append(own)
    put_pixels(d, np.stack([pixels(place + 100 * volume) for volume, place in frames]))
    return d


def _with(**values: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def reversed_numbers() -> list[Dataset]:
    series = ct_series()
    for count, one in enumerate(series):
        one.InstanceNumber = SLICES - count
    return series


def missing_slice() -> list[Dataset]:
    series = ct_series()
    del series[5]
    return series


def duplicate_position() -> list[Dataset]:
    other = ct_slice(5)
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.1.900"
    put_pixels(other, pixels(50))
    return [*ct_series(), other]


def same_file_twice() -> list[Dataset]:
    return [*ct_series(), ct_slice(5)]


def uneven_spacing() -> list[Dataset]:
    series = ct_series()
    for count, one in enumerate(series):
        one.ImagePositionPatient = [-10.0, -20.0, 30.0 + SPACING_MM * count + 0.15 * count * count]
    return series


def gantry_tilt() -> list[Dataset]:
    series, angle = ct_series(), np.radians(15)
    for count, one in enumerate(series):
        one.ImageOrientationPatient = [1, 0, 0, 0, round(float(np.cos(angle)), 6), round(float(np.sin(angle)), 6)]
        one.ImagePositionPatient = [-10.0, -20.0, 30.0 + SPACING_MM * count]
        one.GantryDetectorTilt = "15"
    return series


def localizer_inside() -> list[Dataset]:
    scout = ct_slice(90, position=(0.0, -100.0, 200.0))
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    return [*ct_series(), scout]


def two_series() -> list[Dataset]:
    return [*ct_series(), *(ct_slice(number, series=2) for number in range(SLICES))]


def two_phases() -> list[Dataset]:
    second = [ct_slice(number) for number in range(SLICES)]
    for count, one in enumerate(second):
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.1.{500 + count}"
        one.AcquisitionNumber = 2
        put_pixels(one, pixels(count + 20))
    return [*ct_series(), *second]


def slope_per_slice() -> list[Dataset]:
    series = ct_series()
    for count, one in enumerate(series):
        one.RescaleSlope = f"{1 + count / 8:g}"
    return series


def monochrome1() -> list[Dataset]:
    series = ct_series()
    for one in series:
        one.PhotometricInterpretation = "MONOCHROME1"
    return series


def junk_in_high_bits() -> list[Dataset]:
    series = ct_series()
    for count, one in enumerate(series):
        one.BitsStored, one.HighBit, one.PixelRepresentation = 12, 11, 0
        put_pixels(one, pixels(count).astype(np.uint16) | 0xA000)
    return series


PITFALLS: dict[str, Callable[[], list[Dataset]]] = {
    "reversed instance numbers": reversed_numbers,
    "missing slice": missing_slice,
    "duplicate position": duplicate_position,
    "non-uniform spacing": uneven_spacing,
    "gantry tilt 15 degrees": gantry_tilt,
    "localizer inside the series": localizer_inside,
    "two series in a folder": two_series,
    "two phases at the same positions": two_phases,
    "slope differs per slice": slope_per_slice,
    "MONOCHROME1": monochrome1,
    "12 bits with junk above": junk_in_high_bits,
}
"""The rows of the pitfall matrix."""
