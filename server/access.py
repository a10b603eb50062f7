# SPDX-License-Identifier: Apache-2.0
"""One line of log and one record of audit for each request, instead of uvicorn's access log.

That one writes the address with its query, and clients put names of images and of patients into both.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from anyio import CapacityLimiter, to_thread
from fastapi.routing import iter_route_contexts

from clarivox.errors import CapacityError
from clarivox.server.audit import Audit, Entry
from clarivox.server.audit_events import event_of
from clarivox.server.auth import OPEN
from clarivox.server.gate import App, Message, refuse
from clarivox.server.logs import log

IDS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{64}")
"""Ids of jobs and blobs: ours, so that they are written as they are."""
BUNDLES = ("bundle", "model")
"""Parts of a path that name a bundle; written as they are where there is such a bundle."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
THEIRS = ("image", "id", "label", "session_id", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "study_uid")
"""Parts of a query that name an object in a client's words."""
SILENT = frozenset({*OPEN, "/metrics", "/admin/standing"})
"""Paths without data of patients: they are neither audited nor, when all went well, logged. Two are asked for often."""


class Access:
    """An ASGI layer, the outermost but for errors: sees every request, those that the gate sends away too."""

    def __init__(self, app: App, audit: Audit | None) -> None:
        self.app = app
        self.audit = audit
        self.writers = CapacityLimiter(8)

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        began = time.monotonic()
        status, withheld = 0, False

        async def watched(message: Message) -> None:
            nonlocal status, withheld
            if message["type"] == "http.response.start" or (not status and message["type"].startswith("websocket.")):
                status = message.get("status") or (101 if message["type"] == "websocket.accept" else 403)
                try:
                    await self._record(scope, {"headers": (), **message, "status": status})
                except CapacityError as error:
                    withheld = True
                    await refuse(send, error, channel=scope["type"] == "websocket")
            if not withheld:
                await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            self._say(scope, status, time.monotonic() - began)

    async def _record(self, scope: Message, message: Message) -> None:
        """Write the audit before the answer begins: nobody gets what was not written down."""
        route = pattern(scope)
        refused = message["status"] in (401, 403)
        if self.audit is None or ((not route or route in SILENT) and not refused):
            return
        caller = scope.get("state", {}).get("caller")
        client = scope.get("client")
        entry = Entry(
            at=time.time(),
            event=event_of(method_of(scope), route, message["status"]),
            actor=caller.owner if caller else "unknown",
            source=client[0] if client else "",
            method=method_of(scope),
            route=route,
            object=self._object(scope, message),
            status=message["status"],
        )
        # In a thread: a write waits while the disk syncs, and nobody else shall wait with it.
        await to_thread.run_sync(self.audit.record, entry, limiter=self.writers)

    def _object(self, scope: Message, message: Message) -> str:
        """What was acted on: a name of ours, or a keyed digest of a client's."""
        given: dict[str, Any] = scope.get("path_params", {})
        for name in BUNDLES if message["status"] < 400 else ():
            if name in given:
                return str(given[name])
        if given:
            return self._named("/".join(str(value) for value in given.values()))
        if message["status"] in (201, 202):
            for header, value in message.get("headers", ()):
                if header.lower() == b"location":
                    return self._named(value.decode("latin-1").rstrip("/").rsplit("/", 1)[-1])
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"))
        found = next((value for key, value in query if key in THEIRS), "")
        return self._named(found) if found else ""

    def _named(self, text: str) -> str:
        assert self.audit is not None
        return text if IDS.fullmatch(text) else self.audit.secret.name(text)

    def _say(self, scope: Message, status: int, took_s: float) -> None:
        quiet = pattern(scope) in SILENT and status < 400
        caller = scope.get("state", {}).get("caller")
        job = str(scope.get("path_params", {}).get("job_id", ""))
        more = {"job": job} if IDS.fullmatch(job) else {}
        (log.debug if quiet else log.info)(
            "request",
            method=method_of(scope),
            route=pattern(scope),
            status=status,
            ms=round(took_s * 1000, 1),
            caller=caller.owner if caller else "",
            **more,
        )


def method_of(scope: Message) -> str:
    """The method of a request; GET of a channel, which begins as one; empty for one that there is not."""
    method = str(scope.get("method", "GET"))
    return method if method in METHODS else ""


def pattern(scope: Message) -> str:
    """The pattern of the route that a request found, empty where it found none."""
    route = scope.get("route")
    if route is None:
        return ""
    state = scope["app"].state
    if not hasattr(state, "patterns"):
        # A route knows its path only up to the router that it was put into.
        found = iter_route_contexts(scope["app"].router.routes)
        state.patterns = {id(context.original_route): context.path for context in found}
    return str(state.patterns.get(id(route)) or getattr(route, "path", ""))
