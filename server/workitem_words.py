# SPDX-License-Identifier: Apache-2.0
"""What a work item of UPS-RS says, as DICOM JSON: read from a client, and made of a job (PS3.3 B.26, PS3.4 CC.2.5)."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from clarivox.errors import InputError
from clarivox.server.job import Job, Kind
from clarivox.server.job import State as JobState

PUSH = "1.2.840.10008.5.1.4.34.6.1"
"""The SOP class of a work item."""
EVENTS = "1.2.840.10008.5.1.4.34.6.4"
"""The SOP class of event reports."""
GLOBAL = "1.2.840.10008.5.1.4.34.5"
"""Stands for the whole worklist in a subscription."""
FILTERED = "1.2.840.10008.5.1.4.34.5.1"
"""The same for those of its items that fit a search."""
SCHEME = "99CLARIVOX"
"""Our codes: the names of bundles and of their parameters."""

SOP_CLASS, SOP_INSTANCE, TRANSACTION = "00080016", "00080018", "00081195"
STATE, PRIORITY, LABEL, WORKLIST = "00741000", "00741200", "00741204", "00741202"
CODES, PARAMETERS, INPUTS, OUTPUTS = "00404018", "00741210", "00404021", "00404033"
START, CHANGED, READINESS = "00404005", "00404010", "00404041"
PROGRESS, PERFORMED, REASON, CANCELLED_AT = "00741002", "00741216", "00741238", "00404052"

PRIORITIES = {"HIGH": 50, "MEDIUM": 0, "LOW": -50}
"""Of a work item, and of the job that it becomes."""
READY = ("READY", "UNAVAILABLE", "INCOMPLETE")
UID = re.compile(r"(?=.{1,64}$)(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_TAG, _VR = re.compile("[0-9A-F]{8}"), re.compile("[A-Z]{2}")
_DEPTH, _ELEMENTS = 8, 2000
_SHORT = 16  # characters of Code Value; a longer code goes into Long Code Value

Dataset = dict[str, dict[str, Any]]


class Step(StrEnum):
    """Procedure Step State."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen."""
        return self in (Step.COMPLETED, Step.CANCELED)


def bad(message: str) -> InputError:
    """For a work item that cannot be used."""
    return InputError(message, code="bad_workitem")


def element(vr: str, *values: Any) -> dict[str, Any]:
    """An element of DICOM JSON.

    >>> element("CS", "READY"), element("PN")
    ({'vr': 'CS', 'Value': ['READY']}, {'vr': 'PN'})
    """
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def values(dataset: Mapping[str, Any], tag: str) -> list[Any]:
    """The values of an element; none where it is not there."""
    return [one for one in dataset.get(tag, {}).get("Value", ()) if one not in (None, "")]


def text(dataset: Mapping[str, Any], tag: str) -> str:
    """The first value of an element as text; empty where there is none."""
    found = values(dataset, tag)
    return str(found[0]).strip() if found and not isinstance(found[0], dict) else ""


def items(dataset: Mapping[str, Any], tag: str) -> list[Dataset]:
    """The items of a sequence."""
    return [one for one in values(dataset, tag) if isinstance(one, dict)]


def coded(value: str, meaning: str = "", scheme: str = SCHEME) -> Dataset:
    """An item of a sequence of codes.

    >>> sorted(coded("a_code_of_over_16_characters"))
    ['00080102', '00080104', '00080119']
    """
    where, vr = ("00080100", "SH") if len(value) <= _SHORT else ("00080119", "UC")
    return {
        where: element(vr, value),
        "00080102": element("SH", scheme),
        "00080104": element("LO", (meaning or value)[:64]),
    }


def code_of(item: Mapping[str, Any]) -> str | None:
    """The value of a code of ours; None for one of another scheme."""
    if text(item, "00080102") != SCHEME:
        return None
    return text(item, "00080100") or text(item, "00080119") or None


def time_of(seconds: float) -> str:
    """A time as DT, in UTC.

    >>> time_of(0.5)
    '19700101000000.500000+0000'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d%H%M%S.%f+0000")


def uid_of(identifier: str) -> str:
    """The UID that an identifier of ours gives, after ITU-T X.667.

    >>> uid_of("01890a5d-ac96-774b-bcce-b302099a8057")
    '2.25.2040782911132661522235942288014082135'
    """
    return f"2.25.{uuid.UUID(identifier).int}"


def id_of(uid: str) -> str | None:
    """The identifier of which a UID was made; None where it was not made so.

    >>> id_of("2.25.2040782911132661522235942288014082135"), id_of("1.2.3")
    ('01890a5d-ac96-774b-bcce-b302099a8057', None)
    """
    if not (uid.startswith("2.25.") and UID.fullmatch(uid)):
        return None
    number = int(uid[5:])
    return str(uuid.UUID(int=number)) if number < 1 << 128 else None


def dataset_of(body: bytes) -> Dataset:
    """A data set as a client sends it.

    Raises:
        InputError: it is none, code bad_workitem.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise bad("the body is not DICOM JSON") from None
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        raise bad("the body is one data set of DICOM JSON")
    return _checked(found, _DEPTH, [_ELEMENTS])


