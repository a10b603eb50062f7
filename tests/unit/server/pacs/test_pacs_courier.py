# SPDX-License-Identifier: Apache-2.0
"""From the inbox to jobs and on to destinations, in one process, step by step; a kill is a step that is done again."""

import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian

from clarivox import phantoms
from clarivox.errors import BusyError, ConflictError, NotFoundError
from clarivox.io.dicom_new import Kind, new_series, save_series
from clarivox.server.dicom_store import key_of
from clarivox.server.job import Job, Outcome, State
from clarivox.server.ledger import Ledger
from clarivox.server.pacs.deliver import Result, Sent
from clarivox.server.pacs.facts import instance_of
from clarivox.server.pacs.inbox import SeriesState
from clarivox.server.pacs.outbox import MADE, TRIES, DeliveryState
from clarivox.server.pacs.standing import pacs_standing, requeue
from tests.couriers import RULES, SLICES, Desk


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("ct")
    save_series(new_series(phantoms.ct(size=32, slices=SLICES).degraded, Kind.CT), folder)
    return sorted(folder.iterdir())


class Sender:
    """A destination that takes what the test lets it take."""

    def __init__(self, name: str = "archive") -> None:
        self.name = name
        self.has: list[str] = []
        self.refuses: dict[str, int] = {}
        self.away = False
        self.dies_after: int | None = None
        self.lacks: list[str] = []
        self.asked = 0

    def send(self, results: Sequence[Result], accepted: Any) -> Sent:
        if self.away:
            raise BusyError("away", code="pacs_away")
        good = [one.sop for one in results if one.sop not in self.refuses]
        for number, sop in enumerate(good):
            self.has.append(sop)
            if self.dies_after == number:
                raise KeyboardInterrupt
            accepted([sop])
        return Sent(tuple(good), {one.sop: self.refuses[one.sop] for one in results if one.sop in self.refuses})

    def uncommitted(self, results: Sequence[Result], stopping: threading.Event) -> list[str]:
        self.asked += 1
        lacking, self.lacks = self.lacks, []
        return lacking


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_series_is_whole_by_the_times_of_who_sends_it(desk: Desk, slices: list[Path]) -> None:
    series = desk.arrive(slices, "CT1")
    last = desk.inbox.ready()[0].last
    wait = desk.courier.node.wait_for
    assert desk.inbox.ready(wait, last + 9) == []
    assert [one.series for one in desk.inbox.ready(wait, last + 10)] == [series]
    desk.inbox.close(desk.inbox.ready()[0], SeriesState.IGNORED)
    desk.inbox.forget(0, last + 1)
    desk.arrive(slices, "SLOW")
    last = desk.inbox.ready()[0].last
    assert desk.inbox.ready(wait, last + 49) == [] and len(desk.inbox.ready(wait, last + 50)) == 1


def test_a_series_that_never_rests_is_waited_for_no_longer_than_the_longest_time(
    desk: Desk, slices: list[Path]
) -> None:
    desk.arrive(slices[:2], "SLOW")
    first = desk.inbox.ready()[0].first
    desk.arrive(slices[2:], "SLOW")
    found = desk.inbox.ready()[0]
    assert found.first == first
    assert desk.inbox.ready(desk.courier.node.wait_for, found.last + 49) == []
    assert len(desk.inbox.ready(desk.courier.node.wait_for, first + 500)) == 1


def test_a_series_becomes_one_job_and_its_deliveries(desk: Desk, slices: list[Path]) -> None:
    series = desk.arrive(slices)
    assert desk.route() == [SeriesState.ROUTED]
    row = desk.inbox.series(series)
    assert row is not None and row.rule == "ct" and len(row.jobs) == 1
    job = desk.ledger.get(row.jobs[0])
    assert job.bundle == "identity" and job.owner == "pacs" and job.tags == {"rule": "ct", "from": "dimse"}
    assert {one.destination for one in desk.outbox.of_job(job.id)} == {"archive", "second"}
    [study] = {one.study for one in desk.inbox.rows(key_of(str(dcmread(slices[0]).SeriesInstanceUID)))}
    assert study == key_of(str(dcmread(slices[0]).StudyInstanceUID))
    assert [one.id for one in desk.ledger.jobs(study=study)[0]] == [job.id], "it is listed with its study from now on"
    with zipfile.ZipFile(desk.blobs.path(job.inputs[0].sha256)) as archive:
        packed = {archive.read(name) for name in archive.namelist()}
    assert packed == {path.read_bytes() for path in slices}


