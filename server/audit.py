# SPDX-License-Identifier: Apache-2.0
"""The audit log: who did what to which object, when, and how it ended.

One JSON object a line, only ever appended, in data_dir/audit.jsonl. A record is handed to the system before the first
byte of the answer leaves; the file is synced to the disk once a second and at the end, so that a power cut takes at
most a second of records, and a crash of the process none. Each record carries a keyed digest over itself and the one
before: a record that is changed or taken out is found by `verify`. `clarivox.server.audit_events` says each record as
a DICOM audit message and as a FHIR AuditEvent.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import secrets
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clarivox.errors import CapacityError, ClarivoxError

SYNC_S = 1.0
"""How often the file is synced."""
TAIL_BYTES = 1 << 16
"""How far back the last record is looked for; one is under 2 kB."""


@dataclass(frozen=True)
class Entry:
    """One record.

    >>> Entry(at=0.0, event="query", actor="local", source="127.0.0.1", method="GET", route="/v1/jobs", status=200).ok
    True
    """

    at: float
    """Seconds since 1970, UTC."""
    event: str
    """A key of `clarivox.server.audit_events.EVENTS`."""
    actor: str
    """The owner of `auth.Caller`; "unknown" for who showed no good key."""
    source: str
    """Network address that the request came from."""
    method: str = ""
    route: str = ""
    """The route's pattern, as /v1/jobs/{job_id}; never the address with what stood in it."""
    object: str = ""
    """A job, a blob or a bundle by its id; anything that a client named by a keyed digest."""
    status: int = 0
    """Of HTTP; 0 where there was no request."""

    @property
    def ok(self) -> bool:
        """Whether it was done."""
        return self.status < 400


class Secret:
    """32 random bytes of this installation, in a file that only the server may read."""

    def __init__(self, folder: Path) -> None:
        path = folder / "secret"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            fresh = folder / f".secret.{secrets.token_hex(8)}"
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(fresh, path)
            fresh.unlink()
        self._key = path.read_bytes()
        if len(self._key) < 32:
            raise ClarivoxError(f"{path.name} in the data folder is damaged; restore it, or delete it to begin anew")

    def name(self, text: str) -> str:
        """A short name for something that may itself name a patient; the same text gets the same name here only."""
        return "h-" + self.sign(text.encode("utf-8", "surrogateescape"))[:20]

    def sign(self, content: bytes) -> str:
        """A digest that only this installation can make."""
        return hmac.new(self._key, content, hashlib.sha256).hexdigest()


class Audit:
    """The audit log of a data folder. Any thread, and several processes, may record."""

    def __init__(self, folder: Path, *, sync_s: float = SYNC_S) -> None:
        self.secret = Secret(folder)
        self.path = folder / "audit.jsonl"
        self._lock = threading.Lock()
        self._file = -1
        self._size = -1
        self._last = ""
        self._dirty = threading.Event()
        self._ended = threading.Event()
        self._syncer = threading.Thread(target=self._sync, args=(sync_s,), name="audit", daemon=True)

    def record(self, entry: Entry) -> None:
        """Append one record.

        Raises:
            CapacityError: code audit_full: it cannot be written, so that what it records must not be done.
        """
        try:
            with self._lock:
                if not self._syncer.is_alive() and not self._ended.is_set():
                    self._syncer.start()
                self._open()
                fcntl.flock(self._file, fcntl.LOCK_EX)
                try:
                    self._append(entry)
                finally:
                    fcntl.flock(self._file, fcntl.LOCK_UN)
        except OSError as cause:
            raise CapacityError("the audit log cannot be written", code="audit_full") from cause
        self._dirty.set()

    def application(self, event: str) -> None:
        """Record that the server starts or stops; event is start or stop."""
        self.record(Entry(time.time(), event, "server", ""))

    def close(self) -> None:
        """Sync and end."""
        self._ended.set()
        self._dirty.set()
        if self._syncer.is_alive():
            self._syncer.join()
        with self._lock:
            if self._file >= 0:
                with contextlib.suppress(OSError):
                    os.fsync(self._file)
                os.close(self._file)
                self._file = -1

    def _open(self) -> None:
        """Open the file, anew where it was moved away to be archived."""
        if self._file >= 0:
            try:
                there = self.path.stat()
            except FileNotFoundError:
                there = None
            here = os.fstat(self._file)
            if there is not None and (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev):
                return
            os.fsync(self._file)
            os.close(self._file)
        self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = -1

    def _append(self, entry: Entry) -> None:
        size = os.fstat(self._file).st_size
        torn = b""
        if size != self._size:
            tail = os.pread(self._file, TAIL_BYTES, max(0, size - TAIL_BYTES))
            torn = b"" if not tail or tail.endswith(b"\n") else b"\n"
            whole = [line for line in tail.split(b"\n") if _chain_of(line)]
            # A new file goes on from the one that was moved away, so that the two can be checked together.
            self._last = _chain_of(whole[-1]) if whole else self._last
        content = {name: value for name, value in asdict(entry).items() if value or name == "at"}
        content["chain"] = self.secret.sign(_signed(content, self._last))
        line = torn + json.dumps(content, separators=(",", ":")).encode() + b"\n"
        self._size = -1
        if os.write(self._file, line) != len(line):
            raise OSError("a part only was written")
        self._size, self._last = size + len(line), content["chain"]

    def _sync(self, every_s: float) -> None:
        while not self._ended.is_set():
            self._dirty.wait()
            self._dirty.clear()
            with self._lock:
                copy = os.dup(self._file) if self._file >= 0 else -1
            if copy >= 0:
                try:
                    os.fsync(copy)
                except OSError:
                    self._dirty.set()
                finally:
                    os.close(copy)
            self._ended.wait(every_s)


def _signed(content: dict[str, Any], before: str) -> bytes:
    return json.dumps([before, content], separators=(",", ":"), sort_keys=True).encode()


def _chain_of(line: bytes) -> str:
    """The digest of a record; empty where a crash tore it."""
    try:
        return str(json.loads(line)["chain"])
    except (ValueError, KeyError, TypeError):
        return ""


def verify(file: Path, secret: Secret, before: str | None = "") -> tuple[int, int | None]:
    """Check the records of a file against each other.

    Args:
        file: the audit log, or one that was moved away.
        secret: of the installation that wrote it.
        before: the chain of the last record of the file before, where that was moved away; None takes the first
            record as given.

    Returns:
        How many records fit, and the line of the first that does not; None where all do. A line that a crash tore
        is passed over.
    """
    good, last = 0, before
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            chain = _chain_of(line)
            if not chain:
                continue
            content = json.loads(line)
            del content["chain"]
            if last is not None and not hmac.compare_digest(chain, secret.sign(_signed(content, last))):
                return good, number
            good, last = good + 1, chain
    return good, None
