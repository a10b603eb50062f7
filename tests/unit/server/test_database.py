# SPDX-License-Identifier: Apache-2.0
import multiprocessing
import sqlite3
import threading
import time

import pytest
from sqlalchemy import insert, select, text

from clarivox.errors import BusyError, CapacityError, OptionError, ServiceError
from clarivox.server import clock as clocks
from clarivox.server import dialects
from clarivox.server.dialects import Database, journal_mode
from clarivox.server.job import Outcome, State
from clarivox.server.ledger import Ledger
from clarivox.server.tables import job_event
from tests import postgres
from tests.ledgers import new, opened, settings

JOBS, WORKERS = 40, 3


def works(url, folder, name, until):
    """Claims at 50 ms, as a worker does, until everything is done."""
    ledger = opened(url, folder, lease_s=30)
    while not until.is_set():
        job = ledger.claim(name)
        if job is None:
            time.sleep(0.05)
            continue
        assert ledger.beat(job.id, job.attempt, stage="infer").alive
        assert ledger.finish(job.id, job.attempt, Outcome(State.SUCCEEDED, metrics={"by": name}))
    ledger.close()


@pytest.mark.slow
def test_several_workers_share_the_jobs_without_a_lock_error_and_none_is_run_twice(database_url, tmp_path):
    ledger = opened(database_url, tmp_path, queue_jobs=1000, owner_jobs=1000)
    context = multiprocessing.get_context("spawn")
    until = context.Event()
    arguments = [(database_url, tmp_path, f"w{number}", until) for number in range(WORKERS)]
    workers = [context.Process(target=works, args=one) for one in arguments]
    for worker in workers:
        worker.start()
    for _ in range(JOBS):
        ledger.submit(new())
    end = time.monotonic() + 60
    while ledger.counts()[State.SUCCEEDED] < JOBS and time.monotonic() < end:
        time.sleep(0.05)
    until.set()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * WORKERS
    jobs, _ = ledger.jobs(limit=500)
    assert [(job.state, job.attempt) for job in jobs] == [(State.SUCCEEDED, 1)] * JOBS
    for job in jobs:
        assert [one.type for one in ledger.events(job.id)] == ["created", "started", "stage", "succeeded"]
    ledger.close()


