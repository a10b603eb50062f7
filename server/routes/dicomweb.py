# SPDX-License-Identifier: Apache-2.0
"""WADO-RS: files, headers, frames and binary values of the server's own inputs and results (PS3.18 10.4)."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from clarivox.errors import InputError, NotFoundError
from clarivox.server import dicom_answers, media_types
from clarivox.server.auth import Reader
from clarivox.server.dicom_answers import Part
from clarivox.server.dicom_deps import INSTANCE, SERIES, STUDY, Store, Wanted, root
from clarivox.server.dicom_objects import Instance
from clarivox.server.media_types import DICOM, JSON, PLAIN, RELATED
from clarivox.server.problems import responses

router = APIRouter(tags=["dicom-web"])

_NUMBERS = re.compile(r"[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*")
Numbers = Annotated[
    str, Path(description="From 1, with commas.", json_schema_extra={"pattern": f"^{_NUMBERS.pattern}$"})
]
_PIXELS = "7FE00010"


def answers(*types: str, refusals: tuple[int, ...] = (400, 404, 406)) -> dict[str, Any]:
    """What a route documents."""
    content: dict[str, Any] = {type_: {"schema": {"type": "string", "format": "binary"}} for type_ in types}
    if JSON in types:
        array = {"schema": {"type": "array", "items": {"type": "object"}}}
        content |= {JSON: array, "application/json": array}
    extra = {
        "parameters": [
            {"name": "accept", "in": "query", "schema": {"type": "string"}, "description": "In place of the header."}
        ]
    }
    return {
        "response_class": Response,
        "responses": {200: {"description": "As asked for.", "content": content}, **responses(*refusals)},
        "openapi_extra": extra,
    }


def addressed(request: Request, found: list[Instance]) -> list[tuple[Instance, str]]:
    """Instances with the address of each."""
    begin = root(request)
    return [(one, f"{begin}/studies/{one.study}/series/{one.series}/instances/{one.uid}") for one in found]


def whole(request: Request, found: list[Instance], accept: str) -> Response:
    """Files of instances."""
    single = len(found) == 1
    parts = dicom_answers.files(addressed(request, found))
    if media_types.dicom_form(accept, (one.syntax for one in found), single=single):
        return dicom_answers.related(parts)
    return dicom_answers.alone(parts[0])


def headers(request: Request, found: list[Instance], accept: str) -> Response:
    """Headers of instances."""
    return dicom_answers.metadata(addressed(request, found), media_types.json_type(accept))


@router.get(STUDY, operation_id="retrieve_study", **answers(RELATED))
def study(request: Request, store: Store, caller: Reader, accept: Wanted, study: str) -> Response:
    """The files of a study, in the transfer syntax that they are stored in."""
    return whole(request, store.instances(caller.sees, study, None, None), accept)


@router.get(SERIES, operation_id="retrieve_series", **answers(RELATED))
def series(request: Request, store: Store, caller: Reader, accept: Wanted, study: str, series: str) -> Response:
    """The files of a series."""
    return whole(request, store.instances(caller.sees, study, series, None), accept)


@router.get(INSTANCE, operation_id="retrieve_instance", **answers(RELATED, DICOM))
def instance(
    request: Request, store: Store, caller: Reader, accept: Wanted, study: str, series: str, instance: str
) -> Response:
    """The file of an instance."""
    return whole(request, store.instances(caller.sees, study, series, instance), accept)


@router.get(STUDY + "/metadata", operation_id="study_metadata", **answers(JSON))
def study_metadata(request: Request, store: Store, caller: Reader, accept: Wanted, study: str) -> Response:
    """The headers of a study."""
    return headers(request, store.instances(caller.sees, study, None, None), accept)


@router.get(SERIES + "/metadata", operation_id="series_metadata", **answers(JSON))
def series_metadata(
    request: Request, store: Store, caller: Reader, accept: Wanted, study: str, series: str
) -> Response:
    """The headers of a series."""
    return headers(request, store.instances(caller.sees, study, series, None), accept)


@router.get(INSTANCE + "/metadata", operation_id="instance_metadata", **answers(JSON))
def instance_metadata(
    request: Request, store: Store, caller: Reader, accept: Wanted, study: str, series: str, instance: str
) -> Response:
    """The header of an instance."""
    return headers(request, store.instances(caller.sees, study, series, instance), accept)


def given_frames(request: Request, found: Instance, numbers: list[int], accept: str) -> Response:
    """Some frames of an instance, by their numbers from 1."""
    frames = found.frames()
    if not frames:
        raise NotFoundError("the instance has no frames that can be handed out", code="no_frames")
    if max(numbers) > len(frames):
        raise NotFoundError(f"the instance has {len(frames)} frames", code="no_frames")
    related, type_, syntax = media_types.frame_form(accept, found.syntax, len(numbers))
    ((_, address),) = addressed(request, [found])
    parts = [Part(type_, frames[number - 1], f"{address}/frames/{number}", syntax) for number in numbers]
    return dicom_answers.related(parts) if related else dicom_answers.alone(parts[0])


@router.get(INSTANCE + "/frames/{frames}", operation_id="retrieve_frames", **answers(RELATED, PLAIN))
def frames(
    request: Request,
    store: Store,
    caller: Reader,
    accept: Wanted,
    study: str,
    series: str,
    instance: str,
    frames: Numbers,
) -> Response:
    """Frames of an instance, their numbers from 1 with commas; compressed ones as they are stored."""
    if not _NUMBERS.fullmatch(frames):
        raise InputError("frames are numbers from 1, with commas between them", code="bad_query")
    (found,) = store.instances(caller.sees, study, series, instance)
    return given_frames(request, found, [int(number) for number in frames.split(",")], accept)


@router.get(INSTANCE + "/bulkdata/{path}", operation_id="retrieve_bulkdata", **answers(RELATED, PLAIN))
def bulkdata(
    request: Request, store: Store, caller: Reader, accept: Wanted, study: str, series: str, instance: str, path: str
) -> Response:
    """A long binary value of a header, by the address that stands in the header."""
    (found,) = store.instances(caller.sees, study, series, instance)
    if path == _PIXELS:
        return given_frames(request, found, list(range(1, len(found.frames()) + 1)) or [1], accept)
    piece = found.bulk(path)
    if piece is None:
        raise NotFoundError("the instance has no such value", code="no_such_object")
    ((_, address),) = addressed(request, [found])
    part = dicom_answers.value(piece, f"{address}/bulkdata/{path}")
    return dicom_answers.related([part]) if media_types.bulk_form(accept) else dicom_answers.alone(part)


def not_rendered(caller: Reader) -> Response:
    """Pictures are not made here: a viewer renders frames itself."""
    raise media_types.refused("images are not rendered here; ask for frames")


_LEVELS = {"study": STUDY, "series": SERIES, "instance": INSTANCE, "frames": INSTANCE + "/frames/{frames}"}
for _name, _level in _LEVELS.items():
    _given = answers(refusals=(406,))
    _given["openapi_extra"] = {
        "parameters": [
            {"name": one, "in": "path", "required": True, "schema": {"type": "string"}}
            for one in re.findall(r"{(\w+)}", _level)
        ]
    }
    for _what in ("rendered", "thumbnail"):
        router.get(f"{_level}/{_what}", operation_id=f"{_name}_{_what}", **_given)(not_rendered)
