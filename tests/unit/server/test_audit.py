# SPDX-License-Identifier: Apache-2.0
import json
import os
import threading
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from clarivox.errors import CapacityError
from clarivox.server.audit import Audit, Entry, Secret, verify
from clarivox.server.audit_events import EVENTS, event_of, parse, to_dicom, to_fhir


def entry(number: int = 0) -> Entry:
    return Entry(1e9 + number, "export", "key-a", "192.0.2.7", "GET", "/v1/jobs/{job_id}/result", "some-job", 200)


@pytest.fixture
def audit(tmp_path: Path):  # type: ignore[no-untyped-def]
    log = Audit(tmp_path, sync_s=0.01)
    yield log
    log.close()


def test_records_come_back_as_they_went_in(audit: Audit):
    for number in range(3):
        audit.record(entry(number))
    assert [parse(line) for line in audit.path.read_text().splitlines()] == [entry(n) for n in range(3)]
    assert verify(audit.path, audit.secret) == (3, None)


@pytest.mark.parametrize("change", ["edit", "remove", "swap"])
def test_a_record_that_was_tampered_with_is_found(audit: Audit, change: str):
    for number in range(5):
        audit.record(entry(number))
    lines = audit.path.read_text().splitlines()
    if change == "edit":
        lines[2] = lines[2].replace("192.0.2.7", "192.0.2.8")
    elif change == "remove":
        del lines[2]
    else:
        lines[2], lines[3] = lines[3], lines[2]
    audit.path.write_text("\n".join(lines) + "\n")
    assert verify(audit.path, audit.secret) == (2, 3)


def test_a_line_that_a_crash_tore_does_not_stop_the_log(tmp_path: Path):
    first = Audit(tmp_path)
    first.record(entry(0))
    first.close()
    with first.path.open("ab") as file:
        file.write(b'{"at":1,"event":"exp')
    again = Audit(tmp_path)
    again.record(entry(1))
    again.close()
    assert verify(again.path, again.secret) == (2, None)


def test_several_writers_make_one_chain(tmp_path: Path):
    logs = [Audit(tmp_path) for _ in range(4)]
    threads = [threading.Thread(target=lambda log=log: [log.record(entry(n)) for n in range(50)]) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verify(logs[0].path, Secret(tmp_path)) == (200, None)
    for log in logs:
        log.close()


def test_a_log_that_was_moved_away_goes_on_in_a_new_file(audit: Audit):
    audit.record(entry(0))
    moved = audit.path.rename(audit.path.with_name("audit.1.jsonl"))
    audit.record(entry(1))
    chain = json.loads(moved.read_text())["chain"]
    assert verify(audit.path, audit.secret, chain) == (1, None)


def test_a_record_that_cannot_be_written_is_an_error(audit: Audit, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(CapacityError) as caught:
        audit.record(entry())
    assert caught.value.code == "audit_full"
    monkeypatch.undo()
    audit.record(entry())
    assert verify(audit.path, audit.secret) == (1, None)


def test_only_the_server_may_read_the_log_and_its_secret(audit: Audit):
    audit.record(entry())
    assert audit.path.stat().st_mode & 0o077 == 0
    assert (audit.path.parent / "secret").stat().st_mode & 0o077 == 0


def test_a_client_s_name_becomes_the_same_short_digest_here_and_another_elsewhere(tmp_path: Path):
    here, there = Secret(tmp_path / "a"), Secret(tmp_path / "b")
    assert here.name("Smith^John") == Secret(tmp_path / "a").name("Smith^John") != there.name("Smith^John")
    assert "mith" not in here.name("Smith^John")


@pytest.mark.parametrize(
    ("method", "route", "status", "event"),
    [
        ("POST", "/v1/jobs", 202, "import"),
        ("POST", "/v1/enhance", 200, "import"),
        ("PUT", "/v1/blobs/{sha256}", 201, "import"),
        ("POST", "/infer/{model}", 200, "import"),
        ("GET", "/v1/jobs", 200, "query"),
        ("GET", "/v1/jobs/{job_id}", 200, "access"),
        ("GET", "/v1/jobs/{job_id}/result", 200, "export"),
        ("GET", "/v1/jobs/{job_id}/evidence", 200, "export"),
        ("GET", "/datastore/image", 200, "export"),
        ("GET", "/datastore/", 200, "query"),
        ("GET", "/dicom-web/studies", 200, "query"),
        ("GET", "/dicom-web/studies/{study}/series/{series}/metadata", 200, "access"),
        ("GET", "/dicom-web/studies/{study}", 200, "export"),
        ("POST", "/v1/jobs/{job_id}/retry", 202, "change"),
        ("DELETE", "/v1/jobs/{job_id}", 200, "delete"),
        ("POST", "/train/{model}", 200, "admin"),
        ("GET", "/v1/jobs", 401, "login"),
        ("POST", "/train/{model}", 403, "refused"),
    ],
)
def test_a_request_is_the_event_that_dicom_names(method: str, route: str, status: int, event: str):
    assert event_of(method, route, status) == event


@pytest.mark.parametrize("event", EVENTS)
def test_every_record_is_a_fhir_audit_event(event: str):
    """The elements that FHIR R4 requires, with the codes that it allows."""
    made = to_fhir(Entry(1e9, event, "key-a", "192.0.2.7", "GET", "/v1/jobs", "an-object", 404))
    assert made["resourceType"] == "AuditEvent"
    assert set(made["type"]) == {"system", "code", "display"}
    assert made["action"] in set("CRUDE")
    assert made["outcome"] == "4"
    assert datetime.fromisoformat(made["recorded"]).tzinfo is not None
    assert made["agent"][0]["requestor"] is True
    assert made["agent"][0]["network"] == {"address": "192.0.2.7", "type": "2"}
    assert made["source"]["observer"]["identifier"]["value"]
    assert made["entity"][0]["what"]["identifier"]["value"] == "an-object"
    assert json.loads(json.dumps(made)) == made


@pytest.mark.parametrize("event", EVENTS)
def test_every_record_is_a_dicom_audit_message(event: str):
    message = ElementTree.fromstring(to_dicom(Entry(1e9, event, "key-a", "192.0.2.7", "GET", "/v1/jobs", "o", 500)))
    parts = [child.tag for child in message]
    assert parts == [
        "EventIdentification",
        "ActiveParticipant",
        "AuditSourceIdentification",
        "ParticipantObjectIdentification",
    ]
    identification = message[0]
    assert identification.attrib["EventOutcomeIndicator"] == "8"
    assert identification[0].tag == "EventID"
    assert identification[0].attrib["csd-code"] == EVENTS[event].code
    assert message[1].attrib["UserID"] == "key-a"
