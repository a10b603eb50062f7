# SPDX-License-Identifier: Apache-2.0
"""The attributes that a search may name by keyword; any other can be named by its eight hexadecimal digits."""

from __future__ import annotations

import re

TAGS = {
    "SpecificCharacterSet": "00080005",
    "ImageType": "00080008",
    "SOPClassUID": "00080016",
    "SOPInstanceUID": "00080018",
    "StudyDate": "00080020",
    "SeriesDate": "00080021",
    "AcquisitionDate": "00080022",
    "ContentDate": "00080023",
    "AcquisitionDateTime": "0008002A",
    "StudyTime": "00080030",
    "SeriesTime": "00080031",
    "AcquisitionTime": "00080032",
    "ContentTime": "00080033",
    "AccessionNumber": "00080050",
    "InstanceAvailability": "00080056",
    "Modality": "00080060",
    "ModalitiesInStudy": "00080061",
    "SOPClassesInStudy": "00080062",
    "Manufacturer": "00080070",
    "InstitutionName": "00080080",
    "ReferringPhysicianName": "00080090",
    "TimezoneOffsetFromUTC": "00080201",
    "StationName": "00081010",
    "StudyDescription": "00081030",
    "ProcedureCodeSequence": "00081032",
    "SeriesDescription": "0008103E",
    "InstitutionalDepartmentName": "00081040",
    "PerformingPhysicianName": "00081050",
    "NameOfPhysiciansReadingStudy": "00081060",
    "AdmittingDiagnosesDescription": "00081080",
    "ManufacturerModelName": "00081090",
    "ReferencedStudySequence": "00081110",
    "RetrieveURL": "00081190",
    "DerivationDescription": "00082111",
    "SourceImageSequence": "00082112",
    "AvailableTransferSyntaxUID": "00083002",
    "CodeValue": "00080100",
    "CodingSchemeDesignator": "00080102",
    "CodeMeaning": "00080104",
    "PatientName": "00100010",
    "PatientID": "00100020",
    "IssuerOfPatientID": "00100021",
    "PatientBirthDate": "00100030",
    "PatientSex": "00100040",
    "OtherPatientIDs": "00101000",
    "PatientAge": "00101010",
    "PatientSize": "00101020",
    "PatientWeight": "00101030",
    "PatientComments": "00104000",
    "BodyPartExamined": "00180015",
    "SliceThickness": "00180050",
    "KVP": "00180060",
    "SpacingBetweenSlices": "00180088",
    "SoftwareVersions": "00181020",
    "ProtocolName": "00181030",
    "ConvolutionKernel": "00181210",
    "PatientPosition": "00185100",
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "StudyID": "00200010",
    "SeriesNumber": "00200011",
    "AcquisitionNumber": "00200012",
    "InstanceNumber": "00200013",
    "ImagePositionPatient": "00200032",
    "ImageOrientationPatient": "00200037",
    "FrameOfReferenceUID": "00200052",
    "Laterality": "00200060",
    "NumberOfStudyRelatedSeries": "00201206",
    "NumberOfStudyRelatedInstances": "00201208",
    "NumberOfSeriesRelatedInstances": "00201209",
    "ImageComments": "00204000",
    "SamplesPerPixel": "00280002",
    "PhotometricInterpretation": "00280004",
    "NumberOfFrames": "00280008",
    "Rows": "00280010",
    "Columns": "00280011",
    "PixelSpacing": "00280030",
    "BitsAllocated": "00280100",
    "BitsStored": "00280101",
    "WindowCenter": "00281050",
    "WindowWidth": "00281051",
    "RescaleIntercept": "00281052",
    "RescaleSlope": "00281053",
    "PerformedProcedureStepStartDate": "00400244",
    "PerformedProcedureStepStartTime": "00400245",
    "PerformedProcedureStepDescription": "00400254",
    "RequestAttributesSequence": "00400275",
    "ScheduledProcedureStepDescription": "00400007",
    "ScheduledProcedureStepID": "00400009",
    "RequestedProcedureID": "00401001",
}
"""Keyword and tag."""

_TAG = re.compile(r"[0-9A-Fa-f]{8}")


def tags_of(name: str) -> tuple[str, ...] | None:
    """The tags of a name, several where it leads into sequences; None where a part of it is not known.

    >>> tags_of("RequestAttributesSequence.00401001"), tags_of("Nonsense")
    (('00400275', '00401001'), None)
    """
    found = [TAGS.get(part) or (part.upper() if _TAG.fullmatch(part) else "") for part in name.split(".")]
    return tuple(found) if all(found) else None
