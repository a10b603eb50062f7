# SPDX-License-Identifier: Apache-2.0
"""Work items on both databases: one performer has an item, and no event is missed or told twice."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from clarivox.errors import BusyError, ConflictError, NotFoundError
from clarivox.server.job import NewJob, State
from clarivox.server.seal import Seal
from clarivox.server.subscriptions import Cursor, Subscriptions
from clarivox.server.workitem_words import Step, element, id_of, uid_of
from clarivox.server.worklist import Worklist
from tests.ledgers import new

UID = "1.2.3.4"
SAID = {"00741204": element("LO", "read")}


@pytest.fixture
def worklist(ledger, tmp_path):
    return Worklist(ledger, Seal(tmp_path))


def test_of_many_performers_one_gets_the_item(worklist):
    worklist.create("ward", UID, SAID)

    def claim(number):
        try:
            return worklist.change(UID, "ward", Step.IN_PROGRESS, f"1.2.{number}")
        except ConflictError as error:
            return error.code

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(claim, range(8)))
    assert sorted(answers) == ["", *["workitem_state"] * 7]
    winner = answers.index("")
    with pytest.raises(ConflictError):
        worklist.change(UID, "ward", Step.CANCELED, f"1.2.{(winner + 1) % 8}")
    worklist.change(UID, "ward", Step.CANCELED, f"1.2.{winner}")
    assert worklist.find(UID, None).state is Step.CANCELED


def test_of_many_that_create_one_uid_one_does_and_makes_one_job(worklist, ledger):
    def create(_number):
        try:
            return worklist.create("ward", UID, SAID, new()).uid
        except ConflictError as error:
            return error.code

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(create, range(8)))
    assert sorted(answers) == [UID, *["workitem_exists"] * 7]
    assert ledger.counts()[State.QUEUED] == 1
    assert [item.uid for item in worklist.items("ward")] == [UID]


def test_an_item_whose_job_is_refused_is_not_kept(worklist, make, tmp_path):
    full = Worklist(make(queue_jobs=1), Seal(tmp_path))
    full.ledger.submit(new())
    with pytest.raises(BusyError):
        full.create("ward", UID, SAID, new())
    with pytest.raises(NotFoundError):
        full.find(UID, None)


def test_an_item_is_its_owners_and_an_admins(worklist, ledger):
    job, _ = ledger.submit(new())
    worklist.create("ward", UID, SAID)
    assert [item.uid for item in worklist.items("ward")] == [UID, uid_of(job.id)]
    assert list(worklist.items("other")) == []
    for uid in (UID, uid_of(job.id), "2.25.7", "2.25.99999999999999999999999999999999999999999999", "nonsense"):
        with pytest.raises(NotFoundError):
            worklist.find(uid, "other")
    assert id_of(worklist.find(uid_of(job.id), None).uid) == job.id


def test_pages_of_jobs_and_items_come_in_one_order(worklist, ledger, monkeypatch):
    monkeypatch.setattr("clarivox.server.worklist.PAGE", 2)
    made = []
    for number in range(5):
        made.append(uid_of(ledger.submit(new())[0].id))
        worklist.create("ward", f"1.2.{number}", SAID, new() if number % 2 else None)
        made.append(f"1.2.{number}")
    assert [item.uid for item in worklist.items(None)] == made[::-1]
    ledger.claim("w")
    assert [item.state for item in worklist.items(None)].count(Step.IN_PROGRESS) == 1


def test_the_histories_are_read_on_from_where_they_were(worklist, ledger):
    subscriptions = Subscriptions(worklist)
    start = subscriptions.now()
    assert start == Cursor(0, 0)
    job, _ = ledger.submit(NewJob(owner="ward", inputs=(), bundle="identity"))
    worklist.create("ward", UID, SAID)
    worklist.change(UID, None, Step.IN_PROGRESS, "1.2.9")
    news, end = subscriptions.news(start)
    assert [(history, event.type) for history, _, event, _ in news] == [
        ("job", "created"),
        ("item", "state"),
        ("item", "state"),
    ]
    assert news[0][2].job_id == job.id
    assert subscriptions.news(end) == ([], end) and subscriptions.now() == end
