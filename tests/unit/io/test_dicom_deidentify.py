# SPDX-License-Identifier: Apache-2.0
"""Taking the identity out of DICOM files."""

import pydicom
import pytest

from clarivox.io.dicom_deidentify import deidentify
from tests.dicom_objects import series_of

SENTINELS = {
    "PatientName": "Sentinel^Jane",
    "PatientID": "SENTINEL1",
    "PatientBirthDate": "19610203",
    "PatientAddress": "1 Sentinel Road",
    "PatientComments": "sentinel comment",
    "StudyDescription": "sentinel study",
    "SeriesDescription": "sentinel series",
    "AccessionNumber": "SENTINEL2",
    "InstitutionName": "Sentinel Hospital",
    "ReferringPhysicianName": "Sentinel^Doctor",
    "OtherPatientIDs": "SENTINEL3",
    "StudyID": "SENTINEL4",
    "ImageComments": "sentinel image",
    "AdditionalPatientHistory": "sentinel history",
    "ProtocolName": "sentinel protocol",
}


@pytest.fixture
def files(tmp_path):
    found = series_of("ct", tmp_path)
    for path in found:
        dataset = pydicom.dcmread(path)
        for name, value in SENTINELS.items():
            setattr(dataset, name, value)
        dataset.BurnedInAnnotation = "NO"
        dataset.private_block(0x0099, "SENTINEL PRIVATE", create=True).add_new(1, "LO", "sentinel")
        dataset.save_as(path)
    return found


def test_nothing_of_the_patient_is_left_and_the_series_holds_together(files):
    before = [pydicom.dcmread(path) for path in files]
    deidentify(files)
    after = [pydicom.dcmread(path) for path in files]
    for path in files:
        assert b"sentinel" not in path.read_bytes().lower()
    for old, new in zip(before, after, strict=True):
        assert new.PixelData == old.PixelData
        assert new.ImagePositionPatient == old.ImagePositionPatient
        assert new.SOPInstanceUID not in (old.SOPInstanceUID,)
        assert new.file_meta.MediaStorageSOPInstanceUID == new.SOPInstanceUID
        assert new.SOPClassUID == old.SOPClassUID
        assert new.PatientBirthDate != "19610203"
        assert new.PatientIdentityRemoved == "YES"
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"):
        values = {str(one[name].value) for one in after}
        assert len(values) == 1
        assert values != {str(before[0][name].value)}
