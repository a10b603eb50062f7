# SPDX-License-Identifier: Apache-2.0
"""A full disk at every write in turn: ENOSPC for the nth call that needs room under the data folder, and those after.

Each round submits one job and lets the disk be full from its nth write on, for a moment; n goes up until a whole job
needs fewer writes. Then the same for the start of a server. Whoever writes is met: uploads, the ledger (SQLite), the
work folder, results, logs.
"""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.kills import SETTINGS, tidied
from tests.chaos.load import Load
from tests.chaos.traps import CREATES, Call, Traps
from tests.chaos.verdict import Verdict, judge
from tests.served import Served

NEEDS_ROOM = frozenset({
    "write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile", "copy_file_range", "fallocate", "ftruncate",
    "mkdir", "mkdirat", "open", "openat", "creat", "rename", "renameat", "renameat2", "link", "linkat",
})  # fmt: skip
MAY_FAIL = frozenset({"disk_full", "disk_low", "quota_full", "out_of_memory"})
"""What a job may end with where the disk was full when it ran: a code that says so."""


@dataclass
class FullDisk:
    """Refuses calls that need room."""

    top: str
    left: int | None = None
    """Calls until the disk is full; None: it is not."""
    until: float = 0.0
    seconds: float = 0.3
    """How long it is full."""
    hit: list[str] = field(default_factory=list)
    """The calls that met it, this round."""
    met: Counter[str] = field(default_factory=Counter)
    """All first calls that met it, by call and kind of file."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def arm(self, after: int) -> None:
        """Be full from the nth call on."""
        with self.lock:
            self.left, self.hit, self.until = after, [], 0.0

    def disarm(self) -> bool:
        """Have room again; True where it was met."""
        with self.lock:
            self.left = None
            return bool(self.hit)

    def __call__(self, call: Call) -> int:
        """Refuse a call where its time has come."""
        if call.name not in NEEDS_ROOM or self.left is None:
            return 0
        path = call.paths()[-1]
        if not path.startswith(self.top) or (call.name in ("open", "openat") and not needs_room(call, path)):
            return 0
        if call.name == "ftruncate" and call.arguments[1] <= Path(path).stat().st_size:
            return 0
        with self.lock:
            if self.left is None:
                return 0
            self.left -= 1
            if self.left > 0:
                return 0
            now = time.monotonic()
            if not self.hit:
                self.until = now + self.seconds
                self.met[f"{call.name} {kind_of(path[len(self.top) :])}"] += 1
            elif now > self.until:
                return 0
            self.hit.append(f"{call.name} {path[len(self.top) :]}")
            return errno.ENOSPC


def needs_room(call: Call, path: str) -> bool:
    """Whether an open makes a new file."""
    flags = call.arguments[1] if call.name == "open" else call.arguments[2]
    return bool(flags & CREATES) and not Path(path).exists()


def kind_of(path: str) -> str:
    """A file by what it is for: the first folder, or the name of a file that stands alone."""
    return path.strip("/").split("/", 1)[0] or "the folder itself"


@dataclass
class Found:
    """How the rounds went."""

    verdict: Verdict = field(default_factory=Verdict)
    rounds: int = 0
    starts: int = 0
    met: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    """Answers to submits, by code."""
    restarts: int = 0


def run(folder: Path, *, rounds: int, starts: int, first: int = 1, step: int = 1) -> Found:
    """Meet every write of a job in turn, at most `rounds`, and every write of a start, at most `starts`."""
    data, found = folder / "data", Found()
    disk = FullDisk(str(data))
    found.starts = _starts(folder / "starts", starts, found)
    server = _start(data, disk)
    server.answers("/readyz", 180)
    load, quiet = Load(server), 0
    for number in range(rounds):
        disk.arm(first + number * step)
        one = load.submit(number, tries=200)
        late = load.follow(60)
        found.rounds += 1
        quiet = 0 if disk.disarm() else quiet + 1
        if one.id is None:
            found.verdict.add("lost", f"round {number}: never taken; {dict(one.refusals)}, met {disk.hit[:3]}")
        for left in late:
            found.verdict.add("stuck", f"round {number}: {left.state}; met {disk.hit[:3]}")
            left.seen_ended = time.time()
        for code, count in one.refusals.items():
            found.refused[code] += count
            if "without" in code or code.startswith("internal"):
                found.verdict.add("wrong digest", f"round {number}: answered {code}; met {disk.hit[:3]}")
        if not server.running:
            found.restarts += 1
            found.verdict.add("lost", f"round {number}: the server ended; met {disk.hit[:3]}")
            server = load.server = _start(data, disk, server.port)
            server.answers("/readyz", 180)
        if quiet == 3:
            break
    load.fetch_all()
    for one in load.sent:
        if one.id and one.state != "succeeded" and one.error not in MAY_FAIL:
            found.verdict.add("failed for no fault of its own", f"job {one.number}: {one.state} {one.error}")
    server.stop()
    tidied(server)
    found.met = disk.met
    judge(server, load.sent, found.verdict, may_fail=MAY_FAIL)
    return found


def _start(data: Path, disk: FullDisk, port: int = 0) -> Served:
    data.mkdir(parents=True, exist_ok=True)
    launcher, descriptor = Traps(disk).launcher()
    server = Served(data, SETTINGS, launcher, (descriptor,), port)
    server.start()
    return server


def _starts(folder: Path, most: int, found: Found) -> int:
    """Start on a new folder with the disk full at the nth write; with room again, the next start must do."""
    for number in range(1, most + 1):
        data = folder / str(number) / "data"
        data.mkdir(parents=True)
        disk = FullDisk(str(data), seconds=2.0)
        disk.arm(number)
        server = _start(data, disk)
        with contextlib.suppress(RuntimeError):  # it may refuse to start on a full disk
            server.answers("/livez", 20)
        met = disk.disarm()
        server.kill()
        again = Served(data, SETTINGS)
        again.start()
        try:
            again.answers("/livez", 20)
        except RuntimeError as broken:
            found.verdict.add("lost", f"start {number} met {disk.hit[:2]}; the next start failed: {broken}")
        again.kill()
        if not met:
            return number
    return most
