# SPDX-License-Identifier: Apache-2.0
"""The ledger against a model of it in plain Python: hypothesis calls whatever it likes, both must say the same.

The model knows no database: a list of jobs and the rules of the issue. After each step every job of the ledger must be
as the model has it, files in use must be those of the jobs that are not purged, and each history must be a lawful one.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from clarivox.errors import BusyError, ConflictError
from clarivox.server.job import ENDED, Job, Outcome, State
from clarivox.server.retention import loose
from clarivox.server.tables import blob_use, metadata
from tests.ledgers import Clock, file, new, opened

LIMITS: dict[str, Any] = {"queue_jobs": 5, "owner_jobs": 4, "poison_crashes": 2, "retry_backoff_s": 2}
LIMITS |= {"keep_results_h": 1, "lease_s": 10}
LAWFUL = re.compile(
    r"created( started( (stage|degraded|cancel_requested))* requeued)*"
    r"( started( (stage|degraded|cancel_requested))*)?"
    r"( (succeeded|failed|cancelled|expired)( purged)?)?"
)
DAY_S = 86_400
ENDINGS = (State.SUCCEEDED, State.FAILED, State.CANCELLED)


@dataclass
class Known:
    """A job as the model has it."""

    id: str
    owner: str
    priority: int
    created: float
    deadline: float | None
    max_attempts: int
    inputs: tuple[str, ...]
    key: str | None = None
    asked: str | None = None
    state: State = State.QUEUED
    not_before: float = 0.0
    lease_until: float | None = None
    attempt: int = 0
    uncounted: int = 0
    crashes: int = 0
    cancel: bool = False
    results: tuple[str, ...] = ()
    expires: float | None = None
    published: int = 0
    code: str | None = None
    was: list[str] = field(default_factory=list)


class LedgerMachine(RuleBasedStateMachine):
    """Any calls in any order."""

    url = ""
    """Of a database, whatever it holds; SQLite in a folder of its own where none is given."""
    steps = 0
    """Of all runs together."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        folder = Path(self.folder.name)
        self.ledger = opened(self.url or f"sqlite:///{folder / 'ledger.sqlite'}", folder, self.clock, **LIMITS)
        self.model: list[Known] = []

    @initialize(attempts=st.lists(st.integers(1, 3), max_size=3))
    def begin(self, attempts: list[int]) -> None:
        with self.ledger.database.write() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
        for most in attempts:
            self.know(self.ledger.submit(new(max_attempts=most))[0])

    def teardown(self) -> None:
        try:
            self.end_all()
        finally:
            self.ledger.close()
            self.folder.cleanup()

    # What the model does

    def end(self, one: Known, state: State, code: str | None = None) -> None:
        one.state, one.lease_until, one.code = state, None, code
        one.expires = self.clock.now + LIMITS["keep_results_h"] * 3600

    def requeue(self, one: Known, *, counted: bool = True, crashed: bool = False, delay_s: float | None = None) -> None:
        one.crashes += crashed
        one.uncounted += not counted
        tried = one.attempt - one.uncounted
        if one.cancel:
            return self.end(one, State.CANCELLED)
        if one.deadline is not None and one.deadline <= self.clock.now:
            return self.end(one, State.EXPIRED, "deadline")
        if one.crashes >= LIMITS["poison_crashes"]:
            return self.end(one, State.FAILED, "poison")
        if tried >= one.max_attempts:
            return self.end(one, State.FAILED, "attempts_used")
        one.state, one.lease_until = State.QUEUED, None
        back_off = LIMITS["retry_backoff_s"] * 2 ** (tried - 1) if counted else 0
        one.not_before = self.clock.now + (back_off if delay_s is None else delay_s)
        return None

    def in_queue(self, owner: str | None = None) -> int:
        return sum(one.state is State.QUEUED and owner in (None, one.owner) for one in self.model)

    def late(self, one: Known) -> bool:
        return one.deadline is not None and one.deadline <= self.clock.now

    def picked(self, data: st.DataObject, *states: State) -> Known:
        found = [one for one in self.model if not states or one.state in states]
        # Mostly what is in work, and was tried before: there the most can go wrong.
        running = [one for one in found if one.state is State.RUNNING]
        tried = sorted(running, key=lambda one: one.attempt)[-1:]
        return data.draw(st.sampled_from(found + running * 2 + tried * 2 * len(found)))

    def some(self, *states: State) -> bool:
        return any(one.state in states for one in self.model)

    # What is called

    @rule(
        owner=st.sampled_from(["ward", "lab"]),
        priority=st.integers(-1, 1),
        deadline=st.none() | st.integers(1, 60),
        key=st.none() | st.sampled_from(["k1", "k2"]),
        asked=st.sampled_from(["a", "b"]),
        attempts=st.integers(1, 3),
        files=st.sets(st.integers(0, 4), min_size=1, max_size=2),
    )
    def submit(
        self,
        owner: str,
        priority: int,
        deadline: int | None,
        key: str | None,
        asked: str,
        attempts: int,
        files: set[int],
    ) -> None:
        until = None if deadline is None else self.clock.now + deadline
        inputs = tuple(file(number) for number in sorted(files))
        wanted = new(owner=owner, priority=priority, deadline=until, idem_key=key, request_hash=asked, inputs=inputs)
        wanted = type(wanted)(**{**vars(wanted), "max_attempts": attempts})
        same = next((one for one in self.model if key is not None and (one.owner, one.key) == (owner, key)), None)
        if same is not None and same.state in ENDED and self.clock.now - same.created >= DAY_S:
            same = None
        try:
            job, made = self.ledger.submit(wanted)
        except ConflictError:
            assert same is not None and same.asked != asked
            return
        except BusyError as error:
            assert same is None
            full = self.in_queue() >= LIMITS["queue_jobs"]
            assert error.code == ("queue_full" if full else "owner_quota")
            assert full or self.in_queue(owner) >= LIMITS["owner_jobs"]
            return
        assert made == (same is None)
        if same is not None:
            assert (job.id, asked) == (same.id, same.asked)
            return
        assert self.in_queue() < LIMITS["queue_jobs"] and self.in_queue(owner) < LIMITS["owner_jobs"]
        self.know(job, key, asked)

    def know(self, job: Job, key: str | None = None, asked: str | None = None) -> None:
        inputs = tuple(one.sha256 for one in job.inputs)
        for earlier in self.model:
            if (earlier.owner, earlier.key) == (job.owner, key):
                earlier.key = None
        one = Known(job.id, job.owner, job.priority, job.created, job.deadline, job.max_attempts, inputs, key, asked)
        self.model.append(one)

    @rule(patient=st.booleans())
    def claim(self, patient: bool) -> None:
        self.taken(patient)

    def taken(self, patient: bool) -> Known | None:
        waits = [one.not_before - self.clock.now for one in self.model if one.state is State.QUEUED]
        if patient and waits:
            self.clock.forward(max(min(waits), 0.0))
        ready = [one for one in self.model if one.state is State.QUEUED and not self.late(one)]
        ready = [one for one in ready if one.not_before <= self.clock.now]
        ready.sort(key=lambda one: (-one.priority, one.created, one.id))
        job = self.ledger.claim("w")
        assert (job.id if job else None) == (ready[0].id if ready else None)
        if not ready:
            return None
        ready[0].state, ready[0].lease_until = State.RUNNING, self.clock.now + 10
        ready[0].attempt += 1
        return ready[0]

    @precondition(lambda self: self.model)
    @rule(data=st.data(), back=st.integers(0, 1), stage=st.sampled_from(["read", "infer"]))
    def beat(self, data: st.DataObject, back: int, stage: str) -> None:
        one = self.picked(data)
        mine = one.state is State.RUNNING and back == 0
        heard = self.ledger.beat(one.id, one.attempt - back, stage=stage, done=0.5)
        assert (heard.alive, heard.cancel) == (mine, mine and one.cancel)
        assert self.ledger.note(one.id, one.attempt - back, "degraded", {"text": "t"}) == mine
        if mine:
            one.lease_until = self.clock.now + 10

    @precondition(lambda self: self.model)
    @rule(data=st.data(), back=st.sampled_from([0, 0, 0, 1]), state=st.sampled_from(ENDINGS))
    def finish(self, data: st.DataObject, back: int, state: State) -> None:
        one = self.picked(data)
        results = (file(100 + len(self.model), "result"),) if state is State.SUCCEEDED else ()
        mine = one.state is State.RUNNING and back == 0
        published = self.ledger.finish(one.id, one.attempt - back, Outcome(state, results=results))
        assert published == (mine and not self.late(one))
        if mine and self.late(one):
            self.end(one, State.EXPIRED, "deadline")
        elif mine:
            self.end(one, state)
            one.results = tuple(found.sha256 for found in results)
            one.published += 1

    @precondition(lambda self: self.model)
    @rule(
        data=st.data(),
        back=st.sampled_from([0, 0, 0, 1]),
        counted=st.booleans(),
        crashed=st.booleans(),
        delay_s=st.none() | st.integers(0, 5),
    )
    def release(self, data: st.DataObject, back: int, counted: bool, crashed: bool, delay_s: int | None) -> None:
        self.gives_back(self.picked(data), back, counted=counted, crashed=crashed, delay_s=delay_s)

    def gives_back(self, one: Known, back: int, **how: Any) -> None:
        mine = one.state is State.RUNNING and back == 0
        assert self.ledger.release(one.id, one.attempt - back, reason="r", **how) == mine
        if mine:
            self.requeue(one, **how)

    @rule(how=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=3))
    def fails_again_and_again(self, how: list[tuple[bool, bool]]) -> None:
        for counted, crashed in how:
            one = self.taken(patient=True)
            if one is not None:
                self.gives_back(one, 0, counted=counted, crashed=crashed, delay_s=None)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        one = self.picked(data)
        try:
            self.ledger.cancel(one.id)
        except ConflictError:
            assert one.state in ENDED
            return
        assert one.state not in ENDED
        if one.state is State.QUEUED:
            self.end(one, State.CANCELLED)
        else:
            one.cancel = True

    @precondition(lambda self: self.some(*ENDED))
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        one = self.picked(data, *ENDED)
        try:
            job = self.ledger.retry(one.id)
        except ConflictError:
            assert one.state is State.PURGED
        except BusyError:
            assert self.in_queue() >= LIMITS["queue_jobs"] or self.in_queue(one.owner) >= LIMITS["owner_jobs"]
        else:
            assert job.parent_id == one.id
            self.know(job)

    @precondition(lambda self: self.some(*ENDED))
    @rule(data=st.data())
    def delete_files(self, data: st.DataObject) -> None:
        one = self.picked(data, *ENDED)
        self.ledger.delete_files(one.id)
        one.state, one.results = State.PURGED, ()

    @rule(seconds=st.sampled_from([1, 5, DAY_S]))
    def time_passes(self, seconds: int) -> None:
        self.clock.forward(seconds)

    @rule(seconds=st.sampled_from([0, 10, 11]))
    def reap(self, seconds: int) -> None:
        self.clock.forward(seconds)
        changed = 0
        for one in self.model:
            if one.state in (State.QUEUED, State.RUNNING) and self.late(one):
                self.end(one, State.EXPIRED, "deadline")
            elif one.state is State.RUNNING and (one.lease_until or 0) < self.clock.now:
                self.requeue(one)
            else:
                continue
            changed += 1
        assert self.ledger.reap() == changed

    @rule(seconds=st.sampled_from([0, 3601]))
    def purge(self, seconds: int) -> None:
        self.clock.forward(seconds)
        for one in self.model:
            if one.state in ENDED and (one.expires or 0) <= self.clock.now:
                one.state, one.results = State.PURGED, ()
        self.ledger.purge()
        assert not set(loose(self.ledger.database)) & self.in_use()

    # What must hold

    def in_use(self) -> set[str]:
        kept = [one for one in self.model if one.state is not State.PURGED]
        return {sha256 for one in kept for sha256 in one.inputs + one.results}

    @invariant()
    def both_say_the_same(self) -> None:
        type(self).steps += 1
        found: dict[str, Job] = {}
        after: str | None = None
        while True:
            page, after = self.ledger.jobs(after=after, limit=500)
            found |= {job.id: job for job in page}
            if after is None:
                break
        assert sorted(found) == [one.id for one in self.model]
        for one in self.model:
            job = found[one.id]
            assert (job.state, job.attempt, job.crash_count) == (one.state, one.attempt, one.crashes)
            assert job.lease_until == one.lease_until
            assert (job.lease_until is not None) == (job.state is State.RUNNING)
            assert (job.finished is not None) == job.ended
            assert tuple(result.sha256 for result in job.results) == one.results
            assert (job.error or {}).get("code") == one.code
            assert one.published <= 1
        with self.ledger.database.read() as connection:
            used = set(connection.scalars(select(blob_use.c.sha256)))
        assert used == self.in_use()

    def end_all(self) -> None:
        """Each history is lawful, each event has a later number than the one before; and no job is stuck."""
        for one in self.model:
            events = self.ledger.events(one.id)
            assert LAWFUL.fullmatch(" ".join(event.type for event in events)), [event.type for event in events]
            assert [event.seq for event in events] == sorted({event.seq for event in events})
        for _ in range(200):
            if all(job.ended for job in self.ledger.jobs(limit=500)[0]):
                return
            self.clock.forward(700)
            self.ledger.reap()
            while job := self.ledger.claim("last"):
                assert self.ledger.finish(job.id, job.attempt, Outcome(State.SUCCEEDED))
        raise AssertionError("a job is stuck")


def run(url: str, *, examples: int, steps: int, shrink: bool = True) -> int:
    """Run the machine on a database, SQLite where none is given: how many steps it took.

    Raises:
        AssertionError: ledger and model differ; the message ends with the shortest way there that was found.
    """
    machine = type("Machine", (LedgerMachine,), {"url": url})
    checks = list(HealthCheck)
    phases = [phase for phase in Phase if shrink or phase not in (Phase.shrink, Phase.explain)]
    limits = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=checks,
        phases=phases,
    )
    run_state_machine_as_test(machine, settings=limits)
    return int(machine.steps)
