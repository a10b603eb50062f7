# SPDX-License-Identifier: Apache-2.0
"""Whether the server lives, and whether it can work."""

from __future__ import annotations

import os
import socket
import time

from fastapi import APIRouter

from clarivox.errors import BusyError
from clarivox.server.deps import Parts
from clarivox.server.job import State, WorkerRow
from clarivox.server.problems import responses
from clarivox.server.schemas import Live, Ready

router = APIRouter(tags=["health"])

ABLE = ("ready", "busy")
SILENT_S = 15.0
"""A worker says every two seconds that it is there."""


def lives(row: WorkerRow) -> bool:
    """Whether a worker was heard lately, and its process is there where that can be seen."""
    if time.time() - row.heartbeat > SILENT_S:
        return False
    if row.host != socket.gethostname():
        return True
    try:
        os.kill(row.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@router.get("/livez", operation_id="livez")
async def livez() -> Live:
    """Whether the process answers; nothing else is asked."""
    return Live()


@router.get("/readyz", operation_id="readyz", responses=responses(503))
def readyz(parts: Parts) -> Ready:
    """Whether the server can work: its database answers, and a worker says that it is ready. Otherwise 503."""
    if parts.draining.is_set():
        raise BusyError("the server is stopping", code="draining")
    able = sum(one.state in ABLE and lives(one) for one in parts.ledger.workers())
    if not able:
        raise BusyError("no worker is ready yet", code="no_worker", retry_after_s=2)
    return Ready(status="ready", workers=able, queued=parts.ledger.counts()[State.QUEUED])
