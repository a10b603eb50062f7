# SPDX-License-Identifier: Apache-2.0
"""`/logs/` of MONAI Label: what the jobs did and which devices there are, on a page that needs nobody else."""

from __future__ import annotations

import base64
import hashlib
import html
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, PlainTextResponse, Response

from clarivox.server.auth import Admin
from clarivox.server.label_parts import Labels, With
from clarivox.server.label_tasks import newest_events
from clarivox.server.problems import responses

router = APIRouter(prefix="/logs", tags=["MONAI Label"], responses=responses(401, 403, 404, 422, 503))

_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {}, "text/plain": {}}}}
_STYLE = "body{margin:1rem;font:14px/1.5 system-ui,sans-serif}pre{font:13px/1.45 ui-monospace,monospace}"
_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-{}'"


@router.get("/", operation_id="monailabel_logs", response_class=HTMLResponse, responses=_TEXT)
def logs(
    labels: With,
    caller: Admin,
    lines: Annotated[int, Query(ge=1, le=10_000, description="At most so many.")] = 300,
    html: Annotated[bool, Query(description="As a page.")] = True,
    text: Annotated[bool, Query(description="As plain text.")] = False,
    refresh: Annotated[int, Query(ge=0, le=3600, description="Seconds until the page is loaded anew.")] = 0,
) -> Response:
    """The history of the jobs, newest last: no name of a client and nothing of an image is in it."""
    told = "\n".join(history(labels, lines)) or "nothing has happened yet"
    if text or not html:
        return PlainTextResponse(told + "\n")
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    headers = {"content-security-policy": _POLICY.format(digest)}
    if refresh:
        headers["refresh"] = str(max(3, refresh))
    return HTMLResponse(_page(told), headers=headers)


@router.get("/gpu", operation_id="monailabel_logs_gpu", response_class=PlainTextResponse)
def gpu(labels: With, caller: Admin) -> str:
    """The devices of the workers; asks no program that may be absent."""
    found = [
        f"{one.device} {one.device_name} on {one.host}: {one.state}, "
        + ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in sorted(one.memory.items()))
        + (f", bundles {' '.join(one.loaded)}" if one.loaded else "")
        for one in labels.parts.ledger.workers()
    ]
    return "\n".join(found or ["no worker has come yet"]) + "\n"


def history(labels: Labels, lines: int) -> list[str]:
    """The newest events of all jobs, a line each."""
    found = []
    for event in newest_events(labels.parts.ledger.database, lines):
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(event.at))
        words = " ".join(f"{key}={event.data[key]}" for key in ("stage", "reason", "code") if key in event.data)
        found.append(f"{at} job {event.job_id} attempt {event.attempt} {event.type} {words}".rstrip())
    return found


def _page(told: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>clarivox: log</title><style>{_STYLE}</style>'
        f"<pre>{html.escape(told)}</pre></html>"
    )
