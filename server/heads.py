# SPDX-License-Identifier: Apache-2.0
"""Limits on the head of a request, before there is a request: its size, and how long it may take to come.

httptools keeps what has come until a head is whole, however long it is, and uvicorn waits for it for ever.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 64 << 10
"""Largest head, as are the trailers and the extensions of chunks."""
HELD_BYTES = 512 << 10
"""Of a body that wait to be taken. With 64 kB receiving alone took four times as long, an upload a sixth longer."""

_SAYS = {
    400: ("Bad Request", "not_http", "the request is not HTTP"),
    408: ("Request Timeout", "too_slow", "the request stopped coming; send it again"),
    431: ("Request Header Fields Too Large", "head_too_large", "the head of the request is too large"),
}


class Heads(HttpToolsProtocol):
    """uvicorn's protocol, with limits on heads; `patient` makes one for a time."""

    idle_s = 60.0
    _timer: asyncio.TimerHandle | None = None
    _in_head = True
    _unread = 0
    """Bytes since the parser last gave something on."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection: its first head must come in time."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of a connection."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes came."""
        self._unread += len(data)
        super().data_received(data)
        if self._unread > HEAD_BYTES:
            self._refuse(431)

    def send_400_response(self, msg: str) -> None:
        """What came is not HTTP."""
        self._refuse(400)

    def on_message_begin(self) -> None:
        """A request begins, perhaps after another on the same connection."""
        super().on_message_begin()
        self._in_head = True
        if self._timer is None:
            self._wait()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._stop()
        self._in_head, self._unread = False, 0
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES:
            self._refuse(431)
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body; reading stops at `HELD_BYTES`, not after each read as in uvicorn."""
        self._unread = 0
        if self.cycle.response_complete:
            return
        self.cycle.body += body
        if len(self.cycle.body) > HELD_BYTES:
            self.flow.pause_reading()
        self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._unread = 0
        super().on_message_complete()

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self.idle_s, self._refuse, 408)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int) -> None:
        self._stop()
        if self.transport is None or self.transport.is_closing():
            return
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.abort()  # an answer is on its way: a second one would read as a part of it
            return
        title, code, detail = _SAYS[status]
        said: dict[str, Any] = {"type": f"urn:clarivox:{code}", "title": title, "status": status, "detail": detail}
        body = json.dumps(said | {"code": code, "retryable": status == 408}).encode()
        head = f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()


def patient(idle_s: float) -> type[Heads]:
    """The protocol with a time that a head may take."""
    return type("PatientHeads", (Heads,), {"idle_s": idle_s})
