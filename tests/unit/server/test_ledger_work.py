# SPDX-License-Identifier: Apache-2.0
import pytest

from clarivox.errors import ConflictError, NotFoundError
from clarivox.server.job import Beat, Outcome, State, WorkerRow
from tests.ledgers import START, file, new

GONE = Beat(alive=False, cancel=False)
GOOD = Outcome(State.SUCCEEDED, results=(file(9, "result"),), notes=("n",), metrics={"s": 1.5})


def test_jobs_run_by_priority_then_by_age(ledger, clock):
    made = []
    for priority in (0, 5, 0, 5, -5):
        made.append(ledger.submit(new(priority=priority))[0].id)
        clock.forward(1)
    order = [ledger.claim("w").id for _ in made]
    assert order == [made[1], made[3], made[0], made[2], made[4]]
    assert ledger.claim("w") is None


def test_a_bundle_in_memory_goes_first_but_not_for_ever(ledger, clock):
    cold, _ = ledger.submit(new(bundle="cold"))
    warm, _ = ledger.submit(new(bundle="warm"))
    clock.forward(1)
    assert ledger.claim("w", loaded=["warm"]).id == warm.id
    waiting, _ = ledger.submit(new(bundle="warm"))
    clock.forward(10)
    assert ledger.claim("w", loaded=["warm"]).id == cold.id
    urgent, _ = ledger.submit(new(bundle="cold", priority=1))
    assert ledger.claim("w", loaded=["warm"]).id == urgent.id
    assert ledger.claim("w", loaded=["warm"]).id == waiting.id


def test_a_worker_takes_only_its_kinds_and_what_waited_long_enough(ledger, clock):
    train, _ = ledger.submit(new(kind="train"))
    assert ledger.claim("w", kinds=["enhance", "batch"]) is None
    assert ledger.claim("w", waited_s=2) is None
    clock.forward(2)
    assert ledger.claim("w", waited_s=2, kinds=["train"]).id == train.id


def test_a_job_waits_for_its_time(ledger, clock):
    job, _ = ledger.submit(new(not_before=START + 10))
    assert ledger.claim("w") is None
    clock.forward(10)
    assert ledger.claim("w").id == job.id


def test_a_claim_says_who_and_how_long(ledger):
    ledger.submit(new())
    job = ledger.claim("w", lease_s=7)
    assert (job.state, job.attempt, job.worker_id) == (State.RUNNING, 1, "w")
    assert (job.started, job.lease_until) == (START, START + 7)


def test_a_beat_renews_the_lease_and_shows_how_far_it_is(ledger, clock):
    ledger.submit(new())
    job = ledger.claim("w", lease_s=10)
    for _ in range(5):
        clock.forward(8)
        assert ledger.beat(job.id, 1, stage="infer", done=0.25, eta_s=3.0) == Beat(alive=True, cancel=False)
        assert ledger.reap() == 0
    found = ledger.get(job.id)
    assert (found.stage, found.done, found.eta_s) == ("infer", 0.25, 3.0)
    assert found.lease_until == START + 50
    assert found.progress_at == START + 8  # a worker that only lives makes no progress
    assert found.seq == job.seq + 1


def test_a_finished_job_carries_what_came_of_it(ledger):
    ledger.submit(new())
    job = ledger.claim("w")
    assert ledger.finish(job.id, 1, GOOD)
    found = ledger.get(job.id)
    assert (found.state, found.results, found.notes) == (State.SUCCEEDED, GOOD.results, ("n",))
    assert (found.metrics, found.finished, found.lease_until, found.done) == ({"s": 1.5}, START, None, 1.0)
    assert found.expires_at == START + 24 * 3600
    with pytest.raises(ConflictError):
        ledger.finish(job.id, 1, Outcome(State.PURGED))


def test_each_step_of_degrading_is_kept(ledger):
    ledger.submit(new())
    job = ledger.claim("w")
    ledger.note(job.id, 1, "degraded", {"text": "one"})
    ledger.note(job.id, 1, "degraded", {"text": "two"})
    ledger.finish(job.id, 1, Outcome(State.SUCCEEDED))
    assert ledger.get(job.id).degradations == ("one", "two")


def test_a_result_that_is_not_in_the_store_is_not_published(ledger):
    ledger.submit(new())
    job = ledger.claim("w")
    with pytest.raises(NotFoundError):
        ledger.finish(job.id, 1, GOOD, has=lambda sha256: False)
    assert ledger.get(job.id).state is State.RUNNING
    assert ledger.finish(job.id, 1, GOOD, has=lambda sha256: True)


def test_a_silent_worker_loses_its_job_and_changes_nothing_when_it_wakes(ledger, clock):
    ledger.submit(new())
    job = ledger.claim("old", lease_s=10)
    clock.forward(10)
    assert ledger.reap() == 0
    clock.forward(1)
    assert ledger.reap() == 1
    assert ledger.get(job.id).state is State.QUEUED
    changes_nothing(ledger, job.id, 1)
    clock.forward(60)
    again = ledger.claim("new")
    assert (again.id, again.attempt, again.worker_id) == (job.id, 2, "new")
    changes_nothing(ledger, job.id, 1)
    assert ledger.finish(job.id, 2, Outcome(State.SUCCEEDED))
    changes_nothing(ledger, job.id, 2)


def changes_nothing(ledger, job_id, attempt):
    before = ledger.get(job_id)
    assert ledger.beat(job_id, attempt) == GONE
    assert not ledger.note(job_id, attempt, "degraded", {})
    assert not ledger.release(job_id, attempt, reason="late")
    assert not ledger.finish(job_id, attempt, GOOD)
    assert ledger.get(job_id) == before


