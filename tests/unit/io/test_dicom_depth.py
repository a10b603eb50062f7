# SPDX-License-Identifier: Apache-2.0
"""The depth of sequences is counted from bytes in every encoding."""

from io import BytesIO

import pytest
from pydicom import Dataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset

from clarivox.io.dicom_depth import UNDEFINED, depth


def encoded(levels: int, *, implicit: bool, little: bool, undefined: bool) -> bytes:
    """The value of a sequence that holds `levels` sequences in one another, each with an element before and after."""
    inner = Dataset()
    inner.PatientComments = "x" * 40
    for _ in range(levels):
        outer = Dataset()
        outer.Rows = 3
        outer.ReferencedStudySequence = [inner]
        outer["ReferencedStudySequence"].is_undefined_length = undefined
        outer.PatientComments = "x" * 300
        inner = outer
    inner = Dataset()
    inner.ReferencedStudySequence = outer.ReferencedStudySequence
    inner["ReferencedStudySequence"].is_undefined_length = undefined
    file = DicomIO(BytesIO())
    file.is_implicit_VR, file.is_little_endian = implicit, little
    write_dataset(file, inner)
    data: bytes = file.parent.getvalue()
    return data[8 if implicit else 12 :]


@pytest.mark.parametrize(("implicit", "little"), [(True, True), (False, True), (False, False)])
@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("levels", [1, 2, 9])
def test_each_level_counts_once(implicit: bool, little: bool, undefined: bool, levels: int) -> None:
    data = encoded(levels, implicit=implicit, little=little, undefined=undefined)
    length = UNDEFINED if undefined else len(data)
    assert depth(data, 0, length, implicit=implicit, little=little, at_most=64) == levels
    assert depth(data, 0, length, implicit=implicit, little=little, at_most=levels - 1) == levels
