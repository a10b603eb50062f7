# SPDX-License-Identifier: Apache-2.0
from concurrent.futures import ThreadPoolExecutor

import pytest

from clarivox.errors import NotFoundError
from clarivox.server.pacs.inbox import Arrived, Inbox, Kept, SeriesState, inbox_folder
from clarivox.server.pacs.settings import Wait
from tests.ledgers import START, opened


@pytest.fixture
def inbox(database_url, tmp_path, clock):
    ledger = opened(database_url, tmp_path, clock)
    yield Inbox(ledger.database, inbox_folder(tmp_path))
    ledger.close()


def came(inbox, sop, content=b"pixels", series="s1", calling="CT1", file=None):
    name = file or f"{series}-{sop}-{len(list(inbox.folder.iterdir()))}.dcm"
    (inbox.folder / name).write_bytes(content)
    return Arrived("study", series, sop, name, len(content), content.hex().ljust(64, "0"), calling, "CLARIVOX")


def waits(calling):
    return Wait(quiet_s=10, longest_s=60)


def test_an_instance_that_comes_again_makes_no_second_row_and_leaves_no_second_file(inbox):
    first = came(inbox, "a")
    assert inbox.put([first]) == [Kept.NEW]
    assert inbox.put([came(inbox, "a")]) == [Kept.SAME]
    assert inbox.put([first]) == [Kept.SAME]
    [row] = inbox.rows("s1")
    assert (row.file, row.versions, row.calling, row.received) == (first.file, 1, "CT1", START)
    assert [path.name for path in inbox.folder.iterdir()] == [first.file]


def test_of_other_bytes_the_newest_are_kept_and_the_change_is_noted(inbox):
    inbox.put([came(inbox, "a")])
    newest = came(inbox, "a", b"others")
    assert inbox.put([newest]) == [Kept.CHANGED]
    [row] = inbox.rows("s1")
    assert (row.file, row.versions, row.sha256) == (newest.file, 2, newest.sha256)
    assert [path.name for path in inbox.folder.iterdir()] == [newest.file]


def test_the_same_instance_twice_in_one_transaction_is_one_row(inbox):
    both = [came(inbox, "a"), came(inbox, "b"), came(inbox, "a"), came(inbox, "a", b"others")]
    assert inbox.put(both) == [Kept.NEW, Kept.NEW, Kept.SAME, Kept.CHANGED]
    assert {row.sop: row.file for row in inbox.rows("s1")} == {"a": both[3].file, "b": both[1].file}
    assert len(list(inbox.folder.iterdir())) == 2


def test_many_threads_that_store_the_same_leave_one_row_each(inbox):
    some = [came(inbox, f"{n % 10}") for n in range(40)]
    with ThreadPoolExecutor(8) as threads:
        kept = [what for [what] in threads.map(lambda one: inbox.put([one]), some)]
    assert (kept.count(Kept.NEW), kept.count(Kept.SAME)) == (10, 30)
    assert sorted(path.name for path in inbox.folder.iterdir()) == sorted(row.file for row in inbox.rows("s1"))


def test_a_series_is_ready_after_the_quiet_time_or_the_longest_wait(inbox, clock):
    inbox.put([came(inbox, "0")])
    clock.forward(9)
    assert inbox.ready(waits) == []
    inbox.put([came(inbox, "1")])
    clock.forward(9)
    assert inbox.ready(waits) == []
    clock.forward(1)
    assert [one.series for one in inbox.ready(waits)] == ["s1"]
    for number in range(2, 9):
        inbox.put([came(inbox, str(number))])
        clock.forward(5)
    assert clock() - START < 60
    assert inbox.ready(waits) == []
    inbox.put([came(inbox, "9")])
    clock.forward(6)
    assert [one.series for one in inbox.ready(waits)] == ["s1"]


def test_each_caller_has_its_own_times(inbox, clock):
    inbox.put([came(inbox, "a", series="s1", calling="CT1"), came(inbox, "b", series="s2", calling="MR1")])
    clock.forward(3)
    found = inbox.ready(lambda calling: Wait(quiet_s=2 if calling == "MR1" else 5, longest_s=60))
    assert [(one.series, one.calling, one.source) for one in found] == [("s2", "MR1", "dimse")]


def test_a_series_is_not_closed_over_an_instance_that_came_meanwhile(inbox):
    inbox.put([came(inbox, "a")])
    [seen] = inbox.ready()
    inbox.put([came(inbox, "b")])
    assert not inbox.close(seen, SeriesState.ROUTED, rule="ct", jobs=["j"])
    [again] = inbox.ready()
    assert inbox.close(again, SeriesState.ROUTED, rule="ct", jobs=["j"])
    row = inbox.series("s1")
    assert (row.state, row.rule, row.jobs) == (SeriesState.ROUTED, "ct", ("j",))
    assert inbox.ready() == []


def test_a_closed_series_stays_closed_when_the_same_comes_again_and_opens_for_what_is_new(inbox):
    inbox.put([came(inbox, "a")])
    inbox.close(inbox.ready()[0], SeriesState.IGNORED, code="no_rule")
    inbox.put([came(inbox, "a")])
    assert inbox.ready() == []
    inbox.put([came(inbox, "b")])
    assert [one.series for one in inbox.ready()] == ["s1"]


def test_a_series_can_be_opened_by_hand(inbox):
    inbox.put([came(inbox, "a")])
    [seen] = inbox.ready()
    inbox.close(seen, SeriesState.FAILED, code="bad_rules")
    inbox.reopen(seen.id)
    assert [one.id for one in inbox.ready()] == [seen.id]
    with pytest.raises(NotFoundError):
        inbox.reopen("none")


def test_only_what_has_its_row_and_its_file_is_held(inbox):
    some = [came(inbox, f"{n}") for n in range(400)]
    inbox.put(some)
    (inbox.folder / some[7].file).unlink()
    assert inbox.held([f"{n}" for n in range(500)]) == {f"{n}" for n in range(400)} - {"7"}


def test_old_series_are_forgotten_with_their_files_and_open_ones_never(inbox, clock):
    inbox.put([came(inbox, "a", series="s1"), came(inbox, "b", series="s2")])
    [first, second] = inbox.ready()
    inbox.close(first, SeriesState.ROUTED)
    assert inbox.forget(3600) == 0
    clock.forward(3600)
    assert inbox.forget(3600) == 1
    assert inbox.series(first.series) is None
    assert [path.name for path in inbox.folder.iterdir()] == [row.file for row in inbox.rows(second.series)]


def test_files_without_a_row_are_swept_when_they_are_old(inbox):
    inbox.put([came(inbox, "a")])
    (inbox.folder / "left by a crash.dcm").write_bytes(b"half")
    assert inbox.sweep(3600) == 0
    assert inbox.sweep(0) == 1
    assert [path.name for path in inbox.folder.iterdir()] == [row.file for row in inbox.rows("s1")]
