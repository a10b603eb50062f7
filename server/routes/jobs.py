# SPDX-License-Identifier: Apache-2.0
"""Jobs: ask for one, follow it, list, cancel, ask again."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from clarivox.server import job as ledger_job
from clarivox.server.auth import Inferer, Reader
from clarivox.server.deps import Owned, Parts, Services
from clarivox.server.dicom_store import key_of
from clarivox.server.downloads import same
from clarivox.server.intake import submitted
from clarivox.server.job import Kind, State
from clarivox.server.pacs.outbox import Outbox
from clarivox.server.problems import responses
from clarivox.server.schemas import Job, Jobs, job_of
from clarivox.server.wire import IDEMPOTENCY, PREFER, REQUEST, WAIT_S, Wait

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

PROGRESS_S = 1.0
"""How often progress is told while nothing else happens."""
TAKEN: dict[int | str, dict[str, Any]] = {
    200: {"model": Job, "description": "It has ended within the time of Prefer: wait."},
    202: {"model": Job, "description": "It is in the queue; Location says where to follow it."},
}


def view(parts: Services, found: ledger_job.Job) -> Job:
    """A job as a client sees it, with its place in the queue."""
    return job_of(found, parts.ledger.position(found) if found.state is State.QUEUED else None)


def etag_of(shown: Job, seq: int) -> str:
    """The version of an answer about a job."""
    return f'"{seq}"' if shown.position is None else f'"{seq}.{shown.position}"'


def waited_s(prefer: str | None) -> float | None:
    """Seconds of a Prefer header's wait, at most a minute; None where it has none.

    >>> waited_s("respond-async, wait=10"), waited_s("return=minimal")
    (10.0, None)
    """
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\b", prefer or "", re.IGNORECASE | re.ASCII)
    return min(float(found[1]), WAIT_S) if found else None


@router.post(
    "",
    operation_id="submit_job",
    status_code=202,
    responses={**TAKEN, **responses(409, 415, 429)},
    openapi_extra=REQUEST,
)
async def submit(
    request: Request,
    response: Response,
    parts: Parts,
    caller: Inferer,
    idempotency_key: IDEMPOTENCY = None,
    prefer: PREFER = None,
) -> Job:
    """Ask for an enhancement: as a form with files, as one raw file with the wishes in the query, or by reference.

    The job is durable when 202 is answered. The same Idempotency-Key gives the same job, however often it is sent.
    """
    found = await submitted(request, parts, caller)
    seconds = waited_s(prefer)
    if seconds is not None:
        found = await parts.watch.ended(found, seconds)
        response.headers["Preference-Applied"] = f"wait={seconds:g}"
    if seconds is not None and found.ended:
        response.status_code = 200
    else:
        response.headers["Retry-After"] = "1"
    response.headers["Location"] = f"/v1/jobs/{found.id}"
    return await run_in_threadpool(view, parts, found)


@router.get("", operation_id="list_jobs")
def listed(
    request: Request,
    response: Response,
    parts: Parts,
    caller: Reader,
    state: Annotated[list[State] | None, Query(description="Only in these states.")] = None,
    kind: Annotated[Kind | None, Query(description="Only of this kind.")] = None,
    bundle: Annotated[str | None, Query(max_length=128, description="Only with this bundle.")] = None,
    parent: Annotated[str | None, Query(max_length=64, description="Only made by, or a retry of, this job.")] = None,
    study_uid: Annotated[
        str | None, Query(min_length=1, max_length=64, description="Only of this DICOM study, wherever they began.")
    ] = None,
    after: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Jobs:
    """The newest jobs first: one's own; all of them with the scope admin. Link says where the next page is."""
    study = key_of(study_uid) if study_uid is not None else None
    found, cursor = parts.ledger.jobs(
        caller.sees, states=state or (), kind=kind, bundle=bundle, parent=parent, study=study, after=after, limit=limit
    )
    if cursor is not None:
        following = request.url.include_query_params(after=cursor)
        response.headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    return Jobs(jobs=[job_of(one) for one in found], next=cursor)