def test_routed_twice_as_after_a_kill_makes_one_job(
    desk: Desk, slices: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    series = desk.arrive(slices)
    for step in ("close", "add"):
        killed = desk.inbox if step == "close" else desk.outbox
        with monkeypatch.context() as patch:
            patch.setattr(type(killed), step, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                desk.route()
    assert desk.route() == [SeriesState.ROUTED]
    row = desk.inbox.series(series)
    assert row is not None and len(row.jobs) == 1 and len(desk.ledger.jobs()[0]) == 1
    assert len(desk.outbox.of_job(row.jobs[0])) == 2


def test_late_instances_make_a_new_job_with_all(desk: Desk, slices: list[Path]) -> None:
    series = desk.arrive(slices[:2])
    desk.route()
    desk.arrive(slices[:2])
    assert desk.route() == []  # the same again is nothing new
    desk.arrive(slices[2:])
    assert desk.route() == [SeriesState.ROUTED]
    row = desk.inbox.series(series)
    assert row is not None and len(row.jobs) == 2
    late = desk.ledger.get(row.jobs[1])
    assert late.tags["late"] == "instances"
    with zipfile.ZipFile(desk.blobs.path(late.inputs[0].sha256)) as archive:
        assert len(archive.namelist()) == SLICES


def test_the_same_encoded_otherwise_as_a_pacs_sends_it_back_is_no_other_work(
    desk: Desk, slices: list[Path], tmp_path: Path
) -> None:
    series = desk.arrive(slices)
    desk.route()
    (tmp_path / "back").mkdir()
    for path in slices:
        found = dcmread(path)
        found.file_meta.ImplementationVersionName = "ANOTHER"
        found.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        found.save_as(tmp_path / "back" / path.name)
    back = sorted((tmp_path / "back").iterdir())
    assert back[0].read_bytes() != slices[0].read_bytes()
    desk.arrive(back)
    assert desk.route() == [SeriesState.ROUTED]
    row = desk.inbox.series(series)
    assert row is not None and len(row.jobs) == 1 and len(desk.ledger.jobs()[0]) == 1
    found = dcmread(slices[0])
    found.PixelData = bytes(len(found.PixelData))
    found.save_as(tmp_path / "back" / slices[0].name)
    desk.arrive(back[:1])
    assert desk.route() == [SeriesState.ROUTED] and len(desk.ledger.jobs()[0]) == 2


def test_an_instance_that_comes_while_its_series_is_routed_is_not_lost(
    desk: Desk, slices: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    series = desk.arrive(slices[:2])
    add = desk.outbox.add

    def meanwhile(self: Any, *more: Any) -> None:
        add(*more)
        monkeypatch.undo()
        desk.arrive(slices[2:])

    monkeypatch.setattr(type(desk.outbox), "add", meanwhile)
    assert desk.route() == [SeriesState.OPEN]
    assert desk.route() == [SeriesState.ROUTED]
    assert len(desk.ledger.jobs()[0]) == 2
    row = desk.inbox.series(series)
    with zipfile.ZipFile(desk.blobs.path(desk.ledger.get(row.jobs[-1]).inputs[0].sha256)) as archive:  # type: ignore[union-attr]
        assert len(archive.namelist()) == SLICES


def test_what_no_rule_fits_and_what_cannot_be_read_is_said(desk: Desk, slices: list[Path], tmp_path: Path) -> None:
    save_series(new_series(phantoms.mr(size=32, slices=2).degraded, Kind.MR), tmp_path / "mr")
    series = desk.arrive(sorted((tmp_path / "mr").iterdir()))
    assert desk.route() == [SeriesState.IGNORED]
    assert desk.inbox.series(series).code == "no_rule"  # type: ignore[union-attr]
    series = desk.arrive(slices)
    for one in desk.inbox.rows(series):
        desk.inbox.path(one).write_bytes(b"damaged")
    assert desk.route() == [SeriesState.FAILED]
    assert desk.inbox.series(series).code == "not_dicom"  # type: ignore[union-attr]


def test_a_full_queue_keeps_the_series_open(desk: Desk, slices: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    desk.arrive(slices)

    def full(*_: Any, **__: Any) -> None:
        raise BusyError("full", code="queue_full")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "submit", full)
        with pytest.raises(BusyError):
            desk.route()
    assert desk.route() == [SeriesState.ROUTED]


def test_what_was_made_here_is_not_enhanced_again(desk: Desk, slices: list[Path]) -> None:
    desk.outbox.note(MADE, [key_of(instance_of(slices[0]).sop)])
    series = desk.arrive(slices)
    assert desk.route() == [SeriesState.IGNORED]
    assert desk.inbox.series(series).code == "own_result"  # type: ignore[union-attr]
    assert desk.ledger.jobs()[0] == []


def routed(desk: Desk, slices: list[Path]) -> Job:
    desk.arrive(slices)
    desk.route()
    return desk.work()


def test_a_result_is_delivered_once_to_each_destination(desk: Desk, slices: list[Path]) -> None:
    job = routed(desk, slices)
    first, second = Sender("archive"), Sender("second")
    assert desk.postman(first).round() == 1 and desk.postman(second).round() == 1
    assert len(first.has) == len(set(first.has)) == SLICES and sorted(second.has) == sorted(first.has)
    assert {one.state for one in desk.outbox.of_job(job.id)} == {DeliveryState.DONE}
    assert {one.instances for one in desk.outbox.of_job(job.id)} == {SLICES}
    assert desk.postman(first).round() == 0
    assert desk.outbox.counts() == {("archive", "done"): 1, ("second", "done"): 1}


def test_nothing_is_due_before_its_job_has_ended(desk: Desk, slices: list[Path]) -> None:
    desk.arrive(slices)
    desk.route()
    assert desk.outbox.due("archive") == []
    desk.work()
    assert len(desk.outbox.due("archive")) == 1


def test_killed_in_the_middle_it_sends_the_rest(desk: Desk, slices: list[Path]) -> None:
    routed(desk, slices)
    sender = Sender()
    sender.dies_after = 2  # sent, and not noted
    with pytest.raises(KeyboardInterrupt):
        desk.postman(sender).round()
    sender.dies_after = None
    desk.postman(sender).round()
    assert len(set(sender.has)) == SLICES and len(sender.has) == SLICES + 1
    assert desk.outbox.listed(DeliveryState.DONE)[0].instances == SLICES


def test_only_what_was_refused_is_sent_again(desk: Desk, slices: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clarivox.server.pacs.outbox.FIRST_S", 0.0)
    routed(desk, slices)
    sender = Sender()
    wrong = instance_of(slices[1]).sop
    sender.refuses = {wrong: 0xA700}
    desk.postman(sender).round()
    [found] = [one for one in desk.outbox.listed(DeliveryState.WAITING) if one.destination == "archive"]
    assert (found.tries, found.code) == (1, "refused_a700")
    sender.refuses = {}
    desk.postman(sender).round()
    assert sender.has.count(wrong) == 1 and len(sender.has) == SLICES


def test_a_destination_that_is_away_is_tried_later_and_at_last_no_more(
    desk: Desk, slices: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = routed(desk, slices)
    sender = Sender()
    sender.away = True
    postman = desk.postman(sender)
    waits = []
    for _ in range(TRIES):
        [found] = [one for one in desk.outbox.of_job(job.id) if one.destination == "archive"]
        state = postman.deliver(found)
        [after] = [one for one in desk.outbox.of_job(job.id) if one.destination == "archive"]
        waits.append(round(after.not_before - after.at))
    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 1800, 1800, 0]
    assert state is DeliveryState.DEAD and after.code == "pacs_away" and postman.round() == 0
    sender.away = False
    requeue(desk.ledger, desk.blobs, desk.outbox, after.id)
    assert postman.round() == 1 and len(sender.has) == SLICES
    with pytest.raises(ConflictError):
        requeue(desk.ledger, desk.blobs, desk.outbox, after.id)
    with pytest.raises(NotFoundError):
        desk.outbox.requeue("00000000-0000-7000-8000-000000000000")


def test_what_is_not_promised_is_sent_again(desk: Desk, slices: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clarivox.server.pacs.outbox.FIRST_S", 0.0)
    routed(desk, slices)
    sender = Sender()
    sender.lacks = [instance_of(slices[0]).sop]
    desk.postman(sender).round()
    assert {one.code for one in desk.outbox.listed(DeliveryState.WAITING)} == {None, "not_committed"}
    desk.postman(sender).round()
    assert sender.asked == 2 and len(sender.has) == SLICES + 1
    assert len(desk.outbox.listed(DeliveryState.DONE)) == 1


def test_a_job_that_failed_leaves_dead_letters_and_is_run_again_for_all_of_them(desk: Desk, slices: list[Path]) -> None:
    desk.arrive(slices)
    desk.route()
    job = desk.ledger.claim("w")
    assert job is not None
    desk.ledger.finish(job.id, job.attempt, Outcome(State.FAILED, error={"code": "bad_geometry", "detail": ""}))
    desk.postman(Sender("archive")).round()
    desk.postman(Sender("second")).round()
    shown = pacs_standing(desk.ledger.database, desk.courier.settings.data_dir)
    assert shown.deliveries == {"dead": 2} and {one.reason for one in shown.dead} == {"the job ended without a result"}
    dead = desk.outbox.listed(DeliveryState.DEAD)
    assert {one.code for one in dead} == {"bad_geometry"} and len(dead) == 2
    requeue(desk.ledger, desk.blobs, desk.outbox, dead[0].id)
    again = desk.work()
    assert again.parent_id == job.id and len(desk.outbox.of_job(again.id)) == 2
    assert desk.postman(Sender("archive")).round() == 1 and desk.postman(Sender("second")).round() == 1


def test_the_status_names_what_is_wrong(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES.replace("bundle: identity", "bundle: nonsense"))
    desk.courier.round()
    said = pacs_standing(desk.ledger.database, tmp_path / "data")
    assert said.rules is None and "line 3" in said.rules_error and "nonsense" in said.rules_error
    (tmp_path / "rules.yaml").write_text(RULES)
    desk.courier.round()
    said = pacs_standing(desk.ledger.database, tmp_path / "data")
    assert said.rules == 2 and said.rules_error == "" and said.silent_s is not None and said.dead == []
