# SPDX-License-Identifier: Apache-2.0
"""Files by their SHA-256: sent once, in parts if need be, and named by as many jobs as one likes."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from clarivox.errors import BusyError, ConflictError, InputError, LimitError
from clarivox.server.auth import Inferer
from clarivox.server.blobs import Blobs, no_such_blob
from clarivox.server.deps import Parts, Services
from clarivox.server.intake import length_of
from clarivox.server.problems import responses
from clarivox.server.pump import Pump
from clarivox.server.schemas import Blob

router = APIRouter(prefix="/v1/blobs", tags=["blobs"])

RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)
Digest = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="SHA-256 of the file, in lower case.")]
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
SO_FAR = {"Upload-Offset": {"description": "Bytes that are here.", "schema": {"type": "integer"}}}
SENT: dict[int | str, dict[str, Any]] = {
    200: {"model": Blob, "description": "It was here already."},
    201: {"model": Blob, "description": "It is here."},
    202: {"model": Blob, "description": "These bytes are here; go on after them.", "headers": SO_FAR},
    **responses(409, 415),
}


def span(given: str | None) -> tuple[int, int, int] | None:
    """First byte, end and size of a Content-Range; None where there is none.

    >>> span("bytes 4-7/8")
    (4, 8, 8)

    Raises:
        InputError: it is not one.
    """
    if given is None:
        return None
    found = RANGE.fullmatch(given)
    first, last, size = (int(one) for one in found.groups()) if found else (1, 0, 0)
    if not first <= last < size:
        raise InputError(f"a Content-Range is as bytes 0-9/10; found {given[:80]}", code="bad_request")
    return first, last + 1, size


def check(parts: Services, request: Request, size: int) -> None:
    """Refuse before the body is read what would be refused after it.

    Raises:
        BusyError: the server stops.
        LimitError: the file is larger than a request may be.
        CapacityError: there is no room on the disk.
    """
    if parts.draining.is_set():
        raise BusyError("the server is stopping; ask again when it is back", code="draining")
    if size > parts.settings.body_bytes:
        raise LimitError(f"a file has at most {parts.settings.body_bytes} bytes", code="body_too_large")
    parts.blobs.admit(length_of(request))


def present(blobs: Blobs, sha256: str) -> bool:
    """Whether the file is here; if so it counts as stored now, so that a job may still come for it."""
    try:
        os.utime(blobs.path(sha256))
    except FileNotFoundError:
        return False
    return True


@router.put("/{sha256}", operation_id="put_blob", status_code=201, responses=SENT, openapi_extra=BODY)
async def put(
    request: Request,
    response: Response,
    sha256: Digest,
    parts: Parts,
    _caller: Inferer,
    content_range: Annotated[
        str | None, Header(description="bytes FIRST-LAST/SIZE, to go on where it broke off.")
    ] = None,
) -> Blob:
    """Send a file, or the rest of one. What breaks off stays for a day: HEAD says how much of it is here."""
    blobs, part = parts.blobs, span(content_range)
    await run_in_threadpool(check, parts, request, part[2] if part else length_of(request))
    if await run_in_threadpool(present, blobs, sha256):
        response.status_code = 200
        return Blob(sha256=sha256, received=blobs.size(sha256), complete=True)
    request.state.problem_headers = {"Upload-Offset": str(blobs.received(sha256))}
    first = part[0] if part else 0
    with blobs.resume(sha256, first) as upload:
        try:
            async with Pump(upload.hash, upload.store) as pump:
                async for piece in request.stream():
                    if piece:
                        await pump.put(piece)
        except ClientDisconnect:
            raise InputError("the body broke off", code="too_slow") from None
        received = blobs.received(sha256)
        if part and received > part[1]:
            raise ConflictError("the body has more bytes than its Content-Range", code="wrong_offset")
        response.headers["Upload-Offset"] = str(received)
        if part and received < part[2]:
            response.status_code = 202
            return Blob(sha256=sha256, received=received, complete=False)
        await run_in_threadpool(upload.commit)
    return Blob(sha256=sha256, received=received, complete=True)


@router.head(
    "/{sha256}",
    operation_id="head_blob",
    response_class=Response,
    responses={
        200: {"description": "It is here, with so many bytes as Content-Length says."},
        204: {"description": "A part of it is here.", "headers": SO_FAR},
    },
)
def head(sha256: Digest, parts: Parts, _caller: Inferer) -> Response:
    """How much of a file is here: all of it (200), a part (204), or nothing (404).

    Raises:
        NotFoundError: nothing of it is here.
    """
    if parts.blobs.has(sha256):
        size = str(parts.blobs.size(sha256))
        return Response(headers={"Content-Length": size, "ETag": f'"{sha256}"', "Upload-Complete": "?1"})
    received = parts.blobs.received(sha256)
    if received:
        return Response(status_code=204, headers={"Upload-Offset": str(received), "Upload-Complete": "?0"})
    raise no_such_blob()
