# SPDX-License-Identifier: Apache-2.0
"""Taking the patient's identity out of DICOM files, by the library dicognito and a list of free texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydicom
from pydicom import Dataset

FREE_TEXT = ("LT", "ST", "UT")
"""Value representations that anybody may have written anything into; all are taken out."""
TAKEN_OUT = (
    "AdmittingDiagnosesDescription",
    "AdmissionID",
    "Allergies",
    "DeviceSerialNumber",
    "EthnicGroup",
    "InstitutionalDepartmentName",
    "IssuerOfPatientID",
    "MedicalAlerts",
    "OtherPatientIDsSequence",
    "PatientAddress",
    "PerformedProcedureStepDescription",
    "PerformedStationName",
    "ProtocolName",
    "ReasonForTheRequestedProcedure",
    "RequestAttributesSequence",
    "RequestedProcedureDescription",
    "SeriesDescription",
    "SpecialNeeds",
    "StudyDescription",
)
"""Elements that dicognito keeps, and that may name the patient or where and why they came."""


def deidentify(files: Sequence[Path]) -> None:
    """Take the identity out of files of one patient, in place: names, numbers, dates, places, texts, private elements.

    Identifiers are replaced, alike in all the files; pixels stay, and with them what is burnt into them.

    Raises:
        ModuleNotFoundError: dicognito is not installed.

    Source:
        dicognito, https://github.com/blairconrad/dicognito; DICOM PS3.15 annex E.
    """
    from dicognito.anonymizer import Anonymizer

    anonymizer = Anonymizer()
    for path in files:
        dataset = pydicom.dcmread(path)
        dataset.remove_private_tags()
        dataset.walk(_strip)
        anonymizer.anonymize(dataset)
        dataset.save_as(path, enforce_file_format=True)


def _strip(dataset: Dataset, element: Any) -> None:
    if element.VR in FREE_TEXT or element.keyword in TAKEN_OUT:
        del dataset[element.tag]
