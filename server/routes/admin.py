# SPDX-License-Identifier: Apache-2.0
"""The operator's page, and what it asks for. The page itself holds no data, so it needs no key; its questions do."""

from __future__ import annotations

import re
import time
from functools import cache
from importlib import resources
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel
from sqlalchemy import select

from clarivox import __version__
from clarivox.policy import policy_source
from clarivox.server.auth import Admin
from clarivox.server.deps import Parts, Services
from clarivox.server.job import ENDED, Job, State, WorkerRow
from clarivox.server.pacs.outbox import Outbox
from clarivox.server.pacs.standing import Pacs, pacs_standing
from clarivox.server.pacs.standing import requeue as requeue_delivery
from clarivox.server.problems import responses
from clarivox.server.retention import collect
from clarivox.server.tables import job

router = APIRouter(tags=["admin"])
SHOWN = 50
"""Rows of each list."""


class Work(BaseModel):
    """A job, as the operator sees it."""

    id: str
    owner: str
    kind: str
    bundle: str
    state: State
    priority: int
    created: float
    started: float | None
    finished: float | None
    attempt: int
    max_attempts: int
    worker_id: str | None
    stage: str
    done: float
    eta_s: float | None
    cancel_requested: bool
    code: str
    """Of the error; empty without one."""
    reason: str
    """What the error says."""
    degradations: list[str]
    bytes: int
    parent_id: str | None


class Device(BaseModel):
    """A worker and its device."""

    id: str
    host: str
    pid: int
    device: str
    device_name: str
    version: str
    state: str
    started: float
    silent_s: float
    """Since it was last heard."""
    loaded: list[str]
    job_id: str | None
    memory: dict[str, int]


class Disk(BaseModel):
    """The disk of the data folder."""

    free: int
    used: int
    quota: int
    watermark: int
    reserve: bool
    """Whether the reserve is set aside; it is given up where running jobs need it."""


class Standing(BaseModel):
    """All that the page shows."""

    version: str
    now: float
    draining: bool
    keys_needed: bool
    counts: dict[str, int]
    queue_age_s: float
    queue_limit: int
    running: list[Work]
    queued: list[Work]
    failed: list[Work]
    recent: list[Work]
    workers: list[Device]
    disk: Disk
    keep_results_h: float
    keep_events_days: float
    pacs: Pacs


@router.get("/admin", response_class=HTMLResponse, operation_id="admin_page")
def page() -> HTMLResponse:
    """The operator's page."""
    text, policy = _page()
    headers = {"Content-Security-Policy": policy, "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff"}
    return HTMLResponse(text, headers=headers | {"Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"})


@router.get("/admin/standing", operation_id="admin_standing")
def standing(parts: Parts, caller: Admin) -> Standing:
    """The queue, the workers, the newest ends and the disk, at one moment."""
    now = time.time()
    queued = _queue(parts)
    disk = Disk(
        free=parts.blobs.free(),
        used=parts.blobs.used(),
        quota=parts.settings.blob_quota_bytes,
        watermark=parts.settings.disk_watermark_bytes,
        reserve=parts.blobs.reserve.exists(),
    )
    return Standing(
        version=__version__,
        now=now,
        draining=parts.draining.is_set(),
        keys_needed=parts.settings.needs_key,
        counts={state.value: number for state, number in parts.ledger.counts().items()},
        queue_age_s=max((now - one.created for one in queued), default=0.0),
        queue_limit=parts.settings.queue_jobs,
        running=_listed(parts, State.RUNNING),
        queued=[_work(one) for one in queued],
        failed=_listed(parts, State.FAILED, State.EXPIRED),
        recent=_listed(parts, *sorted(ENDED - {State.PURGED})),
        workers=[_device(row, now) for row in parts.ledger.workers()],
        disk=disk,
        keep_results_h=parts.settings.keep_results_h,
        keep_events_days=parts.settings.keep_events_days,
        pacs=pacs_standing(parts.ledger.database, parts.settings.data_dir),
    )


