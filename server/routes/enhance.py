# SPDX-License-Identifier: Apache-2.0
"""One request, one answer: an image in, the enhanced image out."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi_problem.error import Problem
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from clarivox.errors import BusyError, CancelledError, ConflictError
from clarivox.server.auth import Inferer
from clarivox.server.deps import Parts
from clarivox.server.downloads import download, files_of
from clarivox.server.intake import submitted
from clarivox.server.job import Job, Role, State
from clarivox.server.problems import responses
from clarivox.server.wire import IMAGE, REQUEST

router = APIRouter(prefix="/v1/enhance", tags=["enhance"])

TURN_S = 1.0
"""How often it is asked whether the client still waits."""
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The result.", "content": IMAGE},
    **responses(409, 410, 415, 429),
}


@router.post("", operation_id="enhance", response_class=Response, responses=ANSWERS, openapi_extra=REQUEST)
async def enhance(request: Request, parts: Parts, caller: Inferer) -> Response:
    """Enhance an image and answer with the result: curl -F file=@ct.nii.gz -F bundle=ct_unet_denoise …/v1/enhance.

    Takes what POST /v1/jobs takes, and waits until the job has ended. A client that goes away cancels it.
    """
    found = await submitted(request, parts, caller)
    here = f"/v1/jobs/{found.id}"
    request.state.job_id = found.id
    request.state.problem_headers = {"Location": here}
    while not found.ended:
        found = await parts.watch.ended(found, TURN_S)
        if parts.stopping.is_set() and not found.ended:
            raise BusyError("the server is stopping; the job goes on, follow it", code="draining")
        if not found.ended and await request.is_disconnected():
            await run_in_threadpool(stop, parts, found)
            raise CancelledError("the client went away")
    if found.state is not State.SUCCEEDED:
        raise failure(found, here)
    file = files_of(found, Role.RESULT)[0]
    headers = {"Content-Location": f"{here}/result", "Link": f'<{here}>; rel="describedby"'}
    return await run_in_threadpool(download, request, parts.blobs, file, headers=headers)


def stop(parts: Parts, found: Job) -> None:
    """Cancel a job for whose result nobody waits any more."""
    try:
        parts.ledger.cancel(found.id)
    except ConflictError:
        return  # it ended meanwhile


def failure(found: Job, here: str) -> Problem:
    """The problem that a job which did not succeed is."""
    error = found.error or {}
    status = int(error.get("status") or 409)
    return Problem(
        str(error.get("title") or "Conflict"),
        type_=f"urn:clarivox:{error.get('code') or found.state}",
        detail=str(error.get("detail") or f"the job has {found.state}"),
        status=status,
        headers={"Location": here},
        code=str(error.get("code") or found.state),
        retryable=bool(error.get("retryable")),
        job=found.id,
    )
