# SPDX-License-Identifier: Apache-2.0
"""The conformance statement says what the code does."""

import re
from pathlib import Path

from clarivox.io.dicom_derive import CHANGED, DROPPED
from clarivox.io.dicom_encode import tag_and_vr
from clarivox.io.dicom_new import Kind
from clarivox.io.dicom_objects import IMAGES, STORAGE, SYNTAXES
from clarivox.io.dicom_uid import IMPLEMENTATION_UID
from clarivox.server.media_types import IMAGE_TYPES, PLAIN

STATEMENT = (Path(__file__).parents[3] / "docs" / "dicom-conformance.md").read_text()


def rows(head: str) -> list[tuple[str, ...]]:
    """The cells of the table whose head row starts so."""
    table = STATEMENT[STATEMENT.index(f"| {head}") :].split("\n\n")[0].splitlines()[2:]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table]


def tag(keyword: str) -> str:
    number, _ = tag_and_vr(keyword)
    return f"({number >> 16:04X},{number & 0xFFFF:04X})"


def test_it_lists_the_objects_and_syntaxes_that_are_read() -> None:
    assert rows("SOP class") == [(words, STORAGE + one) for one, (words, _) in IMAGES.items()]
    assert rows("transfer syntax") == [(words, one) for one, words in SYNTAXES.items()]


def test_it_lists_what_is_changed_and_dropped() -> None:
    assert rows("element | tag | in") == [(keyword, tag(keyword), how) for keyword, how in CHANGED.items()]
    assert rows("element | tag | why") == [(keyword, tag(keyword), why) for keyword, why in DROPPED.items()]


def test_it_names_the_implementation_and_the_new_objects() -> None:
    assert IMPLEMENTATION_UID in STATEMENT
    new = STATEMENT.split("## Written: new objects")[1]
    assert len(re.findall("CT, MR, PET, CR, DX, MG, US, US multi-frame, SC, Enhanced CT and Enhanced MR", new)) == 1
    assert len(Kind) == 11


def test_it_lists_the_types_of_frames() -> None:
    found = {}
    for syntaxes, media in rows("encoding of frames"):
        for one in syntaxes.split(", "):
            whole = one if one[0] != "." else f"1.2.840.10008.1.2.4{one}"
            found[whole] = media
    assert found.pop("native (implicit") == PLAIN
    assert {one: media for one, media in found.items() if one[0].isdigit()} == IMAGE_TYPES
