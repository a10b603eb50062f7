# SPDX-License-Identifier: Apache-2.0
"""C-FIND: studies, series and instances among the results of what came in (PS3.4 annex C, study root)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from pydicom import Dataset
from pydicom.dataelem import DataElement

from clarivox.errors import ClarivoxError, InputError
from clarivox.io.dicom_values import PARSE_ERRORS
from clarivox.server.dicom_found import Answer, found_instances, found_series, found_studies, studies_of
from clarivox.server.dicom_query import MOST_RESULTS, query_of
from clarivox.server.dicom_store import DicomStore
from clarivox.server.pacs.inbox import OWNER

log = logging.getLogger("clarivox.server.pacs.finding")

PENDING, CANCELLED = 0xFF00, 0xFE00
OUT_OF_RESOURCES, NO_SUCH_QUERY, CANNOT_PROCESS = 0xA700, 0xA900, 0xC000
KEYS_BYTES = 64 << 10
"""Longest query that is looked at."""

SAID = {"00080005", "00080052", "00080054"}
"""Of a query what is no key: its character set, its level, and where to retrieve from."""
NAMES = {"0020000D", "0020000E", "00080018"}
"""UIDs of study, series and instance, which every answer of their level gives."""
UNICODE = "ISO_IR 192"

Found = tuple[int, Dataset | None]


class Finder:
    """Answers queries.

    Args:
        store: of the server.
    """

    def __init__(self, store: DicomStore) -> None:
        self._store = store

    def find(self, asked: Callable[[], Dataset], cancelled: Callable[[], bool]) -> Iterator[Found]:
        """What fits a query, an answer each; an error ends them.

        Args:
            asked: decodes the query.
            cancelled: whether the peer wants no more.
        """
        try:
            keys = asked()
            level = str(keys.get("QueryRetrieveLevel", ""))
            pairs = list(pairs_of(keys))
            answers = self._answers(level, keys, pairs)
            if answers is None:
                yield NO_SUCH_QUERY, None
                return
            for number, answer in enumerate(answers):
                if cancelled():
                    yield CANCELLED, None
                    return
                if number == MOST_RESULTS:
                    yield OUT_OF_RESOURCES, None
                    return
                yield PENDING, told(answer, level, keys)
        except (InputError, *PARSE_ERRORS) as error:
            log.warning("a query cannot be understood: %s", getattr(error, "code", "bad_query"))
            yield CANNOT_PROCESS, None
        except (ClarivoxError, OSError) as error:
            log.warning("a query was not answered: %s", getattr(error, "code", "os_error"))
            yield OUT_OF_RESOURCES, None

    def _answers(self, level: str, keys: Dataset, pairs: list[tuple[str, str]]) -> Iterator[Answer] | None:
        query = query_of(pairs)
        study, series = one_of(keys, "StudyInstanceUID"), one_of(keys, "SeriesInstanceUID")
        among = studies_of(self._store.series(OWNER, study, series))
        if level == "STUDY":
            return found_studies(query, among, "")
        if level == "SERIES":
            return found_series(query, among, "", with_study=True)
        if level == "IMAGE":
            return found_instances(query, among, "", with_study=True, with_series=True)
        return None


def told(answer: Answer, level: str, keys: Dataset) -> Dataset:
    """An answer: what was asked for, empty where there is none, and what names the thing."""
    tags = {element.tag.json_key for element in keys if not element.tag.is_private} - SAID
    found = Dataset()
    for tag, element in answer.items():
        if tag in tags | NAMES:
            found.add(DataElement.from_json(Dataset, tag, element["vr"], *value_of(element)))
    for tag in tags - set(answer):
        found.add(DataElement(int(tag, 16), keys[tag].VR, None))
    found.SpecificCharacterSet = UNICODE
    found.QueryRetrieveLevel = level
    return found


def value_of(element: dict[str, Any]) -> tuple[Any, str | None]:
    """The value of an element of DICOM JSON, and its name there; of none, an empty one."""
    for name in ("Value", "InlineBinary"):
        if name in element:
            return element[name], name
    return [], "Value"


def pairs_of(keys: Dataset) -> Iterator[tuple[str, str]]:
    """A query as the parameters of QIDO-RS: an empty key asks for the attribute.

    >>> asked = Dataset()
    >>> asked.PatientName, asked.StudyDate, asked.Modality = "DOE*", "", ["CT", "MR"]
    >>> list(pairs_of(asked))
    [('includefield', '00080020'), ('00080060', 'CT,MR'), ('00100010', 'DOE*')]
    """
    for element in keys:
        tag = element.tag.json_key
        if tag in SAID or element.tag.is_private:
            continue
        several = element.value if element.VM > 1 else [element.value]
        text = "" if element.VR == "SQ" else ",".join(str(one) for one in several if one is not None)
        yield (tag, text) if text else ("includefield", tag)


def one_of(keys: Dataset, keyword: str) -> str | None:
    """A key's only value; None where it asks for several, or for any."""
    value = keys.get(keyword)
    found = str(value) if value is not None and not isinstance(value, list) else ""
    return None if not found or set(found) & set("*?\\,") else found
