# SPDX-License-Identifier: Apache-2.0
"""Objects are found for their owner, once their job has succeeded and until it is purged; on both databases."""

import pytest

from clarivox.errors import FormatError, NotFoundError
from clarivox.io.dicom_index import Source, write_index
from clarivox.server.blobs import Blobs
from clarivox.server.dicom_store import DicomStore, record
from clarivox.server.job import FileRef, NewJob, Outcome, Role, State
from tests.dicom_objects import series_of

STUDY = "1.2.3"


@pytest.fixture
def blobs(tmp_path, ledger):
    return Blobs(tmp_path / "data", ledger.settings)


@pytest.fixture
def store(ledger, blobs):
    return DicomStore(ledger, blobs)


@pytest.fixture
def files(tmp_path):
    return series_of("ct", tmp_path / "in", StudyInstanceUID=STUDY)


def running(ledger, blobs, files, owner="me"):
    """A job with these files that a worker has begun, and the index of them, noted but not published."""
    inputs = tuple(FileRef(Role.INPUT, *blobs.put_file(path), "application/dicom", "input") for path in files)
    ledger.submit(NewJob(owner=owner, inputs=inputs, bundle="identity"))
    job = ledger.claim("worker")
    out = blobs.temporary / "index"
    write_index([Source(file.sha256, blobs.path(file.sha256)) for file in inputs], out)
    index = FileRef(Role.INDEX, *blobs.put_file(out), "application/octet-stream", "index.bin")
    record(ledger, job.id, index.sha256, out, [file.sha256 for file in inputs])
    return job, index


def finished(ledger, blobs, files, owner="me"):
    job, index = running(ledger, blobs, files, owner)
    assert ledger.finish(job.id, job.attempt, Outcome(State.SUCCEEDED, (index,)))
    return job


def test_a_series_is_found_by_its_owner_and_by_who_sees_all(ledger, blobs, store, files):
    finished(ledger, blobs, files)
    [series] = store.series("me")
    assert (series.study, series.count()) == (STUDY, 3)
    assert len(store.series(None, STUDY, series.uid)) == 1
    assert store.series("you") == store.series("me", "1.2.4") == store.series("me", STUDY, "1") == []
    with pytest.raises(NotFoundError):
        store.instances("you", STUDY, None, None)


def test_nothing_is_shown_of_a_job_that_has_not_succeeded(ledger, blobs, store, files):
    job, _ = running(ledger, blobs, files)
    assert store.series("me") == []
    ledger.finish(job.id, job.attempt, Outcome(State.FAILED, error={"code": "x"}))
    assert store.series("me") == []


def test_the_note_of_an_attempt_that_was_lost_is_not_followed(ledger, blobs, store, files):
    job, _ = running(ledger, blobs, files[:1])
    ledger.release(job.id, job.attempt, reason="crash", delay_s=0)
    again = ledger.claim("other")
    assert ledger.finish(again.id, again.attempt, Outcome(State.SUCCEEDED))
    assert store.series("me") == []


def test_a_purged_job_is_gone_and_another_of_the_same_series_stays(ledger, blobs, store, files):
    first = finished(ledger, blobs, files[:2])
    second = finished(ledger, blobs, files[1:])
    assert store.series("me")[0].count() == len(store.instances("me", STUDY, None, None)) == 3
    ledger.delete_files(second.id)
    assert store.series("me")[0].count() == 2
    ledger.delete_files(first.id)
    assert store.series("me") == []


def test_an_instance_has_its_header_its_file_and_its_frames(ledger, blobs, store, files):
    finished(ledger, blobs, files)
    first = store.instances("me", STUDY, None, None)[0]
    [again] = store.instances("me", STUDY, first.series, first.uid)
    assert b'"00100010"' in again.line("http://here")
    assert len(again.frames()) == 1
    assert sum(piece.size for piece in again.file()) == files[0].stat().st_size
    assert again.bulk("00091010") is None


def test_little_memory_is_enough(ledger, blobs, files):
    finished(ledger, blobs, files)
    store = DicomStore(ledger, blobs, cache_bytes=1)
    assert len(store.instances("me", STUDY, None, None)) == 3


def test_an_index_that_names_other_files_is_not_taken(ledger, blobs, files, tmp_path):
    out = tmp_path / "index"
    write_index([Source("0" * 64, files[0])], out)
    with pytest.raises(FormatError):
        record(ledger, "job", "1" * 64, out, ["2" * 64])
    for content in (b"", b"x" * 40, b"[]clarivox-index1\n0000000000000000", b"{}clarivox-index1\nffffffffffffffff"):
        out.write_bytes(content)
        with pytest.raises(FormatError):
            record(ledger, "job", "1" * 64, out, [])


@pytest.mark.parametrize("damage", [b"x" * 100, b"", b"{" + b"clarivox-index1\n0000000000000000"])
def test_a_damaged_index_does_not_hide_the_others(ledger, blobs, store, files, damage):
    job, index = running(ledger, blobs, files[:1])
    assert ledger.finish(job.id, job.attempt, Outcome(State.SUCCEEDED, (index,)))
    finished(ledger, blobs, files[1:])
    blobs.path(index.sha256).write_bytes(damage)
    [series] = store.series("me")
    assert series.count() == 2
