# SPDX-License-Identifier: Apache-2.0
"""The judge of the chaos runs finds each kind of loss: planted one by one in a folder that was in order."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clarivox.server.blobs import Blobs
from clarivox.server.job import FileRef, Job, NewJob, Outcome, State
from clarivox.server.ledger import Ledger
from clarivox.server.settings import Settings
from tests.chaos import verdict
from tests.chaos.load import Sent, image
from tests.chaos.verdict import Verdict, judge, overdue
from tests.served import Served, until


def folder_in_order(data: Path) -> list[Sent]:
    """A ledger with one job that succeeded, and what its client saw."""
    settings = Settings(data_dir=data, disk_watermark_bytes=0)
    blobs, ledger = Blobs(data, settings), Ledger(settings.ledger_url, settings=settings)
    ledger.open()
    with blobs.writer() as writer:
        writer.write(image(1))
        given = FileRef("input", *writer.commit(), "application/gzip", "input.nii.gz")
    with blobs.writer() as writer:
        writer.write(image(2))
        made = FileRef("result", *writer.commit(), "application/gzip", "result.nii.gz")
    job, _ = ledger.submit(NewJob(owner="local", inputs=(given,), bundle="identity", idem_key="chaos-1"))
    running = ledger.claim("worker")
    assert isinstance(running, Job)
    assert ledger.finish(job.id, running.attempt, Outcome(State.SUCCEEDED, results=(made,)))
    ledger.close()
    return [Sent(1, "chaos-1", job.id, time.time(), state="succeeded", seen_ended=time.time())]


def execute(data: Path, statement: str) -> None:
    with sqlite3.connect(data / "ledger.sqlite") as connection:
        connection.execute(statement)
    connection.close()


def test_nothing_is_found_where_nothing_is_wrong(tmp_path: Path) -> None:
    sent = folder_in_order(tmp_path)
    assert judge(Served(tmp_path), sent, Verdict()).found == {}


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (lambda data: execute(data, "DELETE FROM job"), "lost"),
        (lambda data: execute(data, "UPDATE job SET state = 'failed', error = '{}'"), "published twice"),
        (lambda data: execute(data, "UPDATE job SET state = 'running'"), "stuck"),
        (
            lambda data: execute(
                data,
                "INSERT INTO job_event (job_id, attempt, at, type, data) "
                "SELECT job_id, attempt, at, type, data FROM job_event WHERE type = 'succeeded'",
            ),
            "published twice",
        ),
        (lambda data: next((data / "blobs").glob("*/*")).write_bytes(b"other"), "wrong digest"),
        (lambda data: next((data / "blobs").glob("*/*")).unlink(), "wrong digest"),
        (lambda data: (data / "tmp" / "blob-1").write_bytes(b"left"), "left-over files"),
    ],
)
def test_each_planted_fault_is_found(tmp_path: Path, plant: Callable[[Path], object], kind: str) -> None:
    sent = folder_in_order(tmp_path)
    plant(tmp_path)
    assert judge(Served(tmp_path), sent, Verdict()).count(kind) >= 1


def test_a_lease_that_ended_long_ago_is_found(tmp_path: Path) -> None:
    folder_in_order(tmp_path)
    execute(tmp_path, f"UPDATE job SET state = 'running', lease_until = {time.time() - 60}")
    assert overdue(Served(tmp_path).ledger_url, alive_since=0.0)
    assert not overdue(Served(tmp_path).ledger_url, alive_since=time.time())


def test_a_process_that_outlives_its_server_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "LEFT_S", 0.0)
    sent, server = folder_in_order(tmp_path), Served(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={"SERVED": server.mark}) as one:
        assert until(lambda: judge(server, sent, Verdict()).count("left-over processes")) == 1
        one.communicate(b"\n")
    assert judge(server, sent, Verdict()).found == {}
