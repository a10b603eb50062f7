# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from sqlalchemy import select, text

from clarivox.errors import NotFoundError, OptionError, ServiceError
from clarivox.server.datastore import Datastore
from clarivox.server.job import FileRef, NewJob, Outcome, State
from clarivox.server.ledger import Ledger
from clarivox.server.seal import KEY_FILE, Seal
from clarivox.server.sessions import LONGEST_S, Sessions
from clarivox.server.tables import image, label
from tests.ledgers import START, Clock

SENTINEL = "DOE^JOHN 1932"
FILE = FileRef("input", "a" * 64, 10, "application/gzip", "image.nii.gz")
OTHER = FileRef("input", "b" * 64, 11, "application/octet-stream", "image.nrrd")
RESULT = FileRef("result", "c" * 64, 12, "application/gzip", "result.nii.gz")


@pytest.fixture
def store(ledger: Ledger, tmp_path: Path) -> Datastore:
    """On both databases: conftest.py makes the ledger."""
    return Datastore(ledger.database, Seal(tmp_path))


def uses(ledger: Ledger) -> set[tuple[str, str]]:
    with ledger.database.read() as connection:
        return {
            (sha[0], user.split(":")[0])
            for sha, user in connection.execute(text('SELECT sha256, "user" FROM blob_use'))
        }


def succeeded(ledger: Ledger) -> str:
    ledger.submit(NewJob("me", (FILE,), bundle="identity"))
    job = ledger.claim("w")
    assert job is not None
    assert ledger.finish(job.id, job.attempt, Outcome(State.SUCCEEDED, (RESULT,)))
    return job.id


def test_an_image_is_found_by_its_name_and_by_our_own_id(store: Datastore) -> None:
    image = store.put("1: CT Thorax", FILE, {"client_id": "slicer"})
    assert store.find("1: CT Thorax") == store.find(image.key) == image
    assert (image.extension, image.info, image.enhanced) == (".nii.gz", {"client_id": "slicer"}, False)


def test_the_same_name_again_replaces_the_file_and_keeps_labels(store: Datastore, ledger: Ledger) -> None:
    store.put("case", FILE, {"a": 1})
    store.put_label("case", "final", OTHER, {"label_info": []})
    again = store.put("case", OTHER, {"b": 2})
    assert (again.file, again.info) == (OTHER, {"a": 1, "b": 2})
    assert store.label("case", "final").file == OTHER
    assert uses(ledger) == {("b", "image"), ("b", "label")}


@pytest.mark.parametrize("name", ["", "  ", "x" * 256, "a\nb", "\ud800"])
def test_what_cannot_be_a_name_is_refused(store: Datastore, name: str) -> None:
    with pytest.raises(OptionError, match="name of an image"):
        store.put(name, FILE)


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a/b", "..", SENTINEL])
def test_a_name_touches_no_file(store: Datastore, tmp_path: Path, name: str) -> None:
    before = sorted(p.name for p in tmp_path.iterdir())
    assert store.put(name, FILE).name == name
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted({*before, KEY_FILE})


def test_a_name_does_not_stand_in_the_database(store: Datastore, ledger: Ledger, tmp_path: Path) -> None:
    store.put(SENTINEL, FILE, {"PatientName": SENTINEL})
    store.put_label(SENTINEL, "final", FILE, {"annotator": SENTINEL})
    with ledger.database.read() as connection:
        rows = [*connection.execute(select(image)), *connection.execute(select(label))]
    assert len(rows) == 2
    assert SENTINEL not in str(rows)


def test_another_key_says_so_and_does_not_guess(store: Datastore, ledger: Ledger, tmp_path: Path) -> None:
    key = store.put("case", FILE).key
    (tmp_path / KEY_FILE).write_bytes(b"x" * 32)
    with pytest.raises(ServiceError, match="another key"):
        Datastore(ledger.database, Seal(tmp_path)).get(key)


def test_what_is_removed_is_gone_with_its_labels_and_uses(store: Datastore, ledger: Ledger) -> None:
    store.put("case", FILE)
    store.put_label("case", "final", OTHER, {})
    store.remove("case")
    assert (store.images(), store.labels(), uses(ledger)) == ([], {}, set())
    for gone in (store.find, store.remove):
        with pytest.raises(NotFoundError, match="no such image"):
            gone("case")


