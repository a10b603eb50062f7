# SPDX-License-Identifier: Apache-2.0
"""An encoded data set with identifiers within sequences, to look for those that count."""

from __future__ import annotations

import zlib

from pydicom import Dataset, Sequence
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from clarivox.server.pacs.dataset_head import BIG_ENDIAN, IMPLICIT, Identifiers

EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPECTED = Identifiers("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4.5", "1.2.3", "1.2.3.4")


def instance(*, undefined: bool = False) -> Dataset:
    """A data set with sequences within sequences before its identifiers."""
    inner = Dataset()
    inner.ReferencedSOPClassUID, inner.ReferencedSOPInstanceUID = "9.9", "9.9.9"
    outer = Dataset()
    outer.StudyInstanceUID, outer.SeriesInstanceUID = "8.8", "8.8.8"  # of another, within a sequence
    outer.ReferencedSOPSequence = Sequence([inner, inner])
    found = Dataset()
    found.SOPClassUID, found.SOPInstanceUID = EXPECTED.sop_class, EXPECTED.sop
    found.ReferencedStudySequence = Sequence([outer])
    found.PatientName, found.PatientID = "A^B", "1"
    found.StudyInstanceUID, found.SeriesInstanceUID = EXPECTED.study, EXPECTED.series
    found.Rows = 4
    for dataset, keyword in ((found, "ReferencedStudySequence"), (outer, "ReferencedSOPSequence")):
        dataset[keyword].is_undefined_length = undefined
        for item in dataset[keyword].value:
            item.is_undefined_length_sequence_item = undefined
    return found


def encoded(dataset: Dataset, syntax: str) -> bytes:
    """The data set in a transfer syntax."""
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = syntax == IMPLICIT, syntax != BIG_ENDIAN
    write_dataset(out, dataset)
    data = out.getvalue()
    if syntax == DEFLATED:
        squeeze = zlib.compressobj(wbits=-15)
        return squeeze.compress(data) + squeeze.flush()
    return data
