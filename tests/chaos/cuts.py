# SPDX-License-Identifier: Apache-2.0
"""Cut the power: replay what a working server wrote up to a random moment, and ask whether it kept its word.

What is modelled stands in tests.chaos.disk. After each cut the ledger must open, every job that a client had been told
of (202) must be in it with its input, every job that a client had seen end must have ended so, every result must be
whole, and the rest must run to their end: with the ledger and a stand-in for a worker after each cut, with the server
itself after a few.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.disk import Change, Disk
from tests.chaos.kills import SETTINGS, tidied
from tests.chaos.load import ENDS, Load, Sent
from tests.chaos.recorder import Recorder
from tests.chaos.traps import Traps
from tests.chaos.verdict import Verdict, damage, judge, read_ledger, unsound
from tests.served import Served

LATER_S = 3600.0
"""When the power comes back: all leases are over."""


@dataclass
class Recorded:
    """A server's work: what it wrote, and what its clients were told when."""

    changes: Sequence[Change]
    sent: list[Sent]
    top: Path
    unseen: int = 0
    verdict: Verdict = field(default_factory=Verdict)


def record(folder: Path, jobs: int) -> Recorded:
    """Let a server do some jobs, from its first start on, and keep each of its writes."""
    data = folder / "data"
    data.mkdir(parents=True)
    recorder = Recorder(data)
    launcher, descriptor = Traps(recorder).launcher()
    server = Served(data, SETTINGS, launcher, (descriptor,))
    server.start()
    server.answers("/readyz", 180)
    load = Load(server, mark=recorder.mark)
    line = server.line()
    for number in range(jobs):
        load.submit(number)
        if number % 4 == 3:
            load.follow(20)
    late = load.follow(120)
    line.close()
    server.stop()
    found = Recorded(recorder.changes, load.sent, data, recorder.disk.unseen)
    for one in late:
        found.verdict.add("stuck", f"job {one.number} while it was recorded: {one.state}")
    judge(server, load.sent, found.verdict)
    return found


def moments(count: int, changes: int, choose: random.Random) -> list[int]:
    """Moments to cut at, in order."""
    return sorted(choose.randint(1, changes) for _ in range(count))


def replay(recorded: Recorded, folder: Path, cuts: int, served: int, seed: int) -> Verdict:
    """Cut at random moments; every other cut keeps a random part of what was not synced."""
    choose, verdict = random.Random(seed), recorded.verdict
    disk, applied = Disk(recorded.top), 0
    with_server = set(choose.sample(range(cuts), min(served, cuts)))
    for number, moment in enumerate(moments(cuts, len(recorded.changes), choose)):
        for change in recorded.changes[applied:moment]:
            disk.apply(change)
        applied = moment
        after = folder / f"cut-{number}" / "data"
        disk.write_out(after, choose if number % 2 else None)
        name = f"cut {number} after change {moment}"
        before = sum(len(words) for words in verdict.found.values())
        promises(after, recorded.sent, moment, name, verdict)
        if sum(len(words) for words in verdict.found.values()) == before:
            (serve_on if number in with_server else work_on)(after, recorded.sent, moment, name, verdict)
            shutil.rmtree(after.parent)
    return verdict


def promises(after: Path, sent: Sequence[Sent], moment: int, name: str, verdict: Verdict) -> None:
    """Compare what clients had been told before the cut with what is there."""
    from sqlalchemy.exc import SQLAlchemyError

    from clarivox.errors import ClarivoxError
    from clarivox.server.ledger import Ledger
    from clarivox.server.settings import Settings

    settings = Settings(data_dir=after, disk_watermark_bytes=0)
    ledger = Ledger(settings.ledger_url, settings=settings)
    try:
        ledger.open()
    except (ClarivoxError, SQLAlchemyError, OSError) as refused:
        verdict.add("lost", f"{name}: the ledger does not open: {refused!r}")
        return
    finally:
        ledger.close()
    rows = {row["id"]: row for row in read_ledger(settings.ledger_url, "SELECT * FROM job")}
    if words := unsound(settings.ledger_url):
        verdict.add("lost", f"{name}: the ledger is damaged: {words}")
    for one in sent:
        if one.id is None or one.mark > moment:
            continue
        row = rows.get(one.id)
        if row is None:
            verdict.add("lost", f"{name}: job {one.number} had been acknowledged after change {one.mark}")
        elif one.seen_ended is not None and one.ended_mark <= moment and row["state"] != one.state:
            verdict.add("lost", f"{name}: job {one.number} had been {one.state}, now {row['state']}")
    for row in rows.values():
        _files(after, row, name, verdict)


def _files(after: Path, row: object, name: str, verdict: Verdict) -> None:
    import json

    parts = json.loads(row["inputs"]) + json.loads(row["results"] or "[]")  # type: ignore[index]
    for part in parts:
        if words := damage(after, part):
            verdict.add("wrong digest", f"{name}: {row['id']} {row['state']}: {part['role']} {words}")  # type: ignore[index]


def work_on(after: Path, sent: Sequence[Sent], moment: int, name: str, verdict: Verdict) -> None:
    """Let a stand-in for a worker end every job that is left."""
    from clarivox.server.job import Outcome, State
    from clarivox.server.ledger import Ledger
    from clarivox.server.settings import Settings

    settings = Settings(data_dir=after, retry_backoff_s=0)
    ledger = Ledger(settings.ledger_url, settings=settings, clock=lambda: time.time() + LATER_S)
    ledger.open()
    ledger.reap()
    until = time.monotonic() + 5
    while time.monotonic() < until and any(n for state, n in ledger.counts().items() if state not in ENDS):
        found = ledger.claim("stand-in", lease_s=60)
        if found is not None:
            ledger.finish(found.id, found.attempt, Outcome(State.SUCCEEDED))
        else:
            ledger.reap()
            time.sleep(0.01)
    for state, count in ledger.counts().items():
        if state not in ENDS and count:
            verdict.add("stuck", f"{name}: {count} jobs stay {state}")
    ledger.close()


def serve_on(after: Path, sent: Sequence[Sent], moment: int, name: str, verdict: Verdict) -> None:
    """Start the server on what is left and let it end all jobs; those that clients did not know of are sent again."""
    server = Served(after, SETTINGS)
    server.start()
    try:
        server.answers("/readyz", 120)
        load = Load(server, sent=[Sent(one.number, one.key, one.id) for one in sent if one.id and one.mark <= moment])
        for one in sent:
            if one.mark > moment:
                load.submit(one.number)
        for one in load.follow(120):
            verdict.add("stuck", f"{name}, served again: job {one.number} is {one.state}")
        load.fetch_all()
        server.stop()
        tidied(server)
        judge(server, load.sent, verdict)
    except RuntimeError as broken:
        verdict.add("stuck", f"{name}, served again: {broken}")
    finally:
        server.kill()
