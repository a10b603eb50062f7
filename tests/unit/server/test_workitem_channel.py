# SPDX-License-Identifier: Apache-2.0
"""Subscriptions to work items, and the reports that come by the channel."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from clarivox.server.auth import Scope
from clarivox.server.channels import HELD, Channel, _put
from clarivox.server.job import NewJob, Outcome, State
from clarivox.server.keys import Keys
from clarivox.server.workitem_words import FILTERED, GLOBAL, uid_of
from tests.dicom_jobs import Running, running

WAIT_S = 60.0
UID, PERFORMER = "1.2.840.99.7", "1.2.840.99.8"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as server:
        yield server


def send(served: Running, verb: str, path: str, body: Any = None, key: str = "") -> requests.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return requests.request(verb, f"{served.url}/dicom-web{path}", json=body, headers=headers, timeout=20)


def subscribe(served: Running, uid: str, title: str = "WATCHER", query: str = "", key: str = "") -> requests.Response:
    answer = send(served, "POST", f"/workitems/{uid}/subscribers/{title}{query}", key=key)
    assert answer.status_code == 201, answer.text
    return answer


@contextmanager
def channel(served: Running, title: str = "WATCHER", key: str = "") -> Iterator[ClientConnection]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    address = served.url.replace("http", "ws") + f"/dicom-web/subscribers/{title}"
    with connect(address, additional_headers=headers, open_timeout=WAIT_S) as socket:
        yield socket


def heard(socket: ClientConnection) -> tuple[str, int, str]:
    """Of the next report: whose, of what kind, and the state or the stage that it tells."""
    found = json.loads(socket.recv(timeout=WAIT_S))
    assert found["00000002"]["Value"] == ["1.2.840.10008.5.1.4.34.6.4"]
    told = found.get("00741000")
    if told is None and "00741002" in found:
        told = found["00741002"]["Value"][0].get("00741006")
    if told is None:
        told = found.get("00741238")
    return found["00001000"]["Value"][0], found["00001002"]["Value"][0], (told or {"Value": [""]})["Value"][0]


def asked(served: Running, owner: str = "local") -> str:
    return served.parts.ledger.submit(NewJob(owner=owner, inputs=(), bundle="identity"))[0].id


def test_a_job_is_followed_from_the_queue_to_its_end(served: Running) -> None:
    ledger = served.parts.ledger
    with channel(served) as socket:
        answer = subscribe(served, GLOBAL)
        assert answer.headers["Content-Location"].endswith("/dicom-web/subscribers/WATCHER")
        assert answer.headers["Content-Location"].startswith("ws://127.0.0.1:")
        job = asked(served)
        uid = uid_of(job)
        assert heard(socket) == (uid, 1, "SCHEDULED")
        ledger.claim("w")
        ledger.beat(job, 1, stage="enhance", done=0.5)
        assert [heard(socket), heard(socket)] == [(uid, 1, "IN PROGRESS"), (uid, 3, "enhance")]
        ledger.finish(job, 1, Outcome(State.SUCCEEDED))
        assert heard(socket) == (uid, 1, "COMPLETED")
        second = asked(served)
        ledger.cancel(second)
        states = [heard(socket) for _ in range(3)]
        assert states == [(uid_of(second), 1, one) for one in ("SCHEDULED", "IN PROGRESS", "CANCELED")]


def test_an_item_of_another_performer_is_followed_and_the_wish_to_cancel_it_is_told(served: Running) -> None:
    with channel(served) as socket:
        send(served, "POST", f"/workitems?workitem={UID}", {"00741204": {"vr": "LO", "Value": ["read"]}})
        send(served, "POST", "/workitems?workitem=1.2.3", {"00741204": {"vr": "LO", "Value": ["read"]}})
        subscribe(served, UID)
        assert heard(socket) == (UID, 1, "SCHEDULED")  # as it is when the subscription begins
        change = {"00741000": {"vr": "CS", "Value": ["IN PROGRESS"]}, "00081195": {"vr": "UI", "Value": [PERFORMER]}}
        assert send(served, "PUT", "/workitems/1.2.3/state", change).status_code == 200
        assert send(served, "PUT", f"/workitems/{UID}/state", change).status_code == 200
        assert heard(socket) == (UID, 1, "IN PROGRESS")
        step = {"00741006": {"vr": "ST", "Value": ["half way"]}, "00741004": {"vr": "DS", "Value": [50]}}
        said = {"00741002": {"vr": "SQ", "Value": [step]}}
        assert send(served, "POST", f"/workitems/{UID}?transaction-uid={PERFORMER}", said).status_code == 200
        assert heard(socket) == (UID, 3, "half way")
        wish = {"00741238": {"vr": "LT", "Value": ["wrong patient"]}}
        assert send(served, "POST", f"/workitems/{UID}/cancelrequest", wish).status_code == 202
        assert heard(socket) == (UID, 2, "wrong patient")


def test_only_what_is_subscribed_to_is_heard(served: Running) -> None:
    before = asked(served)
    with channel(served) as socket, channel(served, "FILTER") as filtered, channel(served, "NOBODY") as nobody:
        subscribe(served, GLOBAL)
        subscribe(served, FILTERED, "FILTER", "?filter=ScheduledProcedureStepPriority=HIGH")
        served.parts.ledger.cancel(before)
        assert [heard(socket)[2] for _ in range(2)] == ["IN PROGRESS", "CANCELED"]
        high = served.parts.ledger.submit(NewJob(owner="local", inputs=(), bundle="identity", priority=7))[0].id
        assert heard(socket) == heard(filtered) == (uid_of(high), 1, "SCHEDULED")
        assert send(served, "DELETE", f"/workitems/{uid_of(high)}/subscribers/WATCHER").status_code == 200
        assert send(served, "POST", f"/workitems/{GLOBAL}/subscribers/WATCHER/suspend").status_code == 200
        served.parts.ledger.cancel(high)
        assert [heard(filtered)[2] for _ in range(2)] == ["IN PROGRESS", "CANCELED"]
        asked(served)  # made after the worklist was suspended
        own = asked(served)
        subscribe(served, uid_of(own))
        assert heard(socket) == (uid_of(own), 1, "SCHEDULED")
        subscribe(served, uid_of(own), "NOBODY")
        assert heard(nobody)[0] == uid_of(own)
        assert send(served, "DELETE", f"/workitems/{GLOBAL}/subscribers/WATCHER").status_code == 200
        assert send(served, "DELETE", f"/workitems/{GLOBAL}/subscribers/WATCHER").status_code == 404


def test_what_cannot_be_subscribed_to_is_refused(served: Running) -> None:
    assert send(served, "POST", "/workitems/1.2.3/subscribers/A").status_code == 404
    assert send(served, "POST", f"/workitems/{FILTERED}/subscribers/A?nonsense=1").status_code == 400
    assert send(served, "POST", f"/workitems/{GLOBAL}/subscribers/A%5CB").status_code == 400
    assert send(served, "POST", "/workitems/1.2.3/subscribers/A/suspend").status_code == 404
    answer = subscribe(served, GLOBAL, query="?deletionlock=true")
    assert answer.headers["Warning"].endswith("Deletion Lock not granted.")


def test_a_channel_needs_a_key_and_tells_only_what_it_may_see(tmp_path: Path) -> None:
    with running(tmp_path, auth="on") as served:
        keys = Keys(served.parts.ledger.database)
        reader, row = keys.create("reader", [Scope.READ])
        admin, _ = keys.create("admin", list(Scope))
        for wrong in ("", "clx_nonsense"):
            with pytest.raises(InvalidStatus) as refused, channel(served, key=wrong):
                pass
            assert refused.value.response.status_code == 403
        with channel(served, key=reader) as mine, channel(served, key=admin) as every:
            subscribe(served, GLOBAL, key=reader)
            subscribe(served, GLOBAL, key=admin)
            theirs, own = asked(served, "ward"), asked(served, f"key-{row.id}")
            assert [heard(every)[0], heard(every)[0]] == [uid_of(theirs), uid_of(own)]
            assert heard(mine)[0] == uid_of(own)
        audit = (served.folder / "data" / "audit.jsonl").read_text()
        assert audit.count('"status":101') == 2 and audit.count('"status":403') == 2


def test_a_page_of_another_site_opens_no_channel(served: Running) -> None:
    address = served.url.replace("http", "ws") + "/dicom-web/subscribers/WATCHER"
    with pytest.raises(InvalidStatus) as refused, connect(address, origin="http://example.org"):  # type: ignore[arg-type]
        pass
    assert refused.value.response.status_code == 403
    with connect(address, origin=served.url):  # type: ignore[arg-type]
        pass


def test_channels_end_when_the_server_stops(served: Running) -> None:
    with channel(served) as socket:
        served.parts.stopping.set()
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=WAIT_S)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012


def test_a_reader_that_takes_nothing_is_let_go() -> None:
    slow = Channel("local", None, "SLOW")
    for _ in range(HELD + 1):
        _put(slow, "{}")
    assert slow.waiting.get_nowait() is None
    assert slow.waiting.empty()
