# SPDX-License-Identifier: Apache-2.0
"""Small jobs through the public HTTP interface, each with an image of its own, and what came of them."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import json
import random
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.served import Answer, Line, Served

ENDS = frozenset({"succeeded", "failed", "cancelled", "expired", "purged"})
SHAPE = (6, 5, 4)
GZIP = "application/gzip"


def image(number: int) -> bytes:
    """A NIfTI file, .nii.gz, of 120 voxels that no other number's file has; the same bytes each time."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *SHAPE, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 0, 0, 0, 0)
    struct.pack_into("<fff", header, 108, 352, 1, 0)
    header[123] = 2
    struct.pack_into("<hh", header, 252, 0, 1)
    for row in range(3):
        struct.pack_into("<4f", header, 280 + 16 * row, *(1.0 if row == column else 0.0 for column in range(4)))
    header[344:348] = b"n+1\0"
    return gzip.compress(bytes(header) + voxels(number), mtime=0)


def voxels(number: int) -> bytes:
    """What an image holds, and what the bundle `identity` must give back."""
    count = SHAPE[0] * SHAPE[1] * SHAPE[2]
    return struct.pack(f"<{count}h", *random.Random(number).choices(range(-1000, 1000), k=count))


@dataclass
class Sent:
    """One job as its client sees it."""

    number: int
    key: str
    id: str | None = None
    """Given with the 202."""
    acknowledged: float | None = None
    """When; `mark` then."""
    mark: int = 0
    state: str = ""
    seen_ended: float | None = None
    ended_mark: int = 0
    results: dict[str, str] = field(default_factory=dict)
    """Role: SHA-256, once it succeeded."""
    error: str = ""
    refusals: Counter[str] = field(default_factory=Counter)
    """Answers other than 2xx while it was sent, by code."""
    faults: list[str] = field(default_factory=list)


@dataclass
class Load:
    """Submits, follows and checks jobs, and never gives up while the server comes and goes."""

    server: Served
    bundle: str = "identity"
    mark: Callable[[], int] = lambda: 0
    """A counter of the caller, noted when an answer came."""
    sent: list[Sent] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def submit(self, number: int, *, tries: int = 10_000) -> Sent:
        """Send one job until it is acknowledged, each try with the same key, by one of three ways in turn."""
        one = Sent(number, f"chaos-{number}")
        self.sent.append(one)
        line, content = self.server.line(10), image(number)
        for _ in range(tries):
            if self.stop.is_set():
                break
            try:
                answer = send(line, self.bundle, content, one.key, way=number % 3)
            except (OSError, http.client.HTTPException):
                line.close()
                line.port = self.server.port
                time.sleep(0.05)
                continue
            if answer.status in (200, 201, 202):
                one.id = str(answer.json()["id"])
                one.acknowledged, one.mark = time.time(), self.mark()
                break
            one.refusals[answer.problem] += 1
            if answer.status < 429:
                one.faults.append(f"submit answered {answer.status} {answer.body[:300]!r}")
                break
            time.sleep(0.1)
        line.close()
        return one

    def look(self, one: Sent, line: Line) -> bool:
        """Ask how a job is; True where it ended."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            answer = line.ask("GET", f"/v1/jobs/{one.id}")
            if answer.status == 404:
                one.faults.append("acknowledged, then not found")
                one.state, one.seen_ended = "lost", time.time()
                return True
            if answer.status == 200:
                self._note(one, answer.json())
        return one.seen_ended is not None

    def _note(self, one: Sent, told: dict[str, Any]) -> None:
        state = str(told["state"])
        results = {part["role"]: part["sha256"] for part in told.get("results") or ()}
        if one.seen_ended is not None and (state, results) != (one.state, one.results):
            one.faults.append(f"was {one.state}, then {state}")
        one.state = state
        if state in ENDS and one.seen_ended is None:
            one.results, one.seen_ended, one.ended_mark = results, time.time(), self.mark()
            one.error = str((told.get("error") or {}).get("code", "")) if state != "succeeded" else ""

    def follow(self, within_s: float) -> list[Sent]:
        """Wait until all acknowledged jobs have ended; those that have not."""
        until, line = time.time() + within_s, self.server.line(10)
        waiting = [one for one in self.sent if one.id and one.seen_ended is None]
        while waiting and time.time() < until and not self.stop.is_set():
            line.port = self.server.port
            waiting = [one for one in waiting if not self.look(one, line)]
            time.sleep(0.1)
        line.close()
        return waiting

    def fetch_all(self) -> None:
        """Download all results and compare them."""
        line = self.server.line()
        for one in self.sent:
            if one.state == "succeeded":
                self.fetch(one, line)
        line.close()

    def fetch(self, one: Sent, line: Line) -> None:
        """Download a result and compare it: its SHA-256 with what the job says, its voxels with what was sent."""
        answer = line.ask("GET", f"/v1/jobs/{one.id}/result")
        if answer.status != 200:
            one.faults.append(f"result answered {answer.status}")
        elif hashlib.sha256(answer.body).hexdigest() != one.results.get("result"):
            one.faults.append("the result's bytes have another digest than the job says")
        elif not gzip.decompress(answer.body).endswith(voxels(one.number)):
            one.faults.append("the result is that of another image")


def send(line: Line, bundle: str, content: bytes, key: str, *, way: int) -> Answer:
    """Submit an image: as a raw stream, as a form, or by reference to a blob that is put first."""
    headers = {"Idempotency-Key": key}
    if way == 0:
        path = f"/v1/jobs?bundle={bundle}&report=false"
        return line.ask("POST", path, content, {**headers, "Content-Type": GZIP})
    if way == 1:
        kind, body = form({"bundle": bundle, "report": "false"}, content)
        return line.ask("POST", "/v1/jobs", body, {**headers, "Content-Type": kind})
    digest = put(line, content)
    if isinstance(digest, Answer):
        return digest
    return refer(line, bundle, digest, headers)


def put(line: Line, content: bytes) -> str | Answer:
    """Store a blob; its SHA-256, or the answer that refused it."""
    digest = hashlib.sha256(content).hexdigest()
    answer = line.ask("PUT", f"/v1/blobs/{digest}", content, {"Content-Type": GZIP})
    return digest if answer.status in (200, 201, 204) else answer


def refer(line: Line, bundle: str, digest: str, headers: dict[str, str], **params: Any) -> Answer:
    """Submit a job by reference."""
    body = {"bundle": bundle, "inputs": [{"sha256": digest}], "params": {"report": False, **params}}
    return line.ask("POST", "/v1/jobs", json.dumps(body).encode(), {**headers, "Content-Type": "application/json"})


def form(fields: dict[str, str], content: bytes) -> tuple[str, bytes]:
    """A multipart form as curl -F makes it."""
    edge = "chaos-boundary-7d1f"
    parts = [
        f'--{edge}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="x.nii.gz"\r\nContent-Type: {GZIP}\r\n'
    return f"multipart/form-data; boundary={edge}", b"".join((
        *parts, head.encode(), b"\r\n", content, f"\r\n--{edge}--\r\n".encode(),
    ))  # fmt: skip