def test_the_wait_between_attempts_doubles(make, clock):
    ledger = make(retry_backoff_s=2, poison_crashes=99)
    ledger.submit(new(max_attempts=20))
    for wait in (2, 4, 8, 16):
        job = ledger.claim("w")
        assert ledger.release(job.id, job.attempt, reason="device_fault")
        found = ledger.get(job.id)
        assert found.state is State.QUEUED
        assert found.not_before == clock.now + wait
        clock.forward(wait - 0.1)
        assert ledger.claim("w") is None
        clock.forward(0.1)
    for _ in range(12):
        job = ledger.claim("w")
        ledger.release(job.id, job.attempt, reason="device_fault")
        clock.forward(600)
    job = ledger.claim("w")
    ledger.release(job.id, job.attempt, reason="device_fault", delay_s=0)
    assert ledger.claim("w").attempt == 18


def test_a_clock_that_was_set_back_does_not_keep_a_job_waiting(ledger, clock):
    ledger.submit(new())
    job = ledger.claim("w")
    ledger.release(job.id, 1, reason="device_fault")
    clock.forward(-7200)
    assert ledger.claim("w").attempt == 2


def test_attempts_are_used_up(make, clock):
    ledger = make(poison_crashes=99)
    ledger.submit(new(max_attempts=2))
    for _ in range(2):
        job = ledger.claim("w")
        ledger.release(job.id, job.attempt, reason="device_fault")
        clock.forward(100)
    found = ledger.get(job.id)
    assert found.state is State.FAILED
    assert found.error["code"] == "attempts_used"
    assert ledger.claim("w") is None


def test_a_drained_attempt_does_not_count_and_its_number_is_not_used_again(make, clock):
    ledger = make()
    ledger.submit(new(max_attempts=1))
    for attempt in (1, 2, 3):
        job = ledger.claim("w")
        assert job.attempt == attempt
        assert ledger.release(job.id, attempt, reason="drain", counted=False)
    assert ledger.claim("w").attempt == 4
    assert not ledger.finish(job.id, 3, GOOD)
    assert ledger.release(job.id, 4, reason="device_fault")
    assert ledger.get(job.id).state is State.FAILED


def test_a_job_that_ends_its_workers_is_given_up(make, clock):
    ledger = make(poison_crashes=2)
    ledger.submit(new(max_attempts=10))
    for _ in range(2):
        clock.forward(60)
        job = ledger.claim("w")
        assert ledger.release(job.id, job.attempt, reason="crash", crashed=True)
    found = ledger.get(job.id)
    assert (found.state, found.crash_count, found.error["code"]) == (State.FAILED, 2, "poison")
    assert not found.error["retryable"]


def test_a_deadline_ends_a_job_wherever_it_is(ledger, clock):
    queued, _ = ledger.submit(new(deadline=START + 10))
    running, _ = ledger.submit(new(deadline=START + 10, priority=1))
    unseen, _ = ledger.submit(new(deadline=START + 10, priority=1))
    assert ledger.claim("w", lease_s=100).id == running.id
    assert ledger.claim("w", lease_s=100).id == unseen.id
    clock.forward(10)
    assert ledger.claim("w") is None
    assert not ledger.finish(unseen.id, 1, GOOD)  # before the reaper came
    assert ledger.reap() == 2
    for job in (queued, running, unseen):
        found = ledger.get(job.id)
        assert (found.state, found.error["code"], found.results) == (State.EXPIRED, "deadline", ())
        assert [one.type for one in ledger.events(job.id)][-1] == "expired"
    assert ledger.beat(running.id, 1) == GONE


def test_a_late_job_is_not_tried_again(ledger, clock):
    ledger.submit(new(deadline=START + 10))
    job = ledger.claim("w", lease_s=100)
    clock.forward(11)
    assert ledger.release(job.id, 1, reason="device_fault")
    assert ledger.get(job.id).state is State.EXPIRED


def test_a_cancelled_job_ends_though_its_worker_is_gone(ledger, clock):
    ledger.submit(new())
    job = ledger.claim("w", lease_s=10)
    ledger.cancel(job.id)
    clock.forward(11)
    assert ledger.reap() == 1
    assert ledger.get(job.id).state is State.CANCELLED


def test_many_jobs_are_reaped_in_one_go(make, clock):
    ledger = make(poison_crashes=99)
    for _ in range(25):
        ledger.submit(new())
        ledger.claim("w", lease_s=1)
    clock.forward(2)
    assert ledger.reap() == 25
    assert ledger.reap() == 0
    assert ledger.counts()[State.QUEUED] == 25


def row(name, **more):
    given = {"host": "h", "pid": 1, "device": "cpu", "device_name": "cpu", "version": "1", "state": "ready"}
    return WorkerRow(name, **(given | {"started": START, "heartbeat": 0.0} | more))


def test_workers_are_known_while_they_speak(ledger, clock):
    ledger.put_worker(row("a", loaded=("identity",), memory={"rss": 10}))
    ledger.put_worker(row("b"))
    clock.forward(60)
    ledger.put_worker(row("a", state="busy", job_id="0" * 36))
    assert [(one.id, one.state, one.heartbeat) for one in ledger.workers()] == [
        ("a", "busy", START + 60),
        ("b", "ready", START),
    ]
    clock.forward(60)
    ledger.reap()
    assert [(one.id, one.state) for one in ledger.workers()] == [("a", "busy"), ("b", "dead")]
    clock.forward(86_400)
    ledger.put_worker(row("a"))
    ledger.reap()
    assert [one.id for one in ledger.workers()] == ["a"]
