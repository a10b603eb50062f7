# SPDX-License-Identifier: Apache-2.0
"""A body must keep coming and end in time: 408 for one that stands still, 413 for one that is too large."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

LEAST_BYTES_PER_S = 1024
"""A sender below it, over the idle time and more, holds a connection and does not use it."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Patience:
    """An ASGI layer that ends requests whose body stops coming, or does not stop.

    Args:
        app: what it stands before.
        idle_s: how long a sender may be silent.
        body_bytes: the largest body.
    """

    def __init__(
        self, app: Callable[[Message, Receive, Send], Awaitable[None]], idle_s: float, body_bytes: int
    ) -> None:
        self.app, self.idle_s, self.body_bytes = app, idle_s, body_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        said = dict(scope["headers"]).get(b"content-length", b"")
        large = said.isdigit() and int(said) > self.body_bytes
        began, came, more = 0.0, 0, True

        async def patient() -> Message:
            nonlocal began, came, more
            if not more:
                return await receive()
            if large:
                raise HTTPException(413)
            began = began or loop.time()
            try:
                async with asyncio.timeout(self.idle_s):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408) from None
            more = message["type"] == "http.request" and message.get("more_body", False)
            came += len(message.get("body", b""))
            if came > self.body_bytes:
                raise HTTPException(413)
            spent = loop.time() - began
            if more and spent > self.idle_s and came < LEAST_BYTES_PER_S * (spent - self.idle_s):
                raise HTTPException(408)
            return message

        await self.app(scope, patient, send)
