# SPDX-License-Identifier: Apache-2.0
"""Accept headers as clients of DICOMweb really send them, and what each gets."""

import pytest

from clarivox.errors import InputError
from clarivox.server import media_types
from clarivox.server.media_types import PLAIN, accepted

LITTLE, IMPLICIT, JLS = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.80"
RELATED_PLAIN = 'multipart/related; type="application/octet-stream"'


def test_quotes_blanks_and_weights_are_understood() -> None:
    header = 'multipart/related;type="image/jls;v=1";q=0.5 , multipart/related; TYPE=image/jp2; transfer-syntax=*'
    first, second = accepted(header)
    assert (first.type, first.syntax, first.related) == ("image/jp2", "*", True)
    assert (second.type, second.weight) == ("image/jls;v=1", 0.5)
    assert accepted("text/html;q=0") == []
    assert accepted("")[0].type == "*/*"
    for nonsense in (";", ",;,", '"', 'a/b; x="\\"', "multipart/related; type", "=;=,=", "\x00"):
        accepted(nonsense)


@pytest.mark.parametrize(
    ("header", "syntax", "expected"),
    [
        ("*/*", LITTLE, (True, PLAIN, LITTLE)),
        (RELATED_PLAIN, IMPLICIT, (True, PLAIN, LITTLE)),
        (RELATED_PLAIN + "; transfer-syntax=*", JLS, (True, "image/jls", JLS)),
        (RELATED_PLAIN + f"; transfer-syntax={JLS}", JLS, (True, "image/jls", JLS)),
        ("multipart/related; type=image/jls", JLS, (True, "image/jls", JLS)),
        ("multipart/related; type=image/*", JLS, (True, "image/jls", JLS)),
        ('multipart/related; type="*/*"', JLS, (True, "image/jls", JLS)),
        ("multipart/related", JLS, (True, "image/jls", JLS)),
        ("image/jls, multipart/related; q=0.5", JLS, (False, "image/jls", JLS)),
        (PLAIN, LITTLE, (False, PLAIN, LITTLE)),
        (PLAIN + "; transfer-syntax=*", JLS, (False, "image/jls", JLS)),
    ],
)
def test_frames_go_out_as_they_are_stored(header: str, syntax: str, expected: tuple[bool, str, str]) -> None:
    assert media_types.frame_form(header, syntax, 1) == expected


@pytest.mark.parametrize(
    ("header", "syntax", "frames"),
    [
        (RELATED_PLAIN, JLS, 1),
        (RELATED_PLAIN + f"; transfer-syntax={LITTLE}", JLS, 1),
        (f"multipart/related; type=image/jls; transfer-syntax={LITTLE}", JLS, 1),
        ("image/jpeg", JLS, 1),
        ("image/jls", JLS, 2),
        (RELATED_PLAIN + f"; transfer-syntax={JLS}", LITTLE, 1),
    ],
)
def test_frames_are_not_converted(header: str, syntax: str, frames: int) -> None:
    with pytest.raises(InputError) as caught:
        media_types.frame_form(header, syntax, frames)
    assert caught.value.code == "not_acceptable"


def test_files_go_out_in_their_own_syntax() -> None:
    wanted = 'multipart/related; type="application/dicom"'
    assert media_types.dicom_form(wanted, [JLS, LITTLE], single=False)
    assert media_types.dicom_form(wanted + f"; transfer-syntax={JLS}", [JLS], single=True)
    assert not media_types.dicom_form("application/dicom", [JLS], single=True)
    for header, single in (
        (wanted + f"; transfer-syntax={LITTLE}", True),
        ("application/dicom", False),
        ("image/jpeg", True),
    ):
        with pytest.raises(InputError):
            media_types.dicom_form(header, [JLS], single=single)


def test_headers_are_json_only() -> None:
    assert media_types.json_type("application/json, text/plain, */*") == "application/json"
    assert media_types.json_type("*/*") == "application/dicom+json"
    with pytest.raises(InputError):
        media_types.json_type('multipart/related; type="application/dicom+xml"')
