# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import replace
from itertools import pairwise

import pytest

from clarivox.errors import BusyError, ConflictError, NotFoundError, OptionError
from clarivox.server.job import Outcome, State
from clarivox.server.profiles import Profile
from tests.ledgers import START, file, new


def done(ledger, job_id=None, state=State.SUCCEEDED, **more):
    job = ledger.claim("w")
    assert job_id in (None, job.id)
    assert ledger.finish(job.id, job.attempt, Outcome(state, **more))
    return ledger.get(job.id)


def test_what_was_asked_for_comes_back(ledger):
    asked = new(
        params={"options": {"sigma": 2.5}, "series": None},
        tags={"site": "Köln"},
        priority=7,
        deadline=START + 60,
        bundle_version="1.0",
        trace="00-a-b-01",
        inputs=(file(1), file(2, "like")),
    )
    job, made = ledger.submit(asked)
    assert made
    found = ledger.get(job.id)
    assert found == job
    assert found.state is State.QUEUED
    assert found.created == START
    for name in ("params", "tags", "priority", "deadline", "bundle_version", "trace", "inputs", "owner"):
        assert getattr(found, name) == getattr(asked, name)


def test_anothers_job_is_as_if_it_were_not_there(ledger):
    job, _ = ledger.submit(new())
    assert ledger.get(job.id, "ward") == job
    calls = (ledger.get, ledger.cancel, ledger.retry, ledger.delete_files)
    for job_id, owner in ((job.id, "other"), ("x", None), ("\x00", None), (job.id.upper(), None), ("0" * 32, None)):
        for call in calls:
            with pytest.raises(NotFoundError) as caught:
                call(job_id, owner)
            assert caught.value.code == "no_such_job"
    assert ledger.get(job.id).state is State.QUEUED


def test_a_key_stands_for_one_request(ledger, clock):
    first, made = ledger.submit(new(idem_key="k", request_hash="a"))
    assert made
    assert ledger.submit(new(idem_key="k", request_hash="a")) == (first, False)
    with pytest.raises(ConflictError) as caught:
        ledger.submit(new(idem_key="k", request_hash="b"))
    assert caught.value.code == "idempotency_mismatch"
    assert ledger.submit(new(idem_key="k", request_hash="b", owner="other"))[1]
    assert ledger.submit(new())[1]
    assert ledger.submit(new())[1]


def test_a_key_may_be_used_again_a_day_later_but_not_while_its_job_runs(ledger, clock):
    first, _ = ledger.submit(new(idem_key="k", request_hash="a"))
    clock.forward(86_401)
    assert ledger.submit(new(idem_key="k", request_hash="a")) == (first, False)
    done(ledger, first.id)
    again, made = ledger.submit(new(idem_key="k", request_hash="b"))
    assert made
    assert again.id != first.id


def test_a_full_queue_refuses_and_a_full_share_of_it_too(make):
    ledger = make(queue_jobs=3, owner_jobs=2)
    ledger.submit(new())
    ledger.submit(new(idem_key="k"))
    with pytest.raises(BusyError) as caught:
        ledger.submit(new())
    assert caught.value.code == "owner_quota"
    assert caught.value.retry_after_s > 0
    assert not ledger.submit(new(idem_key="k"))[1]
    ledger.submit(new(owner="other"))
    with pytest.raises(BusyError) as caught:
        ledger.submit(new(owner="third"))
    assert caught.value.code == "queue_full"
    ledger.claim("w")
    ledger.submit(new(owner="third"))


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"priority": 101}, "bad_priority"),
        ({"max_attempts": 0}, "bad_attempts"),
        ({"deadline": math.nan}, "bad_time"),
        ({"not_before": math.inf}, "bad_time"),
        ({"owner": "a\x00"}, "bad_text"),
        ({"idem_key": "k" * 256}, "bad_text"),
        ({"bundle": "\ud800"}, "bad_text"),
        ({"parent_id": "x"}, "bad_parent"),
    ],
)
def test_what_no_database_could_keep_is_refused(ledger, wrong, code):
    with pytest.raises(OptionError) as caught:
        ledger.submit(new(**wrong))
    assert caught.value.code == code
    assert ledger.counts()[State.QUEUED] == 0


def test_awkward_values_come_back_from_both_databases(ledger):
    params = {"text": "\x00\ud800", "big": 2**70, "small": -1e-300, "nan": math.nan, "inf": [math.inf], "none": None}
    job, _ = ledger.submit(new(params=params))
    assert ledger.get(job.id).params == params | {"nan": None, "inf": [None]}


def test_a_file_that_is_not_there_is_told_and_nothing_is_queued(ledger):
    with pytest.raises(NotFoundError) as caught:
        ledger.submit(new(), has=lambda sha256: False)
    assert caught.value.code == "no_such_blob"
    assert ledger.counts()[State.QUEUED] == 0
    assert ledger.submit(new(), has=lambda sha256: True)[1]


def test_pages_hold_every_job_once_the_newest_first(ledger):
    made = [ledger.submit(new(owner=f"o{number % 2}"))[0].id for number in range(11)]
    pages, after = [], None
    while True:
        page, after = ledger.jobs(after=after, limit=3)
        pages.append(page)
        if after is None:
            break
        ledger.submit(new())  # what comes later disturbs no page
    assert [len(page) for page in pages] == [3, 3, 3, 2]
    assert [job.id for page in pages for job in page] == made[::-1]
    assert all(newer > older for newer, older in pairwise(made[::-1]))
    assert len(ledger.jobs(limit=0)[0]) == 1


