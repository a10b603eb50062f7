# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import pytest
from sqlalchemy import text

from clarivox.errors import ConflictError, FormatError, OutputError
from clarivox.server.backup import backup, read_backup, restore
from clarivox.server.blobs import Blobs
from clarivox.server.dialects import Database
from clarivox.server.job import FileRef, Outcome, State
from clarivox.server.ledger import Ledger
from clarivox.server.migrations import steps
from tests.ledgers import new, settings


def stored(blobs, content):
    with blobs.writer() as writer:
        writer.write(content)
        sha256, size = writer.commit()
    return FileRef("input", sha256, size, "application/gzip", "input.nii.gz")


@pytest.fixture
def address(cluster):
    return {"sqlite": lambda: None, "postgresql": cluster.database}


def serving(folder, address):
    """The settings of a server, its ledger and its files."""
    more = {} if address is None else {"database": address}
    made = settings(folder, **more)
    folder.mkdir()
    ledger = Ledger(made.ledger_url, settings=made)
    ledger.open()
    return made, ledger, Blobs(folder, made)


def filled(ledger, blobs):
    """A job that is done, one that runs and one that waits."""
    source = stored(blobs, b"source")
    for number in range(3):
        ledger.submit(new(inputs=(source,), params={"n": number}, idem_key=str(number), request_hash="r"))
    done = ledger.claim("w")
    result = replace(stored(blobs, b"result"), role="result")
    ledger.finish(done.id, 1, Outcome(State.SUCCEEDED, results=(result,), metrics={"s": 0.1}))
    return ledger.get(done.id), ledger.claim("w", lease_s=3600), ledger.jobs(states=[State.QUEUED])[0][0]


@pytest.mark.slow
@pytest.mark.parametrize("source", ["sqlite", "postgresql"])
@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_a_server_comes_back_from_its_backup_on_either_database(source, target, address, tmp_path):
    made, ledger, blobs = serving(tmp_path / "old", address[source]())
    done, running, waiting = filled(ledger, blobs)
    (tmp_path / "old" / "audit.jsonl").write_text("{}\n")
    (tmp_path / "old" / "work" / "x").mkdir(parents=True)
    said = backup(made, tmp_path / "kept")
    assert (said.rows["job"], said.files, said.missing) == (3, 2, ())
    assert read_backup(tmp_path / "kept") == said
    ledger.submit(new())  # the old one went on, and was lost

    more = {} if target == "sqlite" else {"database": address[target]()}
    fresh = settings(tmp_path / "new", **more)
    assert restore(tmp_path / "kept", fresh) == said
    again = Ledger(fresh.ledger_url, settings=fresh)
    again.open()
    assert again.get(done.id) == done
    assert again.get(waiting.id) == waiting
    assert again.events(done.id) == ledger.events(done.id)
    assert again.counts() == ledger.counts() | {State.QUEUED: 2, State.RUNNING: 0}
    assert Blobs(tmp_path / "new", fresh).path(done.results[0].sha256).read_bytes() == b"result"
    assert (tmp_path / "new" / "audit.jsonl").read_text() == "{}\n"
    assert not (tmp_path / "new" / "work").exists()
    assert not again.finish(running.id, 1, Outcome(State.SUCCEEDED))  # its worker is of another time
    assert again.submit(new(idem_key="1", request_hash="r"))[0].id == running.id
    assert again.claim("w").id == waiting.id
    newest = again.events()[-1].seq
    again.submit(new())
    assert again.events()[-1].seq > newest
    for one in (ledger, again):
        one.close()


def test_a_backup_costs_no_room_and_does_not_change_with_the_server(tmp_path):
    made, ledger, blobs = serving(tmp_path / "data", None)
    done, *_ = filled(ledger, blobs)
    backup(made, tmp_path / "kept")
    sha256 = done.results[0].sha256
    kept = tmp_path / "kept" / "blobs" / sha256[:2] / sha256
    assert kept.samefile(blobs.path(sha256))
    stored(blobs, b"result")
    blobs.delete(sha256)
    assert kept.read_bytes() == b"result"
    ledger.close()


def test_a_missing_or_damaged_file_purges_its_jobs_only(tmp_path):
    made, ledger, blobs = serving(tmp_path / "data", None)
    done, _, waiting = filled(ledger, blobs)
    odd, _ = ledger.submit(new(inputs=(stored(blobs, b"odd"),)))
    blobs.delete(done.results[0].sha256)
    said = backup(made, tmp_path / "kept")
    assert said.missing == (done.results[0].sha256,)
    sha256 = odd.inputs[0].sha256
    damaged = tmp_path / "kept" / "blobs" / sha256[:2] / sha256
    damaged.unlink()
    damaged.write_bytes(b"0dd")
    fresh = settings(tmp_path / "new")
    assert restore(tmp_path / "kept", fresh).missing == tuple(sorted([done.results[0].sha256, sha256]))
    again = Ledger(fresh.ledger_url, settings=fresh)
    states = [again.get(one.id).state for one in (done, odd, waiting)]
    assert states == [State.PURGED, State.FAILED, State.QUEUED]
    assert again.get(odd.id).error["code"] == "files_missing"
    for one in (ledger, again):
        one.close()


def test_a_backup_of_an_older_version_comes_back_as_the_newest(tmp_path):
    made = settings(tmp_path / "old")
    (tmp_path / "old").mkdir()
    database = Database(made.ledger_url)
    steps.migrate(database, to="0001")
    with database.write() as connection:
        connection.execute(text("INSERT INTO blob_use VALUES ('0', 'image:1', 'input')"))
    database.close()
    assert backup(made, tmp_path / "kept").step == "0001"
    fresh = settings(tmp_path / "new")
    restore(tmp_path / "kept", fresh)
    again = Ledger(fresh.ledger_url, settings=fresh)
    with again.database.read() as connection:
        assert steps.step_of(connection) == steps.HEAD
        assert connection.scalar(text("SELECT role FROM blob_use")) == "input"
    assert again.submit(new())[1]
    again.close()


def test_nothing_that_is_there_is_overwritten(tmp_path):
    made, ledger, _ = serving(tmp_path / "data", None)
    ledger.submit(new())
    backup(made, tmp_path / "kept")
    with pytest.raises(OutputError) as caught:
        backup(made, tmp_path / "kept")
    assert caught.value.code == "output_exists"
    with pytest.raises(ConflictError) as caught:
        restore(tmp_path / "kept", made)
    assert caught.value.code == "not_empty"
    ledger.close()


def test_what_is_no_backup_is_told(tmp_path):
    with pytest.raises(FormatError) as caught:
        restore(tmp_path, settings(tmp_path / "new"))
    assert caught.value.code == "no_backup"
    (tmp_path / "backup.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(FormatError):
        read_backup(tmp_path)
    assert not (tmp_path / "new").exists()


def test_a_backup_that_was_cut_short_is_not_taken_for_one_and_not_in_the_way(tmp_path, monkeypatch):
    made, ledger, _ = serving(tmp_path / "data", None)
    with monkeypatch.context() as patch:
        patch.delattr(json, "dumps")
        with pytest.raises(AttributeError):
            backup(made, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
    assert backup(made, tmp_path / "kept").rows["job"] == 0
    ledger.close()
