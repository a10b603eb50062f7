# SPDX-License-Identifier: Apache-2.0
"""New DICOM objects from arrays: phantoms, pictures as Secondary Capture, and the tests' own objects.

What each kind of object must hold stands in `dicom_kinds` and `dicom_enhanced`; here is what all share. The same
arguments give the same bytes: identifiers come from the seed, and dates from an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from clarivox.errors import OutputError
from clarivox.io.dicom_enhanced import ENHANCED
from clarivox.io.dicom_files import save
from clarivox.io.dicom_kinds import SINGLE, Kind, Recipe, fill
from clarivox.io.dicom_plane import decimal
from clarivox.io.dicom_uid import IMPLEMENTATION_NAME, IMPLEMENTATION_UID, uid
from clarivox.volume import Channels, Volume

__all__ = ["Kind", "new_series", "save_series"]

_RECIPES: dict[Kind, Recipe] = {**SINGLE, **ENHANCED}
_MADE_AT = datetime(2026, 1, 1, 12)


def new_series(
    volume: Volume,
    kind: Kind | str,
    *,
    patient: str = "PHANTOM^CT",
    patient_id: str = "PHANTOM",
    seed: str | int = 0,
    description: str = "",
    series_number: int = 1,
    made_at: datetime = _MADE_AT,
    attributes: Mapping[str, Any] | None = None,
) -> Iterator[Dataset]:
    """One valid DICOM series: an instance a slice, or one instance for the kinds with many frames.

    Args:
        volume: uint8, int16 or uint16; colour only for ultrasound and Secondary Capture.
        kind: what object to make.
        patient: PatientName. Series of one patient and seed share study and frame of reference.
        patient_id: PatientID.
        seed: what the identifiers are made of, together with patient, kind and series number.
        description: SeriesDescription.
        series_number: SeriesNumber.
        made_at: every date and time in the object.
        attributes: further elements of each instance by keyword; they win over the recipe's.

    Raises:
        OutputError: this kind of object cannot hold the volume (code not_in_this_kind).

    >>> phantom = Volume(np.zeros((1, 16, 12, 2), np.int16), np.diag([1.0, 1.0, 3.0, 1.0]))
    >>> [(ds.SOPClassUID.name, ds.Rows, ds.Columns) for ds in new_series(phantom, "ct")]
    [('CT Image Storage', 12, 16), ('CT Image Storage', 12, 16)]
    """
    try:
        wanted = Kind(kind)
    except ValueError:
        known = ", ".join(Kind)
        raise OutputError(f"there is no kind of object {str(kind)!r}; choose one of {known}") from None
    recipe = _RECIPES[wanted]
    _check(volume, wanted, recipe)
    depth = volume.shape[3]
    groups = [list(range(depth))] if recipe.many_frames else [[z] for z in range(depth)]
    names = (seed, patient, patient_id)
    for number, slices in enumerate(groups, start=1):
        ds = Dataset()
        _study(ds, patient, patient_id, names, made_at)
        fill(
            ds,
            SOPClassUID=recipe.sop_class,
            SOPInstanceUID=uid("instance", names, wanted, series_number, number),
            SeriesInstanceUID=uid("series", names, wanted, series_number),
            Modality=recipe.modality,
            SeriesNumber=str(series_number),
            InstanceNumber=str(number),
            SeriesDescription=description or f"clarivox phantom {wanted}",
        )
        _pixels(ds, volume, slices, recipe)
        recipe.complete(ds, volume, slices)
        fill(ds, **(attributes or {}))
        ds.file_meta = _file_meta(ds)
        yield ds


def save_series(datasets: Iterable[Dataset], folder: Path | str, overwrite: bool = False) -> list[Path]:
    """Write instances as IM0001.dcm and on into a folder that appears when all are written.

    One instance may also go to a file whose name ends in .dcm.

    Raises:
        OutputError: the folder exists (code output_exists) or cannot be made.
        CapacityError: the disk is full.
    """
    every = list(datasets) if Path(folder).suffix.lower() == ".dcm" else datasets
    count = len(every) if isinstance(every, list) else 0
    return list(save(map(_bytes, every), count, folder, overwrite))


def _bytes(ds: Dataset) -> list[bytes]:
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return [buffer.getvalue()]


def _check(volume: Volume, kind: Kind, recipe: Recipe) -> None:
    dtype = volume.array.dtype
    if dtype not in (np.uint8, np.int16, np.uint16) or (dtype == np.int16 and not recipe.signed):
        raise OutputError(f"{kind} objects cannot hold {dtype} voxels; convert them first", code="not_in_this_kind")
    if volume.channels not in recipe.channels:
        raise OutputError(f"{kind} objects cannot hold {volume.channels} voxels", code="not_in_this_kind")


def _study(ds: Dataset, patient: str, patient_id: str, names: Any, made_at: datetime) -> None:
    day, time = made_at.strftime("%Y%m%d"), made_at.strftime("%H%M%S")
    fill(
        ds,
        SpecificCharacterSet="ISO_IR 192",
        PatientName=patient,
        PatientID=patient_id,
        PatientBirthDate="",
        PatientSex="O",
        StudyInstanceUID=uid("study", names),
        StudyID="1",
        StudyDate=day,
        StudyTime=time,
        SeriesDate=day,
        SeriesTime=time,
        AcquisitionDate=day,
        AcquisitionTime=time,
        ContentDate=day,
        ContentTime=time,
        AccessionNumber="",
        ReferringPhysicianName="",
        FrameOfReferenceUID=uid("frame of reference", names),
        PositionReferenceIndicator="",
        Manufacturer="clarivox",
        ManufacturerModelName="phantom",
        DeviceSerialNumber="0",
        SoftwareVersions="1",
    )


def _pixels(ds: Dataset, volume: Volume, slices: list[int], recipe: Recipe) -> None:
    stored = _stack(volume, slices)
    bits = volume.array.dtype.itemsize * 8
    used = bits
    if volume.stored_range is not None and volume.array.dtype.kind == "u":
        used = max(int(volume.stored_range[1]).bit_length(), 1)
    colour = volume.channels in (Channels.RGB, Channels.YBR)
    grey = "MONOCHROME1" if volume.inverted else "MONOCHROME2"
    fill(
        ds,
        SamplesPerPixel=3 if colour else 1,
        PhotometricInterpretation={Channels.RGB: "RGB", Channels.YBR: "YBR_FULL"}.get(volume.channels, grey),
        Rows=volume.shape[2],
        Columns=volume.shape[1],
        BitsAllocated=bits,
        BitsStored=used,
        HighBit=used - 1,
        PixelRepresentation=int(volume.array.dtype.kind == "i"),
    )
    if colour:
        ds.PlanarConfiguration = 0
    if recipe.many_frames:
        ds.NumberOfFrames = str(len(slices))
    if volume.padding is not None and recipe.rescaled:
        low, high = (int(v) for v in volume.padding[slices[0]])
        if low <= high:
            ds.PixelPaddingValue = low
        if low < high:
            ds.PixelPaddingRangeLimit = high
    if recipe.rescaled and not recipe.many_frames:
        ds.RescaleSlope = decimal(volume.slope[slices[0]])
        ds.RescaleIntercept = decimal(volume.intercept[slices[0]])
    data = stored.astype(stored.dtype.newbyteorder("<"), copy=False).tobytes()
    ds.add_new("PixelData", "OB" if bits == 8 else "OW", data + b"\0" * (len(data) % 2))


def _stack(volume: Volume, slices: list[int]) -> NDArray[Any]:
    chosen = volume.frames[:, slices]
    return chosen.transpose(1, 2, 3, 0) if chosen.shape[0] > 1 else chosen


def _file_meta(ds: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = IMPLEMENTATION_NAME
    return meta