def test_jobs_are_found_by_what_they_are(ledger):
    one, _ = ledger.submit(new(kind="batch", bundle="a"))
    two, _ = ledger.submit(new(owner="other", bundle="b", parent_id=one.id))
    three, _ = ledger.submit(new(bundle="b", priority=-1))
    done(ledger, one.id)

    def ids(**wanted):
        return [job.id for job in ledger.jobs(**wanted)[0]]

    assert ids(owner="other") == [two.id]
    assert ids(kind="batch") == [one.id]
    assert ids(bundle="b") == [three.id, two.id]
    assert ids(parent=one.id) == [two.id]
    assert ids(states=[State.SUCCEEDED, State.FAILED]) == [one.id]
    assert ids(owner="\x00") == []
    assert ids(bundle="\ud800") == []
    for cursor in ("", "x", "\x00", "1" * 36):
        with pytest.raises(OptionError) as caught:
            ledger.jobs(after=cursor)
        assert caught.value.code == "bad_cursor"


def test_the_history_of_a_job_is_told_in_order_and_from_any_point(ledger):
    job, _ = ledger.submit(new())
    other, _ = ledger.submit(new())
    running = ledger.claim("w")
    ledger.beat(running.id, 1, stage="read")
    ledger.beat(running.id, 1, stage="read", done=0.5)
    ledger.beat(running.id, 1, stage="infer")
    ledger.note(running.id, 1, "degraded", {"text": "windows one at a time"})
    ledger.finish(running.id, 1, Outcome(State.FAILED, error={"code": "truncated"}))
    events = ledger.events(job.id)
    assert [one.type for one in events] == ["created", "started", "stage", "stage", "degraded", "failed"]
    assert events[1].data == {"worker": "w"}
    assert events[-1].data == {"code": "truncated"}
    assert ledger.events(job.id, after=events[2].seq) == events[3:]
    assert [one.type for one in ledger.events(other.id)] == ["created"]
    everything = ledger.events()
    assert [one.seq for one in everything] == sorted({one.seq for one in everything})
    assert len(everything) == 7
    assert ledger.events(job.id, after=2**80) == ledger.events("x") == []
    assert len(ledger.events(job.id, after=-1, limit=2)) == 2


def test_a_queued_job_is_cancelled_at_once(ledger, clock):
    job, _ = ledger.submit(new())
    clock.forward(1)
    cancelled = ledger.cancel(job.id, "ward")
    assert cancelled.state is State.CANCELLED
    assert cancelled.finished == START + 1
    assert cancelled.seq > job.seq
    assert ledger.claim("w") is None
    with pytest.raises(ConflictError) as caught:
        ledger.cancel(job.id)
    assert caught.value.code == "job_ended"


def test_a_running_job_is_told_to_stop_and_stops_as_its_worker_says(ledger):
    job, _ = ledger.submit(new())
    ledger.claim("w")
    assert not ledger.beat(job.id, 1).cancel
    told = ledger.cancel(job.id)
    assert told.state is State.RUNNING
    assert told.cancel_requested
    assert ledger.cancel(job.id) == told
    assert ledger.beat(job.id, 1).cancel
    assert ledger.finish(job.id, 1, Outcome(State.CANCELLED))
    assert ledger.get(job.id).state is State.CANCELLED


def test_a_retry_is_a_new_job_of_the_same_request(ledger):
    job, _ = ledger.submit(new(params={"options": {"a": 1}}, idem_key="k", deadline=START + 5, tags={"t": "1"}))
    with pytest.raises(ConflictError) as caught:
        ledger.retry(job.id)
    assert caught.value.code == "not_ended"
    done(ledger, job.id, State.FAILED)
    again = ledger.retry(job.id, "ward")
    assert again.id != job.id
    assert again.parent_id == job.id
    assert again.state is State.QUEUED
    assert (again.params, again.inputs, again.tags, again.deadline) == (job.params, job.inputs, job.tags, None)
    with pytest.raises(NotFoundError):
        ledger.retry(job.id, has=lambda sha256: False)
    ledger.delete_files(job.id)
    with pytest.raises(ConflictError) as caught:
        ledger.retry(job.id)
    assert caught.value.code == "purged"


def test_the_place_in_the_queue(ledger):
    late, _ = ledger.submit(new(priority=-1))
    first, _ = ledger.submit(new())
    second, _ = ledger.submit(new())
    assert [ledger.position(job) for job in (first, second, late)] == [0, 1, 2]
    assert ledger.claim("w").id == first.id
    assert [ledger.position(job) for job in (second, late)] == [0, 1]
    assert ledger.counts()[State.QUEUED] == 2
    assert ledger.counts()[State.RUNNING] == 1
    assert set(ledger.counts()) == set(State)


def test_a_profile_is_a_mean_in_which_the_newest_counts_most(ledger):
    assert ledger.profile("identity", "cpu") is None
    ledger.put_profile(Profile("identity", "cpu", 1.0, load_s=2.0, peak_bytes=100))
    ledger.put_profile(replace(ledger.profile("identity", "cpu"), s_per_megavoxel=2.0, load_s=0.0, peak_bytes=50))
    found = ledger.profile("identity", "cpu")
    assert found.s_per_megavoxel == pytest.approx(1.3)
    assert (found.load_s, found.peak_bytes, found.runs) == (2.0, 100, 2)
