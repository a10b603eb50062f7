# SPDX-License-Identifier: Apache-2.0
import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from clarivox.errors import BusyError
from clarivox.server.pacs import receiver as module
from clarivox.server.pacs.association import MEMORY_BYTES, DataSet
from clarivox.server.pacs.inbox import Arrived, Inbox, Kept, inbox_folder
from clarivox.server.pacs.receiver import Receiver, Sent, Status
from tests.data_sets import EXPECTED, EXPLICIT, encoded, instance
from tests.ledgers import opened

SENT = Sent(EXPECTED.sop_class, EXPECTED.sop, EXPLICIT, "CT1", "CLARIVOX")


@pytest.fixture
def receiver(tmp_path):
    ledger = opened("sqlite:///" + str(tmp_path / "ledger.sqlite"), tmp_path)
    yield Receiver(Inbox(ledger.database, inbox_folder(tmp_path)), watermark_bytes=0)
    ledger.close()


def data(tmp_path, content=None, most_bytes=1 << 30):
    found = DataSet(most_bytes=most_bytes, folder=tmp_path)
    found.write(encoded(instance(), EXPLICIT) if content is None else content)
    return found


def files(receiver):
    return list(receiver.inbox.folder.iterdir())


def test_a_data_set_is_a_file_and_a_row_before_it_is_answered(receiver, tmp_path):
    assert receiver.take(data(tmp_path), SENT) is Status.SUCCESS
    [file] = files(receiver)
    assert file.read_bytes().endswith(encoded(instance(), EXPLICIT))
    assert receiver.take(data(tmp_path), SENT) is Status.SUCCESS
    assert files(receiver) == [file]


@pytest.mark.parametrize(
    ("content", "sent", "status"),
    [
        (None, {"sop": "1.2"}, Status.MISMATCH),
        (None, {"sop_class": "1.2"}, Status.MISMATCH),
        (b"none", {}, Status.CANNOT_UNDERSTAND),
    ],
)
def test_what_is_refused_leaves_nothing(receiver, tmp_path, content, sent, status):
    assert receiver.take(data(tmp_path, content), Sent(**(vars(SENT) | sent))) is status
    assert files(receiver) == []


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_is_answered_so_and_half_a_file_does_not_stay(receiver, tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(module.os, call, full)
        assert receiver.take(data(tmp_path), SENT) is Status.OUT_OF_RESOURCES
    assert files(receiver) == []
    assert receiver.take(data(tmp_path), SENT) is Status.SUCCESS


def test_a_database_that_does_not_answer_fails_all_that_share_the_transaction_and_only_those(receiver, monkeypatch):
    put, reached, go_on = receiver.inbox.put, threading.Event(), threading.Event()
    groups = []

    def slow(arrived, source="dimse"):
        groups.append(len(arrived))
        if len(groups) == 1:
            reached.set()
            assert go_on.wait(60)
        if len(groups) == 2:
            raise BusyError("away", code="database_away")
        return put(arrived, source)

    monkeypatch.setattr(receiver.inbox, "put", slow)
    some = [Arrived("study", "series", f"{n}", f"{n}.dcm", 1, "0" * 64) for n in range(6)]
    with ThreadPoolExecutor(6) as threads:
        first = threads.submit(receiver.note, some[0])
        assert reached.wait(60)
        rest = [threads.submit(receiver.note, one) for one in some[1:5]]
        while len(receiver._waiting) < 4:
            pass
        go_on.set()
        assert first.result() is Kept.NEW
        assert all(isinstance(one.exception(), BusyError) for one in rest)
        assert receiver.note(some[5]) is Kept.NEW
    assert groups == [1, 4, 1]


def test_what_is_too_much_for_memory_goes_to_the_disk_and_comes_back_whole(tmp_path):
    found = DataSet(most_bytes=1 << 30, folder=tmp_path)
    pieces = [bytes([n % 251]) * 500_000 for n in range(20)]
    for piece in pieces:
        found.write(piece)
    assert found.spilled is not None
    assert found.size == 10_000_000 > MEMORY_BYTES
    found.spilled.seek(0)
    assert found.spilled.read() == b"".join(pieces)
    assert list(tmp_path.iterdir()) == [], "the file has a name"
    found.spilled.close()


def test_what_is_too_large_is_let_go_by_and_refused(receiver, tmp_path):
    found = data(tmp_path, most_bytes=100)
    assert found.refused == "too_large"
    assert found.getvalue() == b""
    assert receiver.take(found, SENT) is Status.OUT_OF_RESOURCES


def test_a_disk_that_fills_while_a_large_one_comes_is_answered_so(receiver, tmp_path, monkeypatch):
    found = DataSet(most_bytes=1 << 30, folder=tmp_path / "gone")
    found.write(bytes(MEMORY_BYTES + 1))
    assert found.refused == "disk_full"
    assert receiver.take(found, SENT) is Status.OUT_OF_RESOURCES