def test_labels_are_listed_counted_and_removed_by_tag(store: Datastore) -> None:
    image = store.put("case", FILE)
    store.put("other", FILE)
    for tag in ("final", "original", "version_1"):
        store.put_label("case", tag, OTHER, {"tag": tag})
    assert [one.tag for one in store.labels()[image.key]] == ["final", "original", "version_1"]
    assert store.counts()["completed"] == 1
    assert store.counts()["label_tags"] == {"final": 1, "original": 1, "version_1": 1}
    store.remove_label("case", "final")
    with pytest.raises(NotFoundError):
        store.label("case", "final")
    assert store.counts()["completed"] == 0


@pytest.mark.parametrize("tag", ["", "../x", "a b", "x" * 65, "-x"])
def test_what_cannot_be_a_tag_is_refused(store: Datastore, tag: str) -> None:
    store.put("case", FILE)
    with pytest.raises(OptionError, match="tag"):
        store.put_label("case", tag, FILE, {})


def test_a_result_appears_when_its_job_has_ended_well(store: Datastore, ledger: Ledger) -> None:
    parent = store.put("case", FILE)
    job = ledger.get(succeeded(ledger))
    store.expect(job, parent.key, "case__identity")
    store.expect(job, parent.key, "case__identity")
    assert len(store.images()) == 1
    store.settle()
    store.settle()
    found = store.find("case__identity")
    assert (found.enhanced, found.parent, found.file, found.bundle) == (True, parent.key, RESULT, "identity")
    assert store.result_of(job.id) == found
    assert [one.name for one in store.images(enhanced=False)] == ["case"]
    assert ("c", "image") in {(sha[0], user) for sha, user in uses(ledger)}


def test_a_second_result_of_the_same_name_gets_a_number(store: Datastore, ledger: Ledger) -> None:
    for _ in range(3):
        store.expect(ledger.get(succeeded(ledger)), None, "case__identity")
    store.settle()
    assert [one.name for one in store.images()] == ["case__identity", "case__identity__2", "case__identity__3"]


def test_the_place_of_a_job_that_failed_is_given_up(store: Datastore, ledger: Ledger) -> None:
    job, _ = ledger.submit(NewJob("me", (FILE,)))
    store.expect(job, None, "case__identity")
    store.settle()
    ledger.cancel(job.id)
    store.settle()
    assert store.images() == []
    store.put("case__identity", FILE)


def test_a_client_may_use_the_name_that_waits_for_a_result(store: Datastore, ledger: Ledger) -> None:
    store.expect(ledger.get(succeeded(ledger)), None, "case__identity")
    store.put("case__identity", OTHER)
    store.settle()
    assert (store.find("case__identity").file, store.find("case__identity__2").file) == (OTHER, RESULT)


def test_what_is_told_of_an_image_is_added(store: Datastore) -> None:
    store.put("case", FILE, {"a": 1})
    assert store.tell("case", {"strategy": {"random": {"ts": 5}}}).info == {"a": 1, "strategy": {"random": {"ts": 5}}}


def test_a_session_ends_when_nobody_asks_for_it(ledger: Ledger, clock: Clock) -> None:
    sessions = Sessions(ledger.database)
    short, long = sessions.add("me", [FILE], 60), sessions.add("me", [FILE, OTHER], 10 * LONGEST_S)
    assert (short.expiry_s, long.expiry_s, sessions.add("me", [FILE]).expiry_s) == (60, LONGEST_S, LONGEST_S)
    clock.now += 50
    sessions.get(short.id, "me", touch=True)
    clock.now += 50
    assert sessions.get(short.id, "me").accessed == START + 50
    clock.now += 61
    with pytest.raises(NotFoundError, match="no such session"):
        sessions.get(short.id, "me")
    clock.now += LONGEST_S
    sessions.sweep()
    assert uses(ledger) == set()


def test_a_session_is_its_owners_alone(ledger: Ledger) -> None:
    sessions = Sessions(ledger.database)
    mine = sessions.add("me", [FILE])
    with pytest.raises(NotFoundError):
        sessions.get(mine.id, "you")
    with pytest.raises(NotFoundError):
        sessions.remove(mine.id, "you")
    assert sessions.remove(mine.id, "me") == mine
    with pytest.raises(NotFoundError):
        sessions.get(mine.id, "me")


def test_a_session_tells_clients_no_path(ledger: Ledger) -> None:
    about = Sessions(ledger.database).add("me", [FILE]).as_json()
    assert about | {"name": ""} == {
        "name": "",
        "path": "",
        "image": "image.nii.gz",
        "meta": {},
        "create_ts": int(START),
        "last_access_ts": int(START),
        "expiry": LONGEST_S,
    }
