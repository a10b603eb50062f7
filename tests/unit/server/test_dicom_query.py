# SPDX-License-Identifier: Apache-2.0
"""A search fits what PS3.4 C.2.2.2 says it fits, and is refused where it cannot be understood."""

from typing import Any

import pytest

from clarivox.errors import InputError
from clarivox.server.dicom_query import MOST_RESULTS, query_of

OBJECT: dict[str, dict[str, Any]] = {
    "00080020": {"vr": "DA", "Value": ["20240229"]},
    "00080030": {"vr": "TM", "Value": ["113059.25"]},
    "0008002A": {"vr": "DT", "Value": ["20240229113059"]},
    "00080050": {"vr": "SH"},
    "00080060": {"vr": "CS", "Value": ["CT"]},
    "00080061": {"vr": "CS", "Value": ["CT", "SR"]},
    "0008103E": {"vr": "LO", "Value": ["Thorax 5.0 B30f"]},
    "00100010": {
        "vr": "PN",
        "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}],
    },
    "00100020": {"vr": "LO", "Value": ["a[1]*b"]},
    "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
    "00200011": {"vr": "IS", "Value": [7]},
    "00180050": {"vr": "DS", "Value": [2.5]},
    "00400275": {"vr": "SQ", "Value": [{"00401001": {"vr": "SH", "Value": ["RP1"]}}, {}]},
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("StudyDate", "20240229"),
        ("StudyDate", "20240101-20241231"),
        ("StudyDate", "-20240229"),
        ("StudyDate", "20240229-"),
        ("StudyTime", "1130-1200"),
        ("StudyTime", "11:30-11:30"),
        ("StudyTime", "1130"),
        ("AcquisitionDateTime", "20240229-20240301"),
        ("AcquisitionDateTime", "20240229113059"),
        ("Modality", "CT"),
        ("Modality", "MR,CT"),
        ("ModalitiesInStudy", "MR\\SR"),
        ("SeriesDescription", "Thorax*"),
        ("SeriesDescription", "*5.? B*"),
        ("PatientName", "yamada*"),
        ("PatientName", "Yamada^Tarou^"),
        ("PatientName", "山田*"),
        ("PatientName", "*たろう"),
        ("PatientID", "a[1]*b"),
        ("PatientID", "?[?]**"),
        ("StudyInstanceUID", "1.2.4,1.2.3"),
        ("StudyInstanceUID", "1.2.4\\1.2.3"),
        ("SeriesNumber", "7"),
        ("SeriesNumber", "007"),
        ("SliceThickness", "2.50"),
        ("RequestAttributesSequence.RequestedProcedureID", "RP*"),
        ("00400275.00401001", "RP1"),
        ("0020000d", "1.2.3"),
        ("AccessionNumber", ""),
        ("AccessionNumber", "*"),
        ("BodyPartExamined", ""),
    ],
)
def test_a_value_fits(name: str, value: str) -> None:
    assert query_of([(name, value)]).fits(OBJECT.get)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("StudyDate", "20240228"),
        ("StudyDate", "20240301-"),
        ("StudyTime", "-1100"),
        ("StudyTime", "12"),
        ("AcquisitionDateTime", "20240301-"),
        ("Modality", "C"),
        ("Modality", "ct"),
        ("SeriesDescription", "thorax*"),
        ("SeriesDescription", "Thorax"),
        ("PatientName", "Yamada"),
        ("PatientName", "a?mada*"),
        ("PatientID", "a1*b"),
        ("StudyInstanceUID", "1.2.*"),
        ("SeriesNumber", "8"),
        ("SeriesNumber", "x"),
        ("RequestAttributesSequence.RequestedProcedureID", "RP2"),
        ("AccessionNumber", "A*"),
        ("BodyPartExamined", "CHEST"),
    ],
)
def test_a_value_does_not_fit(name: str, value: str) -> None:
    assert not query_of([(name, value)]).fits(OBJECT.get)


@pytest.mark.parametrize(
    "pairs",
    [
        [("limit", "-1")],
        [("limit", "1.5")],
        [("offset", "٣")],
        [("offset", "9" * 30)],
        [("fuzzymatching", "")],
        [("Patient Name", "x")],
        [("PatientName.", "x")],
        [("0010001", "x")],
        [("PatientName", "x" * 5000)],
        [("PatientID", "x")] * 51,
    ],
)
def test_nonsense_is_refused(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(InputError) as caught:
        query_of(pairs)
    assert caught.value.code == "bad_query"


def test_fields_to_include_come_as_words_tags_or_lists() -> None:
    query = query_of([("includefield", "StudyDescription,00100010"), ("includefield", "Nonsense"), ("Modality", "CT")])
    assert query.tags == {"00081030", "00100010", "00080060"}
    assert not query.everything
    assert query_of([("includefield", "all")]).everything


def test_no_search_is_without_a_limit() -> None:
    assert query_of([]).limit == query_of([("limit", "99999")]).limit == MOST_RESULTS
    assert query_of([("limit", "0")]).limit == 0


def test_many_stars_cost_no_more_than_a_few() -> None:
    element = {"00100020": {"vr": "LO", "Value": ["a" * 4000]}}
    # What tries each way to lay the stars would not end at all.
    assert not query_of([("PatientID", "*a" * 1000 + "*b")]).fits(element.get)