@router.get(
    "/{job_id}",
    operation_id="get_job",
    responses={200: {"model": Job}, 304: {"description": "It has not changed since that ETag."}},
)
async def get(
    request: Request,
    found: Owned,
    parts: Parts,
    wait: Wait = 0.0,
    if_none_match: Annotated[str | None, Header(description="The ETag of an earlier answer.")] = None,
) -> Response:
    """How a job stands. With `wait`, as soon as it changes (since the ETag that is sent), or after so many seconds."""
    shown = await run_in_threadpool(view, parts, found)
    etag = etag_of(shown, found.seq)
    if wait and not found.ended and (if_none_match is None or same(request, etag)):
        await parts.watch.changed(found.id, found.seq, wait)
        found = await run_in_threadpool(parts.ledger.get, found.id)
        shown = await run_in_threadpool(view, parts, found)
        etag = etag_of(shown, found.seq)
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if same(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(shown.model_dump_json(), headers=headers, media_type="application/json")


@router.get("/{job_id}/events", operation_id="follow_job", response_class=EventSourceResponse)
async def events(
    found: Owned,
    parts: Parts,
    last_event_id: Annotated[str | None, Header(description="Go on after this event.")] = None,
) -> AsyncIterable[ServerSentEvent]:
    """What happens to a job, as server-sent events, until it has ended; `progress` in between has no id."""
    last = int(last_event_id) if last_event_id and last_event_id.isascii() and last_event_id.isdigit() else 0
    told = (found.stage, found.done)
    while True:
        for event in await run_in_threadpool(parts.ledger.events, found.id, last):
            last = event.seq
            yield ServerSentEvent(
                id=str(event.seq),
                event=event.type,
                data={"type": event.type, "at": event.at, "attempt": event.attempt, "data": event.data},
            )
        if (found.stage, found.done) != told and not found.ended:
            told = (found.stage, found.done)
            data = {"state": found.state, "stage": found.stage, "done": found.done, "eta_s": found.eta_s}
            yield ServerSentEvent(event="progress", data=data)
        if found.ended or parts.stopping.is_set():
            return
        await parts.watch.changed(found.id, found.seq, 15.0)
        found = await run_in_threadpool(parts.ledger.get, found.id)


@router.delete(
    "/{job_id}",
    operation_id="cancel_job",
    status_code=202,
    responses={
        200: {"model": Job, "description": "It is cancelled."},
        202: {"model": Job, "description": "It runs, and stops at its next step."},
        **responses(409),
    },
)
def cancel(response: Response, job_id: str, parts: Parts, caller: Inferer) -> Job:
    """Cancel a job: at once where it waits; a running one stops at its next window or step."""
    found = parts.ledger.cancel(job_id, caller.sees)
    if found.ended:
        response.status_code = 200
    return view(parts, found)


@router.post("/{job_id}/retry", operation_id="retry_job", status_code=202, responses=responses(409, 410, 429))
def retry(response: Response, job_id: str, parts: Parts, caller: Inferer) -> Job:
    """Ask again for what an ended job did: a new job, whose `parent_id` is this one."""
    made = parts.ledger.retry(job_id, caller.sees, has=parts.blobs.has)
    outbox = Outbox(parts.ledger.database)
    if destinations := [one.destination for one in outbox.of_job(job_id)]:
        outbox.add(made.id, destinations)
    response.headers["Location"] = f"/v1/jobs/{made.id}"
    return view(parts, made)


@router.delete("/{job_id}/files", operation_id="delete_job_files", responses=responses(409))
def delete_files(job_id: str, parts: Parts, caller: Inferer) -> Job:
    """Delete the files of an ended job now, and not when their time is over."""
    return view(parts, parts.ledger.delete_files(job_id, caller.sees, blobs=parts.blobs))