def test_threads_of_one_process_submit_side_by_side_and_no_limit_is_passed(make):
    ledger = make(queue_jobs=12, owner_jobs=10)
    told = []

    def submits(owner):
        for number in range(8):
            try:
                told.append(ledger.submit(new(owner=owner, idem_key=str(number), request_hash="h"))[1])
            except BusyError as error:
                told.append(error.code)

    threads = [threading.Thread(target=submits, args=(owner,)) for owner in ("a", "a", "b", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told.count(True) == 12
    assert len({job.id for job in ledger.jobs()[0]}) == 12


def test_all_events_are_seen_in_order_though_writers_end_out_of_order(make, database_url):
    ledger = make()
    first, second = Database(database_url), Database(database_url)
    if first.sqlite:
        first.close(), second.close()
        return
    job, _ = ledger.submit(new())
    values = {"job_id": job.id, "attempt": 0, "at": 0.0, "type": "stage", "data": {}}
    seen = []
    with first.write() as slow:
        first.events_begin(slow)
        slow.execute(insert(job_event).values(**values))
        with second.write() as quick:
            second.events_begin(quick)
            quick.execute(insert(job_event).values(**values))
        reader = threading.Thread(target=lambda: seen.extend(ledger.events()))
        reader.start()
        reader.join(0.3)
        assert seen == []  # it waits for the slow one, whose number is lower
    reader.join()
    assert [event.seq for event in seen] == [1, 2, 3]
    first.close(), second.close()


def test_a_transaction_is_whole_or_not_at_all(ledger):
    with pytest.raises(ZeroDivisionError), ledger.database.write() as connection:
        connection.execute(text("DELETE FROM alembic_version"))
        raise ZeroDivisionError
    with ledger.database.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM alembic_version")) == 1


def test_the_journal_is_one_that_this_sqlite_keeps_safely(tmp_path):
    assert journal_mode((3, 40, 1)) == journal_mode((3, 51, 2)) == "TRUNCATE"
    assert journal_mode((3, 51, 3)) == journal_mode((3, 53, 0)) == "WAL"
    database = Database(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    with database.read() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")).upper() == journal_mode()
        assert connection.scalar(text("PRAGMA synchronous")) == 2
        assert connection.scalar(text("PRAGMA mmap_size")) == 0
    database.close()


def test_a_writer_that_holds_sqlite_too_long_makes_others_wait_then_busy(tmp_path, monkeypatch):
    monkeypatch.setattr(dialects, "BUSY_MS", 50)
    ledger = opened(f"sqlite:///{tmp_path / 'ledger.sqlite'}", tmp_path)
    other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(BusyError) as caught:
        ledger.submit(new())
    assert caught.value.code == "database_away"
    assert ledger.jobs() == ([], None)  # who only reads does not wait
    other.execute("ROLLBACK")
    other.close()
    assert ledger.submit(new())[1]
    ledger.close()


def test_a_thread_waits_for_another_as_long_and_is_then_told(tmp_path, monkeypatch):
    monkeypatch.setattr(dialects, "BUSY_MS", 50)
    ledger = opened(f"sqlite:///{tmp_path / 'ledger.sqlite'}", tmp_path)
    with ledger.database.write(), pytest.raises(BusyError) as caught:
        ledger.submit(new())
    assert caught.value.code == "database_away"
    assert ledger.submit(new())[1]
    ledger.close()


def test_a_full_disk_is_told_as_such_and_harms_nothing(tmp_path):
    ledger = opened(f"sqlite:///{tmp_path / 'ledger.sqlite'}", tmp_path, queue_jobs=5000, owner_jobs=5000)
    with ledger.database.read() as connection:  # the pool gives the next caller this connection again
        pages = connection.scalar(text("PRAGMA page_count"))
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 4}")
    with pytest.raises(CapacityError) as caught:
        for _ in range(5000):
            ledger.submit(new())
    assert caught.value.code == "disk_full"
    kept = ledger.counts()[State.QUEUED]
    ledger.close()
    again = opened(f"sqlite:///{tmp_path / 'ledger.sqlite'}", tmp_path)
    assert again.counts()[State.QUEUED] == kept > 0
    assert again.claim("w") is not None
    again.close()


@pytest.mark.slow
def test_a_database_that_goes_away_is_told_and_comes_back(tmp_path):
    if postgres.programs() is None:
        pytest.skip(postgres.WHY_NOT)
    with postgres.cluster() as cluster:
        ledger = opened(cluster.database(), tmp_path)
        job, _ = ledger.submit(new())
        cluster.stop()
        for call in (lambda: ledger.submit(new()), lambda: ledger.get(job.id), lambda: ledger.claim("w")):
            with pytest.raises(BusyError) as caught:
                call()
            assert caught.value.code == "database_away"
        cluster.start()
        assert ledger.claim("w").id == job.id
        ledger.close()


def test_a_process_that_stops_in_a_transaction_keeps_nobody_waiting_for_ever(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(dialects, "IDLE_MS", 200)
    address = cluster.database()
    ledger, stopped = opened(address, tmp_path), Database(address)
    with pytest.raises(BusyError) as caught, stopped.write(alone=True) as connection:
        assert ledger.submit(new())[1]  # waits until the other lost its lock
        connection.execute(text("SELECT 1"))
    assert caught.value.code == "database_away"
    stopped.close()
    ledger.close()


def test_other_databases_are_refused():
    with pytest.raises(OptionError) as caught:
        Database("mysql://root@localhost/x")
    assert caught.value.code == "unknown_database"


def test_what_an_error_of_the_database_says_is_not_told(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}", settings=settings(tmp_path))
    (tmp_path / "ledger.sqlite").write_bytes(b"Patient^Secret" * 1000)
    with pytest.raises(ServiceError) as caught:
        ledger.open()
    assert "Secret" not in str(caught.value)
    ledger.close()


@pytest.mark.parametrize("jump", [-7200, 7200])
def test_leases_go_on_evenly_though_the_clock_is_set(tmp_path, monkeypatch, jump):
    address = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    ledger = opened(address, tmp_path)
    ledger.submit(new())
    ledger.submit(new())
    living, dead = ledger.claim("living", lease_s=60), ledger.claim("dead", lease_s=0.01)
    real = clocks.wall
    monkeypatch.setattr(clocks, "wall", lambda: real() + jump)
    # A process that starts after the clock was set, and leaves it to others to open the ledger.
    other = Ledger(address, settings=settings(tmp_path))
    time.sleep(0.02)
    assert other.reap() == 1
    assert other.get(living.id).state is State.RUNNING
    assert other.get(dead.id).state is State.QUEUED
    assert other.beat(living.id, 1).alive
    assert ledger.reap() == 0
    assert other.get(living.id).lease_until == pytest.approx(real() + 60, abs=30)
    for one in (ledger, other):
        one.close()


def test_after_a_start_of_the_machine_nobody_holds_a_lease(tmp_path, monkeypatch):
    address = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    ledger = opened(address, tmp_path)
    ledger.submit(new())
    job = ledger.claim("w", lease_s=1e6)
    ledger.close()
    monkeypatch.setattr(clocks, "boot", lambda: "another")
    again = opened(address, tmp_path)
    assert again.reap() == 1
    assert again.get(job.id).state is State.QUEUED
    with again.database.read() as connection:
        assert len(connection.execute(select(clocks.clock)).all()) == 2
    again.close()


@pytest.mark.parametrize("gone", ["boot", "uptime"])
def test_where_the_system_tells_no_uptime_its_clock_must_do(tmp_path, monkeypatch, gone):
    monkeypatch.setattr(clocks, gone, lambda: None)
    ledger = opened(f"sqlite:///{tmp_path / 'ledger.sqlite'}", tmp_path)
    ledger.submit(new())
    assert ledger.claim("w", lease_s=10).lease_until == pytest.approx(time.time() + 10, abs=60)
    ledger.close()
