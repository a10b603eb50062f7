# SPDX-License-Identifier: Apache-2.0
"""A picture as DICOM Secondary Capture: pixels as they are, no patient, no place."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.sequence import Sequence

from clarivox.errors import OptionError, OutputError
from clarivox.io.dicom_derive import INVENTS, key_of, sentence, software_versions
from clarivox.io.dicom_kinds import Kind, code, fill
from clarivox.io.dicom_new import new_series, save_series
from clarivox.io.image import ImageSource
from clarivox.io.written import Written
from clarivox.volume import Channels, Volume

LOST = "a picture says no pixel size and no patient: neither does the Secondary Capture"
"""Said with every result."""


def write_capture(
    volume: Volume,
    folder: Path | str,
    *,
    overwrite: bool = False,
    compress: str | None = None,
    tell: Callable[[float], None] | None = None,
) -> Written:
    """Write a picture, or the pages of one file, as Secondary Capture images of one series.

    Raises:
        OutputError: colour table indices or floating point (code not_in_this_kind), or the folder exists.
        OptionError: `compress` is set; a Secondary Capture is written uncompressed.
        CapacityError: the disk is full.
    """
    if compress is not None:
        raise OptionError("a Secondary Capture is written uncompressed; leave the compression out")
    if volume.channels is Channels.PALETTE:
        raise OutputError("indices into a colour table are not written as Secondary Capture", code="not_in_this_kind")
    digest = hashlib.sha256(np.ascontiguousarray(volume.frames).data).hexdigest()
    run = volume.provenance
    more = {"Manufacturer": "", "ManufacturerModelName": "", "SoftwareVersions": "", "PatientSex": ""}
    datasets = new_series(
        volume,
        Kind.SC,
        patient="",
        patient_id="",
        seed=f"{digest} {key_of(run)}" if run else digest,
        description=f"[{run.bundle[:42]}{INVENTS if run.may_invent else ''}]" if run else "picture",
        attributes=more,
    )
    done: list[Dataset] = []
    for ds in datasets:
        for keyword in ("DeviceSerialNumber", "AcquisitionDate", "AcquisitionTime", "ContentDate", "ContentTime"):
            delattr(ds, keyword)
        for keyword in ("StudyDate", "StudyTime"):
            setattr(ds, keyword, "")
        del ds.SeriesDate, ds.SeriesTime
        _explain(ds, volume)
        done.append(ds)
        if tell is not None:
            tell(len(done) / volume.shape[3])
    return Written(tuple(save_series(done, folder, overwrite)), "dicom", (LOST,))


def _explain(ds: Dataset, volume: Volume) -> None:
    run = volume.provenance
    if isinstance(volume.source, ImageSource) and volume.source.lossy:
        ds.LossyImageCompression = "01"
        ds.LossyImageCompressionRatio = f"{max(1.0, volume.array.nbytes / volume.source.file_bytes):.4g}"
        ds.LossyImageCompressionMethod = "ISO_10918_1"
    if run is None:
        return
    ds.DerivationDescription = sentence(run)[:1024]
    equipment = fill(
        Dataset(),
        Manufacturer="clarivox",
        ManufacturerModelName=run.bundle[:64],
        SoftwareVersions=software_versions(run),
        PurposeOfReferenceCodeSequence=code("109102", "DCM", "Processing Equipment"),
    )
    ds.ContributingEquipmentSequence = Sequence([equipment])
