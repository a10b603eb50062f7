# SPDX-License-Identifier: Apache-2.0
"""QIDO-RS: studies, series and instances among the server's own inputs and results (PS3.18 10.6)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from fastapi import APIRouter, Request, Response

from clarivox.server import dicom_answers, media_types
from clarivox.server.auth import Reader
from clarivox.server.dicom_deps import ROOT, SERIES, STUDY, Store, Wanted, root
from clarivox.server.dicom_found import Answer, found_instances, found_series, found_studies, studies_of
from clarivox.server.dicom_objects import Series
from clarivox.server.dicom_query import MOST_RESULTS, Query, query_of
from clarivox.server.media_types import JSON
from clarivox.server.problems import responses

router = APIRouter(tags=["dicom-web"])

_COUNT = {"type": "integer", "minimum": 0, "maximum": 999_999_999}
_KEYS = (
    "StudyInstanceUID",
    "PatientName",
    "PatientID",
    "StudyDate",
    "AccessionNumber",
    "ModalitiesInStudy",
    "Modality",
)
_FUZZY = "The fuzzymatching parameter is not supported. Only literal matching has been performed."
_MORE = "The number of results exceeded the maximum supported by the server. Additional results can be requested."


def answers() -> dict[str, Any]:
    """What a search documents."""
    array = {"schema": {"type": "array", "items": {"type": "object"}}}
    text = {"type": "string", "maxLength": 256}
    given = [("limit", _COUNT), ("offset", _COUNT), ("fuzzymatching", {"type": "boolean"}), ("includefield", text)]
    parameters = [{"name": name, "in": "query", "schema": schema} for name, schema in given]
    parameters += [{"name": name, "in": "query", "schema": text} for name in (*_KEYS, "accept")]
    return {
        "response_class": Response,
        "responses": {
            200: {"description": "What was found.", "content": {JSON: array, "application/json": array}},
            **responses(400, 406),
        },
        "openapi_extra": {"parameters": parameters},
    }


def page(request: Request, accept: str, query: Query, found: Iterator[Answer]) -> Response:
    """The answers from the one asked for on."""
    type_ = media_types.json_type(accept)
    kept = list(islice(found, query.offset, query.offset + query.limit))
    warnings = [_FUZZY] if query.fuzzy else []
    if len(kept) == MOST_RESULTS and next(found, None) is not None:
        warnings.append(_MORE)
    return dicom_answers.listed(kept, type_, warnings)


def asked(request: Request) -> Query:
    """The search of a request."""
    return query_of(request.query_params.multi_items())


def searched(
    request: Request, accept: str, series: list[Series], level: str, *, study: bool = False, one_series: bool = False
) -> Response:
    """The answer to a search.

    Args:
        request: with the parameters.
        accept: what the client takes.
        series: to look into.
        level: studies, series or instances.
        study: whether the address names the study.
        one_series: whether it names the series too.
    """
    query, among, begin = asked(request), studies_of(series), root(request)
    if level == "studies":
        found = found_studies(query, among, begin)
    elif level == "series":
        found = found_series(query, among, begin, with_study=not study)
    else:
        found = found_instances(query, among, begin, with_study=not study, with_series=not one_series)
    return page(request, accept, query, found)


@router.get(ROOT + "/studies", operation_id="search_studies", **answers())
def studies(request: Request, store: Store, caller: Reader, accept: Wanted) -> Response:
    """Studies; any attribute by keyword or tag, with wildcards, lists of UIDs and ranges of dates."""
    return searched(request, accept, store.series(caller.sees), "studies")


@router.get(ROOT + "/series", operation_id="search_series", **answers())
def all_series(request: Request, store: Store, caller: Reader, accept: Wanted) -> Response:
    """Series of all studies."""
    return searched(request, accept, store.series(caller.sees), "series")


@router.get(ROOT + "/instances", operation_id="search_instances", **answers())
def all_instances(request: Request, store: Store, caller: Reader, accept: Wanted) -> Response:
    """Instances of all studies."""
    return searched(request, accept, store.series(caller.sees), "instances")


@router.get(STUDY + "/series", operation_id="search_study_series", **answers())
def study_series(request: Request, store: Store, caller: Reader, accept: Wanted, study: str) -> Response:
    """Series of a study."""
    return searched(request, accept, store.series(caller.sees, study), "series", study=True)


@router.get(STUDY + "/instances", operation_id="search_study_instances", **answers())
def study_instances(request: Request, store: Store, caller: Reader, accept: Wanted, study: str) -> Response:
    """Instances of a study."""
    return searched(request, accept, store.series(caller.sees, study), "instances", study=True)


@router.get(SERIES + "/instances", operation_id="search_series_instances", **answers())
def series_instances(
    request: Request, store: Store, caller: Reader, accept: Wanted, study: str, series: str
) -> Response:
    """Instances of a series."""
    found = store.series(caller.sees, study, series)
    return searched(request, accept, found, "instances", study=True, one_series=True)
