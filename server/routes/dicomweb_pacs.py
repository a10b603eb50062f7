# SPDX-License-Identifier: Apache-2.0
"""/dicom-web where a PACS is set up: searches and retrievals are passed on to it, for who may read here."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from http.client import HTTPException, HTTPResponse
from urllib.parse import quote, urlencode

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.responses import Response

from clarivox.errors import AccessError, InputError, NotFoundError, ServiceError, TruncatedError
from clarivox.server.auth import Reader
from clarivox.server.deps import Parts
from clarivox.server.dicom_answers import CHUNK, HEADERS
from clarivox.server.dicom_deps import INSTANCE, ROOT, SERIES, STUDY, Wanted, root
from clarivox.server.media_types import JSON
from clarivox.server.problems import responses

router = APIRouter(tags=["dicom-web"])

AT_ONCE = CapacityLimiter(32)
"""Threads that wait for the PACS; others serve what needs no PACS."""
TAKEN = re.compile(rb'"https?://[^"\\]{0,2000}?(/studies/)')
"""An address of the PACS in DICOM JSON, up to where ours goes on like it."""
LONGEST = 2100
"""Bytes that such an address may have before it is known as one."""
PASSED = ("content-type", "content-length", "warning")
"""Headers of the PACS that the client gets."""


class Addresses:
    """Puts our root for that of the PACS into DICOM JSON, piece by piece.

    >>> ours = Addresses("http://here/dicom-web")
    >>> ours.take(b'{"BulkDataURI":"http://pacs/web/stu') + ours.take(b'dies/1.2/x"}') + ours.end()
    b'{"BulkDataURI":"http://here/dicom-web/studies/1.2/x"}'
    """

    def __init__(self, root: str) -> None:
        self._root, self._kept = b'"' + root.encode() + rb"\1", b""

    def take(self, piece: bytes) -> bytes:
        """What may be sent after this piece."""
        text = TAKEN.sub(self._root, self._kept + piece)
        at = text.rfind(b'"')
        at = len(text) if at < 0 or len(text) - at > LONGEST else at
        self._kept = text[at:]
        return text[:at]

    def end(self) -> bytes:
        """What was kept back."""
        return self._kept


def path_of(request: Request) -> str:
    """What is asked for below the root, with its query, for the PACS.

    Raises:
        NotFoundError: the path leads elsewhere.
    """
    parts = request.url.path.removeprefix(ROOT).strip("/").split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise NotFoundError("there is no such study, series or instance here", code="no_such_object")
    query = urlencode([(name, text) for name, text in request.query_params.multi_items() if name != "accept"])
    return "/" + "/".join(quote(part, safe=",") for part in parts) + (f"?{query}" if query else "")


def checked(answer: HTTPResponse) -> None:
    """Turn what the PACS refuses into an error of ours; its own words may name a patient.

    Raises:
        ClarivoxError: by its status. That it does not let us in is no refusal of who asks us.
    """
    if answer.status in (400, 406):
        code = "bad_query" if answer.status == 400 else "not_acceptable"
        raise InputError("the PACS does not take this request", code=code)
    from clarivox.server.pacs.web import DicomWeb

    try:
        DicomWeb.check(answer.status)
    except AccessError as error:
        raise ServiceError(str(error), code=error.code) from error


async def passed(request: Request, parts: Parts, caller: Reader, accept: Wanted) -> Response:
    """The answer of the PACS, sent while it comes."""
    assert parts.archive is not None, "these routes are there where a PACS is"
    path = path_of(request)
    answer = await to_thread.run_sync(parts.archive.opened, path, accept or "*/*", limiter=AT_ONCE)
    try:
        checked(answer)
    except BaseException:
        answer.close()
        raise
    if answer.status == 204:
        answer.close()
        return Response(status_code=204, headers=HEADERS)
    given = {name: text for name in PASSED if (text := answer.getheader(name)) is not None}
    media = given.get("content-type", "").partition(";")[0].strip().lower()
    addresses = Addresses(root(request)) if media in (JSON, "application/json") else None
    if addresses is not None:
        given.pop("content-length", None)
    return StreamingResponse(pieces(answer, addresses), answer.status, headers={**given, **HEADERS})


async def pieces(answer: HTTPResponse, addresses: Addresses | None) -> AsyncIterator[bytes]:
    """The body of an answer.

    Raises:
        TruncatedError: the connection broke.
    """
    try:
        while piece := await to_thread.run_sync(answer.read1, CHUNK, limiter=AT_ONCE):
            yield piece if addresses is None else addresses.take(piece)
        if addresses is not None:
            yield addresses.end()
    except (OSError, HTTPException) as cause:
        raise TruncatedError("the answer of the PACS ends too early; ask again") from cause
    finally:
        answer.close()


PATHS = {
    "search_studies": ROOT + "/studies",
    "search_series": ROOT + "/series",
    "search_instances": ROOT + "/instances",
    "search_study_series": STUDY + "/series",
    "search_study_instances": STUDY + "/instances",
    "search_series_instances": SERIES + "/instances",
    "retrieve_study": STUDY,
    "study_metadata": STUDY + "/metadata",
    "retrieve_series": SERIES,
    "series_metadata": SERIES + "/metadata",
    "retrieve_instance": INSTANCE,
    "instance_metadata": INSTANCE + "/metadata",
    "retrieve_frames": INSTANCE + "/frames/{frames}",
    "study_thumbnail": STUDY + "/thumbnail",
    "series_thumbnail": SERIES + "/thumbnail",
    "series_rendered": SERIES + "/rendered",
    "retrieve_part": INSTANCE + "/{part:path}",
}
"""What is passed on: reading, and nothing else."""

for _name, _path in PATHS.items():
    router.add_api_route(_path, passed, operation_id=_name, response_class=Response, responses=responses(400, 404, 406))
