# SPDX-License-Identifier: Apache-2.0
import os
import time
import tracemalloc

import pytest
from sqlalchemy import insert

from clarivox.errors import ConflictError
from clarivox.server import retention
from clarivox.server.blobs import Blobs
from clarivox.server.job import FileRef, Outcome, Role, State
from clarivox.server.tables import blob_use
from clarivox.server.transitions import disuse, use
from tests.ledgers import START, file, new, settings

HOUR = 3600.0
DAY = 24 * HOUR


@pytest.fixture
def blobs(tmp_path):
    return Blobs(tmp_path, settings(tmp_path))


def stored(blobs, content, role=Role.INPUT, age_s=2 * HOUR):
    """A file that was stored some time ago."""
    with blobs.writer() as writer:
        writer.write(content)
        sha256, size = writer.commit()
    then = time.time() - age_s
    os.utime(blobs.path(sha256), (then, then))
    return FileRef(role, sha256, size, "application/gzip", f"{role}.nii.gz")


def enhanced(ledger, source, result):
    ledger.submit(new(inputs=(source,)))
    job = ledger.claim("w")
    assert ledger.finish(job.id, 1, Outcome(State.SUCCEEDED, results=(result,)))
    return job.id


def test_files_go_when_their_time_is_over_and_what_became_of_the_job_stays(ledger, blobs, clock):
    source, result = stored(blobs, b"in"), stored(blobs, b"out", Role.RESULT)
    job_id = enhanced(ledger, source, result)
    clock.forward(DAY - 1)
    assert ledger.tend(blobs).purged == 0
    assert blobs.has(source.sha256)
    clock.forward(1)
    assert ledger.tend(blobs).purged == 2
    assert not blobs.has(source.sha256)
    assert not blobs.has(result.sha256)
    found = ledger.get(job_id)
    assert (found.state, found.results, found.inputs) == (State.PURGED, (), (source,))
    assert ledger.events(job_id)[-1].data == {"was": "succeeded"}
    assert ledger.tend(blobs).purged == 0


def test_a_file_stays_while_another_uses_it(ledger, blobs, clock):
    source = stored(blobs, b"in")
    job_id = enhanced(ledger, source, stored(blobs, b"out", Role.RESULT))
    other, _ = ledger.submit(new(inputs=(source,)))
    with ledger.database.write() as connection:
        use(ledger.database, connection, "image:1", source.sha256, "datastore")
    ledger.delete_files(job_id)
    assert ledger.tend(blobs).purged == 1
    ledger.cancel(other.id)
    ledger.delete_files(other.id)
    ledger.delete_files(other.id)  # twice is once
    assert ledger.tend(blobs).purged == 0
    with ledger.database.write() as connection:
        disuse(ledger.database, connection, "image:1", START)
    assert list(retention.loose(ledger.database)) == [source.sha256]
    assert ledger.tend(blobs).purged == 1
    assert not blobs.has(source.sha256)


def test_only_an_ended_job_can_be_purged(ledger):
    job, _ = ledger.submit(new())
    with pytest.raises(ConflictError) as caught:
        ledger.delete_files(job.id)
    assert caught.value.code == "not_ended"


def test_a_file_that_was_just_stored_again_is_not_taken_from_its_new_job(ledger, blobs):
    source = stored(blobs, b"in")
    ledger.delete_files(enhanced(ledger, source, stored(blobs, b"out", Role.RESULT)))
    stored(blobs, b"in", age_s=1)
    ledger.tend(blobs)
    assert blobs.has(source.sha256)
    ledger.submit(new(inputs=(source,)), has=blobs.has)
    assert not list(retention.loose(ledger.database))


def test_a_file_that_a_job_began_to_use_in_the_meantime_is_not_deleted(ledger, blobs):
    source = stored(blobs, b"in")
    ledger.submit(new(inputs=(source,)))
    assert not retention.drop(ledger.database, blobs, source.sha256, 0.0)
    assert blobs.has(source.sha256)


def test_an_upload_waits_a_day_for_its_job(ledger, blobs):
    young, old = stored(blobs, b"young", age_s=DAY - 60), stored(blobs, b"old", age_s=DAY + 60)
    used = stored(blobs, b"used", age_s=2 * DAY)
    ledger.submit(new(inputs=(used,)))
    assert ledger.tend(blobs).purged == 1
    assert [blobs.has(one.sha256) for one in (young, old, used)] == [True, False, True]


def test_history_goes_when_its_time_is_over(make, clock):
    ledger = make(keep_events_days=2, keep_results_h=1)
    job_id = enhanced(ledger, file(1), file(2))
    waiting, _ = ledger.submit(new())
    clock.forward(HOUR)
    ledger.purge()
    assert ledger.get(job_id).state is State.PURGED
    clock.forward(2 * DAY + 1)
    ledger.purge()
    assert [job.id for job in ledger.jobs()[0]] == [waiting.id]
    assert ledger.events() == []
    ledger.cancel(waiting.id)
    assert [event.type for event in ledger.events()] == ["cancelled"]
    assert ledger.events()[0].seq > 4  # numbers are not used again


def test_many_jobs_are_purged_in_one_go(make, clock, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 3)
    ledger = make()
    for number in range(10):
        ledger.cancel(ledger.submit(new(inputs=(file(number),)))[0].id)
    clock.forward(2 * DAY)
    ledger.purge()
    assert list(retention.loose(ledger.database)) == [file(number).sha256 for number in range(10)]
    assert ledger.counts()[State.PURGED] == 10


def test_files_that_are_used_are_not_all_held_in_memory_at_once(ledger, blobs):
    rows = [{"sha256": f"{number:064x}", "user": "image:1", "role": "datastore"} for number in range(20_000)]
    with ledger.database.write() as connection:
        connection.execute(insert(blob_use), rows)
    del rows
    retention.collect(ledger.database, blobs)
    tracemalloc.start()
    try:
        retention.collect(ledger.database, blobs)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 256 << 10


def test_working_folders_of_attempts_that_do_not_run_are_swept(ledger, blobs, tmp_path):
    ledger.submit(new())
    job = ledger.claim("w")
    work = tmp_path / "work"
    for name in (f"{job.id}.1", f"{job.id}.0", "0" * 36 + ".1", "notes"):
        (work / name).mkdir(parents=True)
        (work / name / "x.npy").touch()
    assert ledger.tend(blobs).swept == 2
    assert sorted(path.name for path in work.iterdir()) == sorted([f"{job.id}.1", "notes"])


def test_keeping_house_gives_up_the_reserve_on_a_full_disk_and_sets_it_aside_later(make, tmp_path, monkeypatch):
    ledger = make(disk_reserve_bytes=1 << 20)
    blobs = Blobs(tmp_path, ledger.settings)
    ledger.tend(blobs)
    assert blobs.reserve.exists()
    monkeypatch.setattr(blobs, "free", lambda: 1000)
    ledger.tend(blobs)
    assert not blobs.reserve.exists()
    monkeypatch.undo()
    ledger.tend(blobs)
    assert blobs.reserve.exists()
