# SPDX-License-Identifier: Apache-2.0
import json
from concurrent.futures import ThreadPoolExecutor

import alembic.op
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from clarivox.errors import ConflictError, ServiceError
from clarivox.server.dialects import Database
from clarivox.server.job import Outcome, State, new_id
from clarivox.server.ledger import Ledger
from clarivox.server.migrations import steps
from clarivox.server.tables import metadata
from tests.ledgers import START, file, new, opened, settings

INPUT = {"role": "input", "sha256": file().sha256, "bytes": 10, "media": "application/gzip", "name": "input.nii.gz"}
OLD_JOB = {
    "owner": "ward",
    "kind": "enhance",
    "bundle": "identity",
    "bundle_version": "0.9",
    "params": '{"options":{"sigma":2.5}}',
    "inputs": json.dumps([INPUT]),
    "priority": 0,
    "tags": '{"site":"K\\u00f6ln"}',
    "created": START - 60,
    "not_before": 0,
    "attempt": 0,
    "max_attempts": 3,
    "crash_count": 0,
    "cancel_requested": False,
    "stage": "",
    "done": 0,
    "results": "[]",
    "notes": "[]",
    "degradations": "[]",
    "metrics": "{}",
    "seq": 1,
}
"""A row as the first version of the tables had it."""


@pytest.fixture
def database(database_url):
    made = Database(database_url)
    yield made
    made.close()


def old(database, **more):
    values = OLD_JOB | {"id": new_id()} | more
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    with database.write() as connection:
        connection.execute(text(f"INSERT INTO job ({names}) VALUES ({marks})"), values)
        connection.execute(
            text("INSERT INTO blob_use VALUES (:sha256, :job, 'input')"),
            {"sha256": file().sha256, "job": f"job:{values['id']}"},
        )
    return values["id"]


def test_jobs_in_the_queue_of_an_old_version_run_in_the_new_one(database, database_url, tmp_path, clock):
    steps.migrate(database, to="0001")
    waiting = old(database, state="queued", idem_key="k", request_hash="h")
    running = old(database, state="running", attempt=1, worker_id="w", lease_until=START + 1e6, started=START - 5)
    ended = old(database, state="succeeded", attempt=1, finished=START - 5, expires_at=START + 60)

    ledger = opened(database_url, tmp_path, clock)
    job = ledger.claim("w")
    assert (job.id, job.params, job.tags) == (waiting, {"options": {"sigma": 2.5}}, {"site": "Köln"})
    assert (job.bundle_version, job.inputs) == ("0.9", (file(),))
    assert ledger.beat(job.id, 1).alive
    assert ledger.finish(job.id, 1, Outcome(State.SUCCEEDED))
    assert ledger.submit(new(idem_key="k", request_hash="h"))[0].id == waiting
    assert ledger.reap() == 1
    clock.forward(60)
    assert ledger.claim("w").id == running
    assert not ledger.finish(running, 1, Outcome(State.SUCCEEDED))
    assert ledger.beat(running, 2).alive
    assert ledger.get(ended).state is State.SUCCEEDED
    ledger.purge()
    assert ledger.get(ended).state is State.PURGED
    ledger.close()


def test_the_steps_lead_to_the_tables(database):
    def comparable(_object, name, *_more):
        return name != "job_ready"  # SQLite does not tell the direction of an index

    steps.migrate(database)
    with database.read() as connection:
        options = {"compare_type": True, "include_object": comparable}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
        assert "job_ready" in {index["name"] for index in inspect(connection).get_indexes("job")}
        assert steps.step_of(connection) == steps.HEAD
    assert steps.scripts().get_heads() == [steps.HEAD]


def test_a_step_that_fails_leaves_the_ledger_as_it_was(database, monkeypatch):
    steps.migrate(database, to="0001")
    kept = old(database, state="queued")
    with monkeypatch.context() as patch:
        patch.delattr(alembic.op, "create_table")
        with pytest.raises(AttributeError):
            steps.migrate(database)
    with database.read() as connection:
        assert steps.step_of(connection) == "0001"
        assert "lease_s" not in {column["name"] for column in inspect(connection).get_columns("job")}
        assert connection.scalar(text("SELECT id FROM job")) == kept
    steps.migrate(database)


def test_a_ledger_of_a_newer_version_is_not_touched(database, database_url, tmp_path):
    steps.migrate(database)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    ledger = Ledger(database_url, settings=settings(tmp_path))
    with pytest.raises(ConflictError) as caught:
        ledger.open()
    ledger.close()
    assert caught.value.code == "newer_ledger"


def test_several_may_open_a_new_ledger_at_once(database_url, tmp_path):
    def one(_number):
        ledger = Ledger(database_url, settings=settings(tmp_path))
        try:
            ledger.open()
            ledger.submit(new())
        finally:
            ledger.close()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(one, range(6)))
    ledger = opened(database_url, tmp_path)
    assert ledger.counts()[State.QUEUED] == 6
    ledger.close()


@pytest.mark.parametrize("where", [0, 4096 * 3])
def test_a_damaged_file_is_told_before_anything_else(tmp_path, where):
    address = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    ledger = opened(address, tmp_path)
    for _ in range(40):
        ledger.submit(new())
    ledger.close()
    with (tmp_path / "ledger.sqlite").open("r+b") as file_:
        file_.seek(where)
        file_.write(b"\xff" * 4096)
    ledger = Ledger(address, settings=settings(tmp_path))
    with pytest.raises(ServiceError) as caught:
        ledger.open()
    ledger.close()
    assert caught.value.code == "ledger_damaged"
    assert "backup" in str(caught.value)
