# SPDX-License-Identifier: Apache-2.0
"""What a job made: the result, in its own format or another, and the page that shows what changed."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from clarivox.errors import NotFoundError
from clarivox.server.conversion import converted
from clarivox.server.deps import Owned, Parts
from clarivox.server.downloads import download, files_of
from clarivox.server.job import Role
from clarivox.server.problems import responses
from clarivox.server.schemas import Form, SeriesPair
from clarivox.server.series_files import series_of
from clarivox.server.wire import BINARY, IMAGE, PAGE

router = APIRouter(prefix="/v1/jobs", tags=["results"])


def answers(content: dict[str, Any], *more: int) -> dict[int | str, dict[str, Any]]:
    """What a route that sends a file documents; `more` are statuses of errors that not every file knows."""
    return {
        200: {"description": "The file.", "content": content},
        206: {"description": "A range of it, or several.", "content": {**content, "multipart/byteranges": BINARY}},
        304: {"description": "It is the one of that ETag."},
        **responses(409, 410, 416, *more),
    }


CONVERTED = answers(IMAGE, 413, 415)
"""Of the result, which may have to be read anew to convert it."""
PAGE_POLICY = "sandbox allow-scripts; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
PAGE_POLICY += "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""The page is ours, but says words of the image's header: in a browser it stands apart from everything else."""


@router.get("/{job_id}/result", operation_id="get_result", response_class=Response, responses=CONVERTED)
@router.head("/{job_id}/result", operation_id="head_result", response_class=Response, responses=CONVERTED)
def result(
    request: Request,
    found: Owned,
    parts: Parts,
    form: Annotated[Form | None, Query(alias="as", description="In another format than the input's.")] = None,
) -> Response:
    """The result: one file, or a zip of a DICOM series or of several volumes. Ranges are served."""
    files = files_of(found, Role.RESULT)
    if not files:
        raise NotFoundError("the job has no result", code="no_such_file")
    file = files[0] if form is None else converted(parts, found, files[0], form)
    return download(request, parts.blobs, file)


@router.get("/{job_id}/evidence", operation_id="get_evidence", response_class=Response, responses=answers(PAGE))
@router.head("/{job_id}/evidence", operation_id="head_evidence", response_class=Response, responses=answers(PAGE))
def evidence(
    request: Request,
    found: Owned,
    parts: Parts,
    page: Annotated[int, Query(ge=1, le=10_000, description="Of which volume, where there are several.")] = 1,
) -> Response:
    """The page that shows what the enhancement changed; one HTML file that asks for nothing else."""
    files = files_of(found, Role.EVIDENCE)
    if page > len(files):
        raise NotFoundError(f"the job has {len(files)} pages of evidence", code="no_such_file")
    headers = {"Content-Security-Policy": PAGE_POLICY}
    return download(request, parts.blobs, files[page - 1], inline=True, headers=headers)


@router.get("/{job_id}/series", operation_id="get_series", responses=responses(404))
def series(found: Owned, parts: Parts) -> SeriesPair:
    """Which DICOM series the job was given, and which it made: both are found under /dicom-web."""
    source, derived = series_of(parts, found)
    return SeriesPair(study=derived.study, source=source.uid, derived=derived.uid)
