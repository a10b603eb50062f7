# SPDX-License-Identifier: Apache-2.0
"""Elements of any encoding become Explicit VR Little Endian without a changed value."""

import struct
from io import BytesIO

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRBigEndian

from clarivox.io.dicom_encode import Encoder, element, in_order

ENCODINGS = [(True, True), (False, True), (False, False)]


def example() -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = "Müller^Jürgen"
    ds.Rows = 300
    ds.PixelRepresentation = 1
    ds.add_new("PixelPaddingValue", "SS", -2000)
    ds.add_new("FrameIncrementPointer", "AT", 0x00181063)
    ds.PixelSpacing = ["0.70", "0.7"]
    ds.add_new("RedPaletteColorLookupTableDescriptor", "SS", [256, 0, 16])
    inner = Dataset()
    inner.PhysicalDeltaX = 0.0375
    inner.ReferencePixelX0 = -70000
    deeper = Dataset()
    deeper.CodeMeaning = "Größe"
    deeper.add_new(0x00091001, "LO", "private")
    inner.AnatomicRegionSequence = [deeper]
    ds.SequenceOfUltrasoundRegions = [inner, inner]
    return ds


def raw(ds: Dataset, implicit: bool, little: bool) -> Dataset:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, little
    write_dataset(buffer, ds)
    return read_dataset(BytesIO(buffer.getvalue()), implicit, little)


def through(encoder: Encoder, ds: Dataset) -> Dataset:
    return read_dataset(BytesIO(in_order(encoder.dataset(ds))), False, True)


@pytest.mark.parametrize(("implicit", "little"), ENCODINGS)
def test_values_stay_and_nested_private_elements_go(implicit: bool, little: bool) -> None:
    expected = example()
    for region in expected.SequenceOfUltrasoundRegions:
        if 0x00091001 in region.AnatomicRegionSequence[0]:
            del region.AnatomicRegionSequence[0][0x00091001]
    assert through(Encoder(lambda _: False), raw(example(), implicit, little)) == expected


@pytest.mark.parametrize(("implicit", "little"), ENCODINGS)
def test_decoded_elements_encode_as_raw_ones_do(implicit: bool, little: bool) -> None:
    untouched, decoded = raw(example(), implicit, little), raw(example(), implicit, little)
    for _ in decoded.iterall():
        pass
    one, other = Encoder(lambda _: False), Encoder(lambda _: False)
    assert in_order(one.dataset(untouched)) == in_order(other.dataset(decoded))


def test_what_differs_from_the_instance_before_is_encoded_anew() -> None:
    encoder = Encoder(lambda _: False)
    for rows in (300, 301, 301, 300):
        ds = example()
        ds.Rows = rows
        assert through(encoder, raw(ds, False, True)).Rows == rows


def test_padding_takes_the_vr_that_the_pixels_have() -> None:
    ds = example()
    ds.PixelRepresentation = 0
    ds.add_new("PixelPaddingValue", "SS", 100)
    assert through(Encoder(lambda _: False), raw(ds, False, True))["PixelPaddingValue"].VR == "US"


@pytest.mark.parametrize("decoded", [False, True])
def test_words_of_a_big_endian_source_are_turned_round(decoded: bool) -> None:
    words = struct.pack(">HH2s2xLHH", 0x0028, 0x1201, b"OW", 4, 1, 2)
    ds = read_dataset(BytesIO(words), False, False)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    if decoded:
        assert ds.RedPaletteColorLookupTableData == b"\0\1\0\2"
    assert through(Encoder(lambda _: False), ds).RedPaletteColorLookupTableData == b"\1\0\2\0"


def test_a_sequence_hidden_in_unknown_is_opened() -> None:
    inner = Dataset()
    inner.CodeMeaning = "shown"
    inner.add_new(0x00091001, "LO", "private")
    outer = Dataset()
    outer.AnatomicRegionSequence = [inner]
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = True, True
    write_dataset(buffer, outer)
    hidden = read_dataset(BytesIO(element(0x00082218, "UN", buffer.getvalue()[8:])), False, True)
    found = through(Encoder(lambda _: False), hidden)
    assert found["AnatomicRegionSequence"].VR == "SQ"
    assert [one.keyword for one in found.AnatomicRegionSequence[0]] == ["CodeMeaning"]
