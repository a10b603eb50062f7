# SPDX-License-Identifier: Apache-2.0
"""What stands before every route: who asks is known before a byte of the body is read."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers

from clarivox.errors import AccessError, BusyError, ClarivoxError
from clarivox.server.auth import Auth, credential_of, is_open, is_viewer
from clarivox.server.statuses import described

Message = MutableMapping[str, Any]
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
"""Headers by which a proxy says that it asks for somebody else."""


class Gate:
    """An ASGI layer that lets nobody by who is not known, and no page of another site act for its reader."""

    def __init__(self, app: App, auth: Auth) -> None:
        self.app = app
        self.auth = auth

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
        headers = Headers(scope=scope)
        try:
            self._check_origin(scope, headers)
            credential = credential_of(headers.get("authorization", ""))
            free = is_open(scope["path"]) or (self.auth.settings.viewer and is_viewer(scope["path"]))
            if not free and not self._metrics(scope):
                known = self.auth.remembered(credential) if credential else None
                known = known or await run_in_threadpool(self.auth.caller, credential)
                scope.setdefault("state", {})["caller"] = known
        except (AccessError, BusyError) as error:
            await refuse(send, error, channel=scope["type"] == "websocket")
            return
        await self.app(scope, receive, send)

    def _metrics(self, scope: Message) -> bool:
        """Whether this is this machine's own collector of metrics."""
        if scope["path"] != "/metrics" or not self.auth.settings.metrics_open:
            return False
        client = scope.get("client")
        forwarded = any(name in Headers(scope=scope) for name in FORWARDED)
        return client is not None and is_here(client[0]) and not forwarded

    def _check_origin(self, scope: Message, headers: Headers) -> None:
        """Keep the browser of this machine's user from acting for a page of somewhere else.

        Without keys the address is the only lock: a page could send a form here, or have its own name point here.
        """
        settings = self.auth.settings
        if self.auth.needed:
            return
        host = (urlsplit("//" + headers.get("host", "")).hostname or "").lower()
        if not settings.allow_open:
            if any(name in headers for name in FORWARDED):
                raise AccessError("without keys the server answers to no proxy; turn auth on", code="not_from_here")
            if "." in host and not is_here(host) and not host.endswith(".localhost"):
                raise AccessError(
                    "without keys the server answers to no name but localhost; turn auth on", code="not_from_here"
                )
        if scope.get("method") in SAFE:  # a channel has none: any page may try to open one
            return
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
        if (foreign and origin not in settings.cors_origins) or (
            origin is None and headers.get("sec-fetch-site") == "cross-site"
        ):
            raise AccessError("a page of another site may not do this; see cors_origins", code="other_origin")


def is_here(host: str) -> bool:
    """Whether an address is this machine's own.

    >>> is_here("127.0.0.1"), is_here("::1"), is_here("192.0.2.1"), is_here("example.org")
    (True, True, False, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def refuse(send: Callable[[Message], Awaitable[None]], error: ClarivoxError, *, channel: bool = False) -> None:
    """Answer a request that goes no further; a channel is closed before it is open, which is status 403."""
    if channel:
        await send({"type": "websocket.close", "code": 1008})
        return
    said = described(error)
    body = json.dumps({"type": f"urn:clarivox:{error.code}", **said}).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    if said["status"] == 401:
        wrong = b', error="invalid_token"' if error.code == "bad_credentials" else b""
        headers.append((b"www-authenticate", b'Bearer realm="clarivox"' + wrong))
    if isinstance(error, BusyError):
        headers.append((b"retry-after", str(round(error.retry_after_s)).encode()))
    headers.append((b"connection", b"close"))  # the body, if there is one, is not wanted
    await send({"type": "http.response.start", "status": said["status"], "headers": headers})
    await send({"type": "http.response.body", "body": body})
