# SPDX-License-Identifier: Apache-2.0
"""Rows of the ledger as the words of `clarivox.server.job`, and back."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import RowMapping

from clarivox.server.job import Event, FileRef, Job, NewJob, State, WorkerRow

JOB_COLUMNS = tuple(one.name for one in fields(Job))
WORKER_COLUMNS = tuple(one.name for one in fields(WorkerRow))


def files_of(found: Sequence[dict[str, Any]]) -> tuple[FileRef, ...]:
    """Files as a row keeps them."""
    return tuple(FileRef(**one) for one in found)


def row_of_files(files: Sequence[FileRef]) -> list[dict[str, Any]]:
    """The other way."""
    return [asdict(one) for one in files]


def job_of(row: RowMapping) -> Job:
    """A job of a row."""
    values = {name: row[name] for name in JOB_COLUMNS}
    values |= {"inputs": files_of(row["inputs"]), "results": files_of(row["results"]), "state": State(row["state"])}
    values |= {"notes": tuple(row["notes"]), "degradations": tuple(row["degradations"])}
    return Job(**values)


def event_of(row: RowMapping) -> Event:
    """An event of a row."""
    return Event(**{one.name: row[one.name] for one in fields(Event)})


def worker_of(row: RowMapping) -> WorkerRow:
    """A worker of a row."""
    return WorkerRow(**{name: row[name] for name in WORKER_COLUMNS} | {"loaded": tuple(row["loaded"])})


def row_of_new(job_id: str, new: NewJob, now: float) -> dict[str, Any]:
    """The row of a job that is asked for."""
    return {
        "id": job_id,
        "owner": new.owner,
        "kind": str(new.kind),
        "bundle": new.bundle,
        "bundle_version": new.bundle_version,
        "params": dict(new.params),
        "inputs": row_of_files(new.inputs),
        "state": State.QUEUED.value,
        "priority": new.priority,
        "tags": dict(new.tags),
        "created": now,
        "not_before": new.not_before,
        "deadline": new.deadline,
        "attempt": 0,
        "uncounted": 0,
        "max_attempts": new.max_attempts,
        "crash_count": 0,
        "cancel_requested": False,
        "stage": "",
        "done": 0.0,
        "results": [],
        "notes": [],
        "degradations": [],
        "metrics": {},
        "parent_id": new.parent_id,
        "idem_key": new.idem_key,
        "request_hash": new.request_hash,
        "trace": new.trace,
        "seq": 1,
    }


def is_id(text: str) -> bool:
    """Whether a text can be the identifier of a job, written as ours are.

    >>> is_id("01890a5d-ac96-774b-bcce-b302099a8057"), is_id("../x")
    (True, False)
    """
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def storable(text: str, limit: int = 255) -> bool:
    """Whether both databases can keep a text: no NUL, no half of a surrogate pair, not too long.

    >>> storable("ward 3"), storable("a\\x00b"), storable("\\ud800")
    (True, False, False)
    """
    return len(text) <= limit and "\x00" not in text and not any("\ud800" <= one <= "\udfff" for one in text)
