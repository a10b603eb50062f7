# SPDX-License-Identifier: Apache-2.0
import io
import random
import struct
import subprocess
import sys
import zlib

import pydicom
import pytest
from pydicom import Dataset

from clarivox.errors import FormatError, InputError, TruncatedError
from clarivox.server.pacs.dataset_head import BIG_ENDIAN, HEAD_BYTES, IMPLICIT, Identifiers, file_head, identifiers
from tests.data_sets import DEFLATED, EXPECTED, EXPLICIT, encoded, instance


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
def test_the_identifiers_are_found_and_not_those_within_sequences(syntax: str, undefined: bool) -> None:
    data = encoded(instance(undefined=undefined), syntax)
    assert identifiers(data, syntax) == EXPECTED
    assert identifiers(memoryview(data), syntax) == EXPECTED


def test_an_unknown_sequence_of_undefined_length_is_implicit_within() -> None:
    inner = struct.pack("<HHI", 0x0008, 0x1155, 4) + b"9.9\0"
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    unknown = struct.pack("<HH2sHI", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF) + item
    unknown += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    head, rest = instance(), instance()
    del head[0x0010:], rest[:0x0010]
    assert identifiers(encoded(head, EXPLICIT) + unknown + encoded(rest, EXPLICIT), EXPLICIT) == EXPECTED


def test_objects_of_no_patient_have_no_study_and_no_series() -> None:
    palette = Dataset()
    palette.SOPClassUID, palette.SOPInstanceUID = "1.2", "1.3"
    assert identifiers(encoded(palette, EXPLICIT), EXPLICIT) == Identifiers("1.2", "1.3")


@pytest.mark.parametrize("data", [b"", b"\0" * 200, b"GET / HTTP/1.1\r\n\r\n" * 4, b"\xff" * 64])
def test_what_is_no_data_set_is_said_to_be_none(data: bytes) -> None:
    for syntax in (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED):
        with pytest.raises(InputError):
            identifiers(data, syntax)


def test_another_encoding_than_the_agreed_is_noticed() -> None:
    with pytest.raises(FormatError):
        identifiers(encoded(instance(), IMPLICIT), EXPLICIT)
    with pytest.raises(InputError):
        identifiers(encoded(instance(), EXPLICIT), DEFLATED)


def test_an_end_within_an_element_is_noticed() -> None:
    data = encoded(instance(), EXPLICIT)
    with pytest.raises(TruncatedError):
        identifiers(data[: data.rindex(EXPECTED.series.encode()) + 3], EXPLICIT)


def test_a_bomb_is_inflated_no_further_than_the_head() -> None:
    squeeze = zlib.compressobj(9, wbits=-15)
    data = squeeze.compress(encoded(instance(), EXPLICIT)) + squeeze.compress(bytes(50 * HEAD_BYTES)) + squeeze.flush()
    assert identifiers(data, DEFLATED) == EXPECTED


def test_no_mutant_raises_anything_but_our_errors() -> None:
    dice = random.Random(7)
    for syntax in (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED):
        whole = encoded(instance(undefined=True), syntax)
        for _ in range(500):
            data = bytearray(whole[: dice.randrange(len(whole) + 1)])
            for _ in range(dice.randrange(4)):
                if data:
                    data[dice.randrange(len(data))] = dice.randrange(256)
            try:
                identifiers(bytes(data), syntax)
            except InputError:
                continue


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_the_head_makes_a_file_that_pydicom_reads(syntax: str) -> None:
    data = encoded(instance(), syntax)
    found = pydicom.dcmread(io.BytesIO(file_head(EXPECTED.sop_class, EXPECTED.sop, syntax) + data))
    assert found.file_meta.MediaStorageSOPInstanceUID == found.SOPInstanceUID == EXPECTED.sop
    assert found.file_meta.MediaStorageSOPClassUID == EXPECTED.sop_class
    assert found.file_meta.TransferSyntaxUID == syntax
    assert found.Rows == 4


def test_the_node_needs_nothing_that_computes() -> None:
    code = "import sys, clarivox.server.pacs.node; "
    code += "print([name for name in ('torch', 'monai', 'fastapi', 'SimpleITK') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
