# SPDX-License-Identifier: Apache-2.0
"""Where a collector of metrics asks."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse

from clarivox.errors import AccessError
from clarivox.server.auth import Scope

router = APIRouter(tags=["health"])


def collector(request: Request) -> None:
    """Let in this machine's own collector, which the gate lets pass, and who may read.

    Raises:
        AccessError: the caller may not.
    """
    caller = getattr(request.state, "caller", None)
    if caller is not None and not caller.may(Scope.READ):
        raise AccessError(f"this needs the scope {Scope.READ}", code="no_scope")


collector.scope = Scope.READ  # type: ignore[attr-defined]


@router.get("/metrics", operation_id="metrics", response_class=PlainTextResponse, dependencies=[Depends(collector)])
def metrics(request: Request) -> Response:
    """Figures for Prometheus: jobs, queue, stages, workers, disk, answers of HTTP."""
    return Response(request.app.state.figures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
