# SPDX-License-Identifier: Apache-2.0
"""SIGKILL, or SIGSTOP and SIGCONT, of random processes of a server that works; then count what was lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from sqlalchemy.exc import SQLAlchemyError

from tests.chaos.load import Load
from tests.chaos.verdict import Verdict, judge, leftovers, overdue
from tests.postgres import Cluster
from tests.served import Served

SETTINGS = {
    "LEASE_S": "3",
    "RETRY_BACKOFF_S": "0.1",
    "MAX_ATTEMPTS": "1000",
    "POISON_CRASHES": "100000",
    "QUEUE_JOBS": "100000",
    "OWNER_JOBS": "100000",
    "WORKERS_CPU": "1",
    "DISK_WATERMARK_BYTES": "0",
}
"""A kill is no fault of the job that it hits, so none may fail for it."""
WEIGHTS = {"api": 1, "supervisor": 1, "worker": 2, "nursery": 1, "child": 6}
"""A child is forked anew at once; after the first three a worker has to import torch and monai again."""
POSTGRES_SHARE = 0.1
"""Of the hits; PostgreSQL ends at once, as after a crash, and is started again."""
CLIENTS = 4
WORK_WITHIN_S = 15.0
"""How long a hit may wait for a job to be at work."""


@dataclass
class Havoc:
    """Hits processes of one server; the API is started again as systemd would, the rest starts itself again."""

    server: Served
    choose: random.Random
    postgres: Cluster | None = None
    """Hit, too, where the ledger is in it."""
    alive_since: float = field(default_factory=time.time)
    """When somebody who reaps leases was last hit."""
    hits: Counter[str] = field(default_factory=Counter)
    while_running: int = 0
    """Hits while a job was at work."""
    begun_before: set[str] = field(default_factory=set)
    stuck: dict[str, str] = field(default_factory=dict)

    def victim(self) -> tuple[str, psutil.Process] | None:
        """A process to hit, by the weights, of those that live."""
        tree = self.server.tree()
        parts = [part for part in WEIGHTS if tree[part]]
        if not parts:
            return None
        part = self.choose.choices(parts, [WEIGHTS[part] for part in parts])[0]
        return part, self.choose.choice(tree[part])

    def kill(self) -> bool:
        """SIGKILL one process; True where one was hit."""
        if not self.server.running:
            self.server.start()
            self.alive_since = time.time()
        if self.postgres is not None and self.choose.random() < POSTGRES_SHARE:
            self.meet()
            self.postgres.stop()
            self.postgres.start()
            self.hits["postgres"] += 1
            self.alive_since = time.time()
            return True
        found = self.victim()
        if found is None:
            return False
        part, process = found
        self.meet()
        with contextlib.suppress(psutil.Error):
            process.kill()
            self.hits[part] += 1
            if part == "api" and self.server.process is not None:
                self.server.process.wait()
                self.server.start()
            if part in ("api", "supervisor"):
                self.alive_since = time.time()
            return True
        return False

    def at_work(self) -> set[str]:
        """Attempts that were begun since the last hit: each has a folder of its own."""
        with contextlib.suppress(OSError):
            return {path.name for path in (self.server.data / "work").iterdir()} - self.begun_before
        return set()

    def meet(self) -> None:
        """Note whether a hit meets an attempt at a job."""
        met = self.at_work()
        self.while_running += bool(met)
        self.begun_before |= met

    def stop_and_go_on(self, seconds: float) -> bool:
        """SIGSTOP a worker for longer than its lease, then SIGCONT."""
        workers = self.server.tree()["worker"]
        if not workers:
            return False
        process = self.choose.choice(workers)
        self.meet()
        try:
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(process.pid, signal.SIGCONT)
        except ProcessLookupError:
            return False
        self.hits["stopped"] += 1
        return True

    def look_for_stuck(self) -> None:
        """Note jobs whose lease ended long ago."""
        with contextlib.suppress(SQLAlchemyError):
            for words in overdue(self.server.ledger_url, self.alive_since):
                self.stuck.setdefault(words.split(" ", 1)[0], words)


@dataclass(frozen=True)
class Done:
    """How a run went."""

    verdict: Verdict
    havoc: Havoc
    load: Load
    seconds: float


def run(
    folder: Path,
    *,
    jobs: int,
    hits: int,
    stops: bool = False,
    seed: int = 1,
    drain_s: float = 120,
    postgres: Cluster | None = None,
) -> Done:
    """Hit a server `hits` times while clients send `jobs` jobs; then let it end its work, end it, and judge.

    Args:
        folder: an empty folder.
        jobs: spread over the whole time; more wait in the queue than the server gets done while it is hit.
        hits: SIGKILLs, or with `stops` SIGSTOPs.
        stops: stop workers for longer than their lease rather than kill anything.
        seed: of the choice of victims and pauses.
        drain_s: how long the server may take, after the last hit, to end all jobs.
        postgres: keep the ledger there, and hit that, too; by default it is kept in SQLite.
    """
    started, choose = time.time(), random.Random(seed)
    ledger = {"DATABASE": postgres.database()} if postgres else {}
    server = Served(folder / "data", SETTINGS | ledger | ({"WORKERS_CPU": "2"} if stops else {}))
    server.start()
    server.answers("/readyz", 120)
    load, havoc = Load(server), Havoc(server, choose, None if stops else postgres)
    numbers = iter(range(jobs))
    lock = threading.Lock()

    def client() -> None:
        while not load.stop.is_set():
            with lock:
                number = next(numbers, None)
                pause = choose.expovariate(4)
            if number is None:
                return
            load.submit(number)
            if sum(havoc.hits.values()) < hits:
                load.stop.wait(pause)

    clients = [threading.Thread(target=client, daemon=True) for _ in range(CLIENTS)]
    follower = threading.Thread(target=_follow, args=(load, clients, started + 24 * 3600), daemon=True)
    for one in (*clients, follower):
        one.start()
    while sum(havoc.hits.values()) < hits:
        havoc.stop_and_go_on(float(SETTINGS["LEASE_S"]) + choose.uniform(0.2, 2)) if stops else havoc.kill()
        _pause(havoc, choose)
        havoc.look_for_stuck()
    return _end(server, load, havoc, [*clients, follower], started, drain_s)


def tidied(server: Served, within_s: float = 90) -> None:
    """Start a server on its folder once more, for what it clears away then and once a minute, and end it."""
    server = Served(server.data, {**SETTINGS, **server.settings})
    server.start()
    server.answers("/livez", 30)
    until = time.time() + within_s
    while leftovers(server.data) and time.time() < until:
        time.sleep(0.5)
    server.stop()


def _pause(havoc: Havoc, choose: random.Random) -> None:
    """A short time; every other time at first until a job is at work, so that hits meet work and not only starts."""
    until = time.time() + (WORK_WITHIN_S if choose.random() < 0.5 else 0)
    while time.time() < until and not havoc.at_work():
        time.sleep(0.01)
    time.sleep(choose.expovariate(8))


def _follow(load: Load, clients: list[threading.Thread], until: float) -> None:
    while time.time() < until and not load.stop.is_set():
        busy = any(one.is_alive() for one in clients)
        late = load.follow(5)
        if not busy and not late:
            return


def _end(
    server: Served, load: Load, havoc: Havoc, threads: list[threading.Thread], started: float, drain_s: float
) -> Done:
    until = time.time() + drain_s
    if not server.running:
        server.start()
    while time.time() < until and any(one.is_alive() for one in threads):
        havoc.look_for_stuck()
        time.sleep(0.5)
    load.stop.set()
    for one in threads:
        one.join(30)
    verdict = Verdict()
    for words in havoc.stuck.values():
        verdict.add("stuck", words)
    load.fetch_all()
    server.stop()
    tidied(server)
    judge(server, load.sent, verdict)
    return Done(verdict, havoc, load, time.time() - started)
