# SPDX-License-Identifier: Apache-2.0
"""A patient who does not exist, in every place where a file or a request can name one."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable
from pathlib import Path

from pydicom import Dataset

from tests import hostile, toys

WORDS = ("ZQXSENTINEL", "19010203", "ZQXHOSPITAL")
"""Found nowhere else: the first is in every text, the second is the date of birth, the third the institution."""

TEXTS = (
    "PatientName",
    "PatientID",
    "OtherPatientNames",
    "PatientAddress",
    "PatientComments",
    "EthnicGroup",
    "Occupation",
    "AdditionalPatientHistory",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "OperatorsName",
    "AccessionNumber",
    "StudyID",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "ImageComments",
    "RequestedProcedureDescription",
    "StationName",
    "PerformedProcedureStepDescription",
    "RequestingPhysician",
    "AdmissionID",
    "DeviceSerialNumber",
)
"""Elements that name the patient or those around."""


def named(dataset: Dataset) -> Dataset:
    """A data set of the patient."""
    for keyword in TEXTS:
        setattr(dataset, keyword, "ZQXSENTINEL"[:16])
    dataset.PatientBirthDate = "19010203"
    dataset.InstitutionName = dataset.InstitutionAddress = "ZQXHOSPITAL"
    block = dataset.private_block(0x0019, "ZQXSENTINEL PRIVATE", create=True)
    block.add_new(0x01, "LO", "ZQXSENTINEL")
    item = Dataset()
    item.PatientName, item.StudyDescription = "ZQXSENTINEL^DEEP", "ZQXSENTINEL"
    dataset.ReferencedPatientSequence = [item]
    return dataset


def series() -> list[Dataset]:
    """The toy series of the patient."""
    return [named(one) for one in toys.ct_series()]


def spoilt() -> dict[str, bytes]:
    """Files of the patient that cannot be used, each for another reason."""
    good = hostile.saved(named(toys.ct_slice(0)))

    def changed(**values: object) -> bytes:
        dataset = named(toys.ct_slice(0))
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        return hostile.saved(dataset)

    at = good.index(b"\x28\x00\x02\x00US")
    return {
        "cut in its pixels": good[:-50],
        "cut in its header": good[: good.index(b"ZQXHOSPITAL") + 4],
        "a date that is none": good.replace(b"19010203", b"ZQXSENTI"),
        "a slope that is none": good.replace(b"DS\x02\x001 ", b"DS\x02\x00Z "),
        "a slope that names": good.replace(b"DS\x02\x001 ", b"DS\x0c\x00ZQXSENTINEL "),
        "rows that are text": good.replace(b"\x28\x00\x10\x00US\x02\x00\x18\x00", b"\x28\x00\x10\x00LO\x02\x00ZQ"),
        "no rows": changed(Rows=0),
        "an element too long": good[:at] + struct.pack("<HH2sHL", 0x0009, 0x1002, b"OB", 0, 1 << 30) + good[at:],
        "gaps": hostile.series([named(one) for one in toys.missing_slice()]),
        "an unknown kind": changed(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11"),
        "a UID that names": good.replace(toys.ROOT.encode() + b".1.1", b"ZQXSENTINEL".ljust(len(toys.ROOT) + 4, b"Z")),
        "text": b"ZQXSENTINEL born 19010203 at ZQXHOSPITAL",
        "a name in a NIfTI": hostile.nifti(
            descrip=b"ZQXSENTINEL", aux_file=b"ZQXHOSPITAL", dim=(3, 4, 0, 2, 1, 1, 1, 1)
        ),
        "a name in an NRRD": hostile.NRRD.replace(b"short", b"ZQXSENTINEL") + b"patient:=ZQXSENTINEL\n\n" + bytes(48),
        "a name in an MHA": hostile.META.replace(b"MET_SHORT", b"ZQXSENTINEL") + b"ZQXSENTINEL.raw\n",
        "a zip that names": hostile.zipped(("ZQXSENTINEL/19010203.dcm", good[:-50]), ("ZQXSENTINEL/b", b"ZQXSENTINEL")),
        "a zip that leads out": hostile.zipped(("../ZQXSENTINEL", good)),
    }


def hits(content: bytes) -> list[str]:
    """The words of the patient that some bytes hold, plain, in UTF-16, or in base 64."""
    found = []
    for word in WORDS:
        forms = [word.encode(), word.encode("utf-16-le"), word.lower().encode()]
        forms += [base64.b64encode(b" " * shift + word.encode())[4:-4] for shift in range(3)]
        found += [word] if any(form in content for form in forms) else []
    return found


def hits_in(files: Iterable[Path]) -> dict[str, list[str]]:
    """The files that name the patient, in their name or in what they hold."""
    found = {}
    for path in files:
        if path.is_file():
            told = hits(path.read_bytes()) + hits(str(path).encode())
            if told:
                found[str(path)] = told
    return found
