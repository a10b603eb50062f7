# SPDX-License-Identifier: Apache-2.0
"""`/session/` of MONAI Label: an image that is sent once and worked on for a while."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, File, Query, Request, UploadFile
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from clarivox.errors import NotFoundError
from clarivox.server.auth import Inferer, Reader
from clarivox.server.downloads import download
from clarivox.server.label_parts import FILE, With, received
from clarivox.server.problems import responses
from clarivox.server.sessions import LONGEST_S

router = APIRouter(
    prefix="/session",
    tags=["MONAI Label"],
    responses=responses(401, 403, 404, 413, 415, 422, 503, 507),
    form_limits={"max_files": 20_000},  # a series has a file for each slice
)


@router.put("/", operation_id="monailabel_session_begin")
async def begin(
    labels: With,
    caller: Inferer,
    files: Annotated[list[UploadFile], File(description="One image, or the files of one series.")],
    uncompress: Annotated[bool, Query(description="Not needed: what a file is, is seen in it.")] = False,
    expiry: Annotated[int, Query(ge=0, le=10 * LONGEST_S, description="Seconds without use; 0: an hour.")] = 0,
) -> dict[str, Any]:
    """Begins a session."""
    kept = [await received(labels.parts, one) for one in files]
    session = await run_in_threadpool(labels.sessions.add, caller.owner, kept, expiry)
    return {"session_id": session.id, "session_info": session.as_json()}


@router.get(
    "/{session_id}",
    operation_id="monailabel_session",
    response_class=Response,
    responses=FILE | {200: {"content": {"application/json": {}, "application/octet-stream": {}}}},
)
def look(
    request: Request, labels: With, caller: Reader, session_id: str, update_ts: bool = False, image: bool = False
) -> Any:
    """A session, or with `image` the file that it began with."""
    session = labels.sessions.get(session_id, caller.owner, touch=update_ts)
    if not image:
        return JSONResponse(session.as_json())
    if len(session.files) != 1:
        raise NotFoundError("the session holds several files, not one image", code="no_such_image")
    return download(request, labels.parts.blobs, session.files[0])


@router.delete("/{session_id}", operation_id="monailabel_session_end")
def end(labels: With, caller: Inferer, session_id: str) -> dict[str, Any]:
    """Ends a session."""
    return labels.sessions.remove(session_id, caller.owner).as_json()
