# SPDX-License-Identifier: Apache-2.0
"""What the ledger and the data folder say in the end: lost, published twice, stuck, wrong digests, left-over files."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, RowMapping, create_engine, text

from tests.benchmarks.measure import Gate, gate
from tests.chaos.load import ENDS, Sent
from tests.served import Served

LEFT_S = 20.0
"""How long after the end of a server a process of it may still live."""
WHILE_DOWN_S = 10.0
"""How long after the end of a lease a job may still say that it runs."""


@dataclass
class Verdict:
    """Counts that must be 0, with what they were found on."""

    found: dict[str, list[str]] = field(default_factory=dict)
    rows: int = 0
    states: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    """Codes of jobs that failed."""
    attempts: int = 0
    repeats: int = 0
    """Attempts beyond the first of each job."""

    def add(self, kind: str, words: str) -> None:
        """One finding."""
        self.found.setdefault(kind, []).append(words)

    def count(self, kind: str) -> int:
        """How many of a kind."""
        return len(self.found.get(kind, ()))

    def gates(self) -> list[Gate]:
        """A gate for each kind, with the first finding printed where there is one."""
        for kind in KINDS:
            for words in self.found.get(kind, ())[:5]:
                print(f"{kind}: {words}")
        return [gate(kind, self.count(kind), at_most=0, unit="jobs, files or processes") for kind in KINDS]

    def counts(self) -> dict[str, Any]:
        """For the table and the JSON."""
        return {kind: self.count(kind) for kind in KINDS}


KINDS = (
    "lost", "published twice", "stuck", "wrong digest", "failed for no fault of its own",
    "left-over files", "left-over processes",
)  # fmt: skip


def read_ledger(url: str, query: str) -> Sequence[RowMapping]:
    """Rows of the ledger of a server; opened to write, as reading after a kill may have to roll back."""
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": 30} if url.startswith("sqlite") else {})
    with engine.connect() as connection:
        return connection.execute(text(query)).mappings().all()


def overdue(url: str, alive_since: float) -> list[str]:
    """Jobs that say they run although their lease ended, and somebody was there to see it, more than 10 s ago."""
    now = time.time()
    return [
        f"{row['id']} attempt {row['attempt']}, lease over for {now - row['lease_until']:.0f} s"
        for row in read_ledger(url, "SELECT id, attempt, lease_until FROM job WHERE state = 'running'")
        if row["lease_until"] is not None and now - max(row["lease_until"], alive_since) > WHILE_DOWN_S
    ]


def judge(server: Served, sent: Sequence[Sent], verdict: Verdict, *, may_fail: frozenset[str] = frozenset()) -> Verdict:
    """Compare what clients were told with what the ledger and the blobs hold.

    Args:
        server: that has ended; its folder and its ledger are read.
        sent: every job that was sent.
        verdict: gets the findings.
        may_fail: codes of errors that jobs of this run may end with.
    """
    data, url = server.data, server.ledger_url
    rows = {row["id"]: row for row in read_ledger(url, "SELECT * FROM job")}
    _clients(sent, rows, verdict)
    keys = Counter((row["owner"], row["idem_key"]) for row in rows.values())
    for (_, key), count in keys.items():
        if key is not None and count > 1:
            verdict.add("published twice", f"key {key} has {count} jobs")
    for row in read_ledger(url, "SELECT job_id, count(*) AS n FROM job_event WHERE type = 'succeeded' GROUP BY job_id"):
        if row["n"] > 1:
            verdict.add("published twice", f"{row['job_id']} succeeded {row['n']} times")
    for row in rows.values():
        _row(data, row, verdict, may_fail)
    if words := unsound(url):
        verdict.add("lost", f"integrity check of the ledger: {words}")
    for path in leftovers(data):
        verdict.add("left-over files", str(path.relative_to(data)))
    for one in server.left(LEFT_S):
        verdict.add("left-over processes", f"{one.pid} {' '.join(one.cmdline())}")
    verdict.rows = len(rows)
    return verdict


def unsound(url: str) -> str:
    """What SQLite finds wrong with its file; PostgreSQL looks after its own, and refuses to start."""
    if not url.startswith("sqlite"):
        return ""
    found = [str(row["integrity_check"]) for row in read_ledger(url, "PRAGMA integrity_check")]
    return "" if found == ["ok"] else "; ".join(found[:3])


def _clients(sent: Sequence[Sent], rows: dict[str, RowMapping], verdict: Verdict) -> None:
    for one in sent:
        for fault in one.faults:
            kind = "lost" if "not found" in fault else "published twice" if "was " in fault else "wrong digest"
            verdict.add(kind, f"job {one.number}: {fault}")
        if one.id is None:
            continue
        row = rows.get(one.id)
        if row is None:
            verdict.add("lost", f"job {one.number}, {one.id}: acknowledged, not in the ledger")
        elif one.seen_ended is not None and row["state"] != one.state:
            verdict.add("published twice", f"{one.id}: a client saw {one.state}, the ledger says {row['state']}")


def _row(data: Path, row: RowMapping, verdict: Verdict, may_fail: frozenset[str]) -> None:
    verdict.states[row["state"]] += 1
    verdict.attempts += row["attempt"]
    verdict.repeats += max(0, row["attempt"] - 1)
    if row["state"] not in ENDS:
        verdict.add("stuck", f"{row['id']} is {row['state']} at the end, attempt {row['attempt']}, {row['error']}")
    if row["state"] in ("failed", "expired"):
        error = json.loads(row["error"] or "{}")
        verdict.errors[str(error.get("code"))] += 1
        if error.get("code") not in may_fail:
            verdict.add("failed for no fault of its own", f"{row['id']}: {row['error']}")
    files = list(json.loads(row["inputs"]))
    if row["state"] == "succeeded":
        results = json.loads(row["results"] or "[]")
        if not any(part["role"] == "result" for part in results):
            verdict.add("wrong digest", f"{row['id']} succeeded without a result")
        files += results
    for part in files:
        if words := damage(data, part):
            verdict.add("wrong digest", f"{row['id']}: {part['role']} {words}")


def damage(data: Path, part: dict[str, Any]) -> str:
    """What is wrong with a stored file; empty where nothing is."""
    path = data / "blobs" / part["sha256"][:2] / part["sha256"]
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return "is not in the store"
    if len(content) != part["bytes"]:
        return f"has {len(content)} bytes, not {part['bytes']}"
    return "" if hashlib.sha256(content).hexdigest() == part["sha256"] else "has another digest"


def leftovers(data: Path) -> list[Path]:
    """Files that a clean end, or the next start, should have taken away; and blobs that are not what they say."""
    found = [path for name in ("tmp", "work") for path in (data / name).rglob("*") if path.is_file()]
    found += [path for path in (data / "work").glob("*") if path.is_dir()] if (data / "work").is_dir() else []
    for path in (data / "blobs").rglob("*"):
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
            found.append(path)
    return found
