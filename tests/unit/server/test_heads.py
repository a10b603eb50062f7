# SPDX-License-Identifier: Apache-2.0
"""A real server on a socket, and clients that send it strange heads."""

import json
import resource
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request

from clarivox.server.heads import HEAD_BYTES, patient

IDLE_S = 0.3


@contextmanager
def listening(idle_s: float) -> Iterator[int]:
    """The port of a server that waits so long for more."""
    app = FastAPI()

    @app.post("/")
    async def length(request: Request) -> int:
        return sum([len(part) async for part in request.stream()])

    @app.get("/")
    def get() -> str:
        return "good"

    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=patient(idle_s), ws="none", log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with listening(60) as found:
        yield found


@pytest.fixture(scope="module")
def hasty() -> Iterator[int]:
    with listening(IDLE_S) as found:
        yield found


def talk(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """Send parts until the server says something; give all that it says."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as line:
        try:
            for part in parts:
                if select.select([line], [], [], pause_s)[0]:
                    break
                line.sendall(part)
        except OSError:
            pass
        said = b""
        try:
            while more := line.recv(65536):
                said += more
        except ConnectionError:
            pass
        return said


def code(said: bytes) -> tuple[int, str]:
    """Status and code of an answer."""
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    return int(head.split()[1]), json.loads(body)["code"]


GOOD = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def test_a_good_request_is_answered(port: int):
    assert talk(port, GOOD).endswith(b'"good"')


def test_two_good_requests_on_one_connection_are(port: int):
    assert talk(port, GOOD.replace(b"close", b"keep-alive") + GOOD).count(b'"good"') == 2


@pytest.mark.parametrize("what", ["value", "name", "many", "address"])
def test_a_huge_head_is_refused_while_it_comes(port: int, what: str):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    piece = {
        "value": b"GET / HTTP/1.1\r\nA: " + b"a" * 60_000,
        "name": b"GET / HTTP/1.1\r\n" + b"a" * 60_000,
        "many": b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000,
        "address": b"GET /" + b"a" * 60_000,
    }[what]
    more = b"a: b\r\n" * 10_000 if what == "many" else b"a" * 60_000
    assert code(talk(port, piece, *[more] * 500)) == (431, "head_too_large")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB; 30 MB were on offer
    assert talk(port, GOOD).endswith(b'"good"')


def test_a_head_that_is_whole_but_large_is_refused(port: int):
    assert code(talk(port, b"GET / HTTP/1.1\r\nA: " + b"a" * (HEAD_BYTES + 1) + b"\r\n\r\n")) == (431, "head_too_large")


@pytest.mark.parametrize("part", [b"1;" + b"a" * 60_000, b"0\r\nA: " + b"a" * 60_000])
def test_nor_is_a_huge_trailer_or_chunk_taken(port: int, part: bytes):
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert code(talk(port, head, part, *[b"a" * 60_000] * 100)) == (431, "head_too_large")


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n", b"G"])
def test_a_connection_that_is_half_open_is_closed_in_time(hasty: int, start: bytes):
    began = time.monotonic()
    assert code(talk(hasty, start)) == (408, "too_slow")
    assert time.monotonic() - began > IDLE_S * 0.9, "it may pause so long"


def test_a_head_that_trickles_is_too(hasty: int):
    """It ends with a whole request, which would be answered if it were waited for."""
    parts = [b"GET / HT", b"TP/1.1\r\n", *[b"A: b\r\n"] * 600, b"Host: x\r\nConnection: close\r\n\r\n"]
    assert code(talk(hasty, *parts, pause_s=0.1)) == (408, "too_slow")


@pytest.mark.parametrize("said", [b"\x16\x03\x01\x02\x00\x01", b"HELO mail\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_not_http_is_told_so(port: int, said: bytes):
    assert code(talk(port, said)) == (400, "not_http")


def test_a_body_may_be_as_long_as_it_likes(port: int):
    size = 3 * HEAD_BYTES
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size
    assert talk(port, head, b"a" * size).endswith(str(size).encode())


def test_patience_is_the_server_s_own(port: Any):
    assert patient(7.0).idle_s == 7.0 and patient(8.0).idle_s == 8.0
