# SPDX-License-Identifier: Apache-2.0
"""The layers around the routes, from the outermost: log and audit, pages of other sites, who asks."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from clarivox.server.access import Access
from clarivox.server.audit import Audit
from clarivox.server.auth import Auth, KeyStore
from clarivox.server.gate import Gate
from clarivox.server.settings import Settings

ASKED = ["Authorization", "Content-Type", "Content-Range", "Idempotency-Key", "If-None-Match", "If-Range"]
ASKED += ["Last-Event-ID", "Prefer", "Range"]
TOLD = ["Content-Disposition", "Content-Range", "ETag", "Link", "Location", "Retry-After"]


def protect(app: FastAPI, settings: Settings, keys: KeyStore, audit: Audit | None) -> None:
    """Put the layers around an application; its routes ask `app.state.auth` by way of `auth.require`.

    Args:
        app: not yet started.
        settings: who may do what.
        keys: where API keys are kept.
        audit: where each access is recorded; None for tests of single routes.
    """
    app.state.auth = Auth(settings, keys)
    app.add_middleware(Gate, auth=app.state.auth)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
            allow_headers=ASKED,
            expose_headers=TOLD,
            max_age=600,
        )
    app.add_middleware(Access, audit=audit)
