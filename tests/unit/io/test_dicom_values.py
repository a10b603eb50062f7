# SPDX-License-Identifier: Apache-2.0
"""Values straight from the bytes of an element."""

from io import BytesIO

import pytest
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from clarivox.io.dicom_values import decimals, integers


@pytest.mark.parametrize(("implicit", "little"), [(True, True), (False, True), (False, False)])
def test_binary_numbers_are_read_alike_in_every_encoding(implicit: bool, little: bool) -> None:
    region = Dataset()
    region.PhysicalDeltaX = 0.0375
    region.RegionLocationMaxX1 = 70000
    region.ReferencePixelX0 = -5
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, little
    write_dataset(buffer, region)
    raw = read_dataset(BytesIO(buffer.getvalue()), implicit, little)
    assert decimals(raw, "PhysicalDeltaX") == (0.0375,)
    assert integers(raw, "RegionLocationMaxX1") == (70000,)
    assert integers(raw, "ReferencePixelX0", signed=True) == (-5,)