def _checked(found: Mapping[str, Any], depth: int, left: list[int]) -> Dataset:
    checked: Dataset = {}
    for name, one in found.items():
        tag = name.upper()
        left[0] -= 1
        if left[0] < 0 or depth < 0:
            raise bad(f"a data set has at most {_ELEMENTS} elements in {_DEPTH} levels")
        if not _TAG.fullmatch(tag) or not isinstance(one, dict) or not _VR.fullmatch(str(one.get("vr", ""))):
            raise bad("an element has a tag of eight hexadecimal digits, and a vr")
        kept = one.get("Value", [])
        if not isinstance(kept, list) or not set(one) <= {"vr", "Value"}:
            raise bad(f"{tag} has a vr and a list Value, and nothing else")
        if one["vr"] == "SQ":
            if not all(isinstance(item, dict) for item in kept):
                raise bad(f"{tag} holds data sets")
            kept = [_checked(item, depth - 1, left) for item in kept]
        elif one["vr"] != "PN" and any(isinstance(value, dict | list) for value in kept):
            raise bad(f"{tag} holds plain values")
        checked[tag] = {"vr": one["vr"], "Value": kept} if kept else {"vr": one["vr"]}
    return checked


def step_of(job: Job) -> Step:
    """The state of a job's work item; one that waits for another attempt is still in progress."""
    if job.state is JobState.QUEUED:
        return Step.IN_PROGRESS if job.attempt else Step.SCHEDULED
    if job.state is JobState.RUNNING:
        return Step.IN_PROGRESS
    if job.state is JobState.PURGED:
        ended = job.error is None and not job.cancel_requested and job.attempt
        return Step.COMPLETED if ended else Step.CANCELED
    return Step.COMPLETED if job.state is JobState.SUCCEEDED else Step.CANCELED


def standing(job: Job) -> Dataset:
    """What a job says of its work item, whoever asked for it: state, progress, what was performed, why it ended."""
    step = step_of(job)
    found: Dataset = {STATE: element("CS", step.value)}
    if step is not Step.SCHEDULED:
        progress: Dataset = {"00741004": element("DS", share(job)), "00741006": element("ST", job.stage or step.value)}
        if step is Step.CANCELED:
            error = job.error or {}
            cancelled = job.state is JobState.CANCELLED or not error
            progress[CANCELLED_AT] = element("DT", time_of(job.finished or job.created))
            progress[REASON] = element("LT", "cancelled on request" if cancelled else str(error.get("detail", "")))
            progress["0074100E"] = element("SQ", coded("cancelled" if cancelled else str(error.get("code", "failed"))))
        found[PROGRESS] = element("SQ", progress)
    if job.started is not None:
        performed: Dataset = {
            "00404050": element("DT", time_of(job.started)),
            "00404028": element("SQ", coded("clarivox")),
            "00404019": element("SQ", coded(work_of(job))),
        }
        if job.finished is not None:
            performed["00404051"] = element("DT", time_of(job.finished))
        found[PERFORMED] = element("SQ", performed)
    return found


def share(job: Job) -> float:
    """How much of its stage is done, in per cent."""
    return 100.0 if job.state is JobState.SUCCEEDED else round(100 * job.done, 1)


def work_of(job: Job) -> str:
    """The code of what a job does: its bundle, or its kind where that is not enhancing."""
    return job.bundle if job.kind == Kind.ENHANCE and job.bundle else str(job.kind)


def of_job(job: Job) -> Dataset:
    """A job as a work item, without its patient and series."""
    order = "HIGH" if job.priority > 0 else "LOW" if job.priority < 0 else "MEDIUM"
    parameters = {name: value for name, value in job.params.items() if name not in ("options", "series")}
    parameters |= job.params.get("options", {})
    return {
        SOP_CLASS: element("UI", PUSH),
        SOP_INSTANCE: element("UI", uid_of(job.id)),
        PRIORITY: element("CS", order),
        LABEL: element("LO", work_of(job)[:64]),
        WORKLIST: element("LO", "clarivox"),
        READINESS: element("CS", "READY"),
        START: element("DT", time_of(job.created)),
        CHANGED: element("DT", time_of(job.finished or job.progress_at or job.started or job.created)),
        "00100010": element("PN"),
        "00100020": element("LO"),
        CODES: element("SQ", coded(work_of(job))),
        PARAMETERS: element("SQ", *(_parameter(name, value) for name, value in sorted(parameters.items()))),
        INPUTS: element("SQ"),
        **standing(job),
    }


def _parameter(name: str, value: Any) -> Dataset:
    said = value if isinstance(value, str) else json.dumps(value)
    return {
        "0040A040": element("CS", "TEXT"),
        "0040A043": element("SQ", coded(name)),
        "0040A160": element("UT", said),
    }


def parameters_of(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a client schedules, by their names; of ours only, others are not understood.

    Raises:
        InputError: one has no value, code bad_workitem.
    """
    found: dict[str, Any] = {}
    for item in items(dataset, PARAMETERS):
        name = next(filter(None, map(code_of, items(item, "0040A043"))), None)
        if name is None:
            raise bad(f"a scheduled processing parameter has a name of the coding scheme {SCHEME}")
        said = values(item, "0040A30A") or values(item, "0040A160")
        if not said:
            raise bad("a scheduled processing parameter has a numeric or a text value")
        found[name] = _meant(said[0])
    return found


def _meant(said: Any) -> Any:
    """A number, a truth or a word, as a text has it."""
    if isinstance(said, str) and re.fullmatch(r"true|false|null|-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", said):
        return json.loads(said) if not re.match(r"-?0[0-9]", said) else said
    return said


def series_of(dataset: Mapping[str, Any]) -> list[str]:
    """The series that a work item is to be done on, by their UIDs."""
    return list(dict.fromkeys(filter(None, (text(item, "0020000E") for item in items(dataset, INPUTS)))))


def referring(study: str, series: str, address: str) -> Dataset:
    """An item that names a series of ours as input or output."""
    retrieved = {"00081190": element("UR", f"{address}/studies/{study}/series/{series}")}
    return {
        "0020000D": element("UI", study),
        "0020000E": element("UI", series),
        "0040E020": element("CS", "DICOM"),
        "0040E025": element("SQ", retrieved),
    }