@router.post("/admin/jobs/{job_id}/cancel", operation_id="admin_cancel", status_code=202, responses=responses(409))
def cancel(job_id: str, parts: Parts, caller: Admin) -> Work:
    """Stop anybody's job."""
    return _work(parts.ledger.cancel(job_id))


@router.post(
    "/admin/jobs/{job_id}/requeue", operation_id="admin_requeue", status_code=202, responses=responses(409, 410, 429)
)
def requeue(job_id: str, parts: Parts, caller: Admin) -> Work:
    """Run an ended job once more, as a new job of the same owner."""
    return _work(parts.ledger.retry(job_id, has=parts.blobs.has))


@router.post("/admin/jobs/{job_id}/purge", operation_id="admin_purge_job", status_code=202, responses=responses(409))
def purge_job(job_id: str, parts: Parts, caller: Admin) -> Work:
    """Delete an ended job's files now."""
    return _work(parts.ledger.delete_files(job_id, blobs=parts.blobs))


@router.post(
    "/admin/deliveries/{delivery_id}/requeue",
    operation_id="admin_requeue_delivery",
    status_code=202,
    responses=responses(409, 410, 429),
)
def requeue_letter(delivery_id: str, parts: Parts, caller: Admin) -> Pacs:
    """Try a delivery to a PACS anew that was given up; where its job failed, that is run again first."""
    database = parts.ledger.database
    requeue_delivery(parts.ledger, parts.blobs, Outbox(database), delivery_id)
    return pacs_standing(database, parts.settings.data_dir)


@router.post("/admin/deliveries/{delivery_id}/dismiss", operation_id="admin_dismiss_delivery", responses=responses(409))
def dismiss_letter(delivery_id: str, parts: Parts, caller: Admin) -> Pacs:
    """Take a delivery to a PACS that was given up off the list; its job and the job's result stay as they are."""
    database = parts.ledger.database
    Outbox(database).dismiss(delivery_id)
    return pacs_standing(database, parts.settings.data_dir)


@router.post("/admin/purge", operation_id="admin_purge", status_code=204)
def purge(parts: Parts, caller: Admin) -> Response:
    """Delete now what retention would delete within a minute: files of jobs whose time is over."""
    parts.ledger.purge()
    collect(parts.ledger.database, parts.blobs)
    return Response(status_code=204)


@cache
def _page() -> tuple[str, str]:
    """The page, and the policy that lets run exactly what is in it."""
    text = (resources.files("clarivox.server") / "admin.html").read_text(encoding="utf-8")
    sources = {
        kind: policy_source(found[1])
        for kind in ("style", "script")
        if (found := re.search(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL))
    }
    return text, (
        f"default-src 'none'; connect-src 'self'; img-src data:; style-src '{sources['style']}'; "
        f"script-src '{sources['script']}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _queue(parts: Services) -> list[Job]:
    """The jobs that wait, in the order in which they will be taken."""
    from clarivox.server.rows import job_of

    waiting = select(job).where(job.c.state == State.QUEUED.value)
    order = waiting.order_by(job.c.priority.desc(), job.c.created, job.c.id).limit(SHOWN)
    with parts.ledger.database.read() as connection:
        return [job_of(row) for row in connection.execute(order).mappings()]


def _listed(parts: Services, *states: State) -> list[Work]:
    return [_work(one) for one in parts.ledger.jobs(states=states, limit=SHOWN)[0]]


def _work(found: Job) -> Work:
    error: dict[str, Any] = found.error or {}
    own = ("code", "reason", "degradations", "bytes")
    same = {name: getattr(found, name) for name in Work.model_fields if name not in own}
    return Work(
        **same,
        code=str(error.get("code", "")),
        reason=str(error.get("detail", "")),
        degradations=list(found.degradations),
        bytes=sum(file.bytes for file in (*found.inputs, *found.results)),
    )


def _device(row: WorkerRow, now: float) -> Device:
    same = {name: getattr(row, name) for name in Device.model_fields if name not in ("silent_s", "loaded")}
    return Device(**same, silent_s=max(0.0, now - row.heartbeat), loaded=list(row.loaded))
