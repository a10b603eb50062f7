# SPDX-License-Identifier: Apache-2.0
"""What a request is to the audit, and a record as others write it: DICOM PS3.15 A.5 (ATNA) and FHIR R4 AuditEvent."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

from clarivox.server.audit import Entry


@dataclass(frozen=True)
class Event:
    """A kind of record."""

    code: str
    """Of DICOM's controlled terminology (DCM)."""
    display: str
    action: str
    """Create, Read, Update, Delete or Execute."""
    subtype: tuple[str, str] | None = None
    """Code and meaning, DCM."""


EVENTS: dict[str, Event] = {
    "start": Event("110100", "Application Activity", "E", ("110120", "Application Start")),
    "stop": Event("110100", "Application Activity", "E", ("110121", "Application Stop")),
    "login": Event("110114", "User Authentication", "E", ("110122", "Login")),
    "refused": Event("110113", "Security Alert", "E", ("110132", "Use of Restricted Function")),
    "import": Event("110107", "Import", "C"),
    "export": Event("110106", "Export", "R"),
    "access": Event("110103", "DICOM Instances Accessed", "R"),
    "change": Event("110103", "DICOM Instances Accessed", "U"),
    "delete": Event("110105", "DICOM Study Deleted", "D"),
    "query": Event("110112", "Query", "E"),
    "admin": Event("110113", "Security Alert", "E", ("110129", "Security Configuration")),
}
"""Every kind of record by its name in the log."""

DCM = "http://dicom.nema.org/resources/ontology/DCM"
"""The system of DICOM's codes in FHIR."""

_EXPORTS = ("/result", "/evidence", "/instances", "/frames", "/bulkdata", "/rendered", "/thumbnail", "/dataset")
_SENDS = ("/v1/jobs", "/v1/enhance", "/v1/blobs", "/infer/", "/batch/", "/session/", "/datastore")
_ADMIN = ("/admin", "/train", "/model", "/logs")


def event_of(method: str, route: str, status: int) -> str:
    """The kind of record that a request is.

    >>> event_of("POST", "/v1/jobs", 202), event_of("GET", "/v1/jobs/{job_id}/result", 200)
    ('import', 'export')
    >>> event_of("GET", "/v1/jobs", 401), event_of("DELETE", "/v1/jobs/{job_id}", 200)
    ('login', 'delete')

    Args:
        method: of HTTP.
        route: the pattern of its path.
        status: of the answer.
    """
    if status in (401, 403):
        return "login" if status == 401 else "refused"
    if route.startswith("/dicom-web/workitems") and method not in ("GET", "HEAD"):
        return "change"
    if method == "DELETE":
        return "delete"
    if route.startswith(_ADMIN):
        return "admin"
    if method in ("POST", "PUT", "PATCH"):
        if route.endswith("info") or route.startswith("/v1/jobs/"):
            return "change"
        return "import" if route.startswith(_SENDS) else "query"
    stored = route in ("/datastore/image", "/datastore/label") or route.startswith("/dicom-web/studies/{")
    if route.endswith(_EXPORTS) or (stored and not route.endswith("metadata")):
        return "export"
    return "access" if "{" in route else "query"


def outcome(entry: Entry) -> str:
    """How it ended, as both standards count: 0 done, 4 refused, 8 failed.

    >>> outcome(Entry(1.0, "query", "local", "127.0.0.1", status=404))
    '4'
    """
    return "0" if entry.ok else "4" if entry.status < 500 else "8"


def parse(line: str) -> Entry:
    """A record from its line of the log."""
    content = json.loads(line)
    return Entry(**{field.name: content[field.name] for field in fields(Entry) if field.name in content})


def _when(entry: Entry) -> str:
    return datetime.fromtimestamp(entry.at, UTC).isoformat(timespec="milliseconds")


def to_fhir(entry: Entry) -> dict[str, Any]:
    """A record as a FHIR R4 AuditEvent.

    >>> to_fhir(Entry(0.0, "export", "key-a", "192.0.2.1", "GET", "/v1/jobs/{job_id}/result", "j", 200))["action"]
    'R'
    """
    event = EVENTS[entry.event]
    resource: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "type": {"system": DCM, "code": event.code, "display": event.display},
        "action": event.action,
        "recorded": _when(entry),
        "outcome": outcome(entry),
        "agent": [
            {
                "who": {"identifier": {"system": "urn:clarivox:caller", "value": entry.actor}},
                "requestor": entry.actor != "server",
            }
        ],
        "source": {
            "observer": {"identifier": {"system": "urn:clarivox:host", "value": socket.gethostname()}},
            "type": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/security-source-type",
                    "code": "4",
                    "display": "Application Server",
                }
            ],
        },
    }
    if event.subtype:
        resource["subtype"] = [{"system": DCM, "code": event.subtype[0], "display": event.subtype[1]}]
    if entry.source:
        resource["agent"][0]["network"] = {"address": entry.source, "type": "2"}
    if entry.route:
        resource["outcomeDesc"] = f"{entry.method} {entry.route} {entry.status}"
    if entry.object:
        resource["entity"] = [
            {
                "what": {"identifier": {"system": "urn:clarivox:object", "value": entry.object}},
                "type": {
                    "system": "http://terminology.hl7.org/CodeSystem/audit-entity-type",
                    "code": "2",
                    "display": "System Object",
                },
            }
        ]
    return resource


def to_dicom(entry: Entry) -> str:
    """A record as a DICOM audit message, the XML of PS3.15 A.5 that ATNA sends by syslog.

    >>> to_dicom(Entry(0.0, "start", "server", ""))[:14]
    '<AuditMessage>'
    """
    event = EVENTS[entry.event]
    message = ElementTree.Element("AuditMessage")
    identification = ElementTree.SubElement(
        message,
        "EventIdentification",
        EventActionCode=event.action,
        EventDateTime=_when(entry),
        EventOutcomeIndicator=outcome(entry),
    )
    _coded(identification, "EventID", event.code, event.display)
    if event.subtype:
        _coded(identification, "EventTypeCode", *event.subtype)
    participant = {"UserID": entry.actor, "UserIsRequestor": str(entry.actor != "server").lower()}
    if entry.source:
        participant |= {"NetworkAccessPointID": entry.source, "NetworkAccessPointTypeCode": "2"}
    active = ElementTree.SubElement(message, "ActiveParticipant", participant)
    if entry.actor == "server":
        _coded(active, "RoleIDCode", "110150", "Application")
    source = ElementTree.SubElement(message, "AuditSourceIdentification", AuditSourceID=socket.gethostname())
    ElementTree.SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})
    if entry.object:
        thing = ElementTree.SubElement(
            message,
            "ParticipantObjectIdentification",
            ParticipantObjectID=entry.object,
            ParticipantObjectTypeCode="2",
            ParticipantObjectTypeCodeRole="3",
        )
        _coded(thing, "ParticipantObjectIDTypeCode", "12", "URI", "RFC-3881")
        ElementTree.SubElement(thing, "ParticipantObjectName").text = f"{entry.method} {entry.route}"
    return ElementTree.tostring(message, encoding="unicode")


def _coded(parent: ElementTree.Element, tag: str, code: str, text: str, system: str = "DCM") -> None:
    ElementTree.SubElement(parent, tag, {"csd-code": code, "codeSystemName": system, "originalText": text})
