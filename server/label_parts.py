# SPDX-License-Identifier: Apache-2.0
"""What the routes of MONAI Label share: the datastore, sessions, files that come in, jobs that are waited for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request, UploadFile
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from clarivox.errors import BusyError, LimitError, NotFoundError
from clarivox.server.datastore import Datastore
from clarivox.server.deps import Parts, Services
from clarivox.server.job import FileRef, Job, Role, State
from clarivox.server.label_answers import file_ref
from clarivox.server.problems import MEDIA
from clarivox.server.seal import Seal
from clarivox.server.sessions import Sessions

_CHUNK = 1 << 20
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.02, 0.25

BEFORE_BATCHES, BATCH, TRAINING = 10, -10, -20
"""Priorities: who waits before a screen goes first."""


@dataclass(frozen=True)
class Labels:
    """The parts of the server that MONAI Label's routes work on."""

    parts: Services
    datastore: Datastore
    sessions: Sessions


@lru_cache(maxsize=8)
def _seal(folder: Path) -> Seal:
    return Seal(folder)


def labels_of(parts: Services) -> Labels:
    """The same for the server's own use."""
    database = parts.ledger.database
    return Labels(parts, Datastore(database, _seal(parts.settings.data_dir)), Sessions(database))


def labels(parts: Parts) -> Labels:
    """A dependency of the routes."""
    return labels_of(parts)


With = Annotated[Labels, Depends(labels)]
"""A parameter of a route: `def route(labels: With)`."""


async def received(parts: Services, upload: UploadFile, role: str = Role.INPUT) -> FileRef:
    """A file that was sent, now in the store; its client's name is looked at for its ending only.

    Raises:
        FormatError: it is empty.
        LimitError: it is larger than the server takes.
        CapacityError: there is no room for it.
    """
    return await run_in_threadpool(_store, parts, upload, role)


def _store(parts: Services, upload: UploadFile, role: str) -> FileRef:
    if upload.size is not None and upload.size > parts.settings.body_bytes:
        raise LimitError("the file is larger than the server takes", code="body_too_large")
    parts.blobs.admit(upload.size or 0)
    with parts.blobs.writer() as writer:
        while piece := upload.file.read(_CHUNK):
            writer.write(piece)
        found = file_ref(writer.path, "", writer.bytes, role, upload.filename or "")
        sha256, size = writer.commit()
    return FileRef(role, sha256, size, found.media, found.name)


async def ended(labels: Labels, request: Request, job_id: str) -> Job:
    """A job once it has ended; or as it stands, where its client has gone. Holds neither a thread nor the loop.

    Raises:
        BusyError: the server stops; the job goes on when it is back (code draining).
    """
    pause = _FIRST_LOOK_S
    while True:
        job: Job = await run_in_threadpool(labels.parts.ledger.get, job_id)
        if job.ended or await request.is_disconnected():
            return job
        if labels.parts.draining.is_set():
            raise BusyError(
                f"the server stops; job {job.id} goes on when it is back, and its result comes into the datastore",
                code="draining",
            )
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_LOOK_S)


def failure(job: Job) -> JSONResponse:
    """The problem that a job came to, for its owner."""
    told: Mapping[str, Any] = job.error or {}
    status, code = int(told.get("status", 409)), str(told.get("code", job.state))
    body = {
        "type": f"urn:clarivox:{code}",
        "title": told.get("title", "Conflict"),
        "status": status,
        "detail": told.get("detail", f"the job ended as {job.state}; run it again"),
        "code": code,
        "job": job.id,
    }
    return JSONResponse(body, status, media_type=MEDIA)


def result_of(job: Job) -> FileRef:
    """The file that a job made.

    Raises:
        NotFoundError: it is deleted (code purged), or there is none (code no_result).
    """
    if job.state is State.PURGED:
        raise NotFoundError("the result was deleted when its time was over; run it again", code="purged")
    for file in job.results:
        if file.role == Role.RESULT:
            return file
    raise NotFoundError("the job has no result", code="no_result")


def series_facts(labels: Labels, job: Job) -> dict[str, Any]:
    """What the viewers want to know of a DICOM series that a job made; nothing for other formats."""
    index = next((file for file in job.results if file.role == Role.INDEX), None)
    if index is None:
        return {}
    with labels.parts.blobs.path(index.sha256).open(encoding="utf-8") as stream:
        return facts_of(json.load(stream))


_FACTS = {
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "PatientID": "00100020",
    "Modality": "00080060",
    "StudyDate": "00080020",
    "StudyTime": "00080030",
}


def facts_of(index: Any) -> dict[str, Any]:
    """Study, series, patient and the like from the first instance of an index of DICOM JSON.

    >>> facts_of([{"0020000E": {"vr": "UI", "Value": ["1.2.3"]}}])
    {'SeriesInstanceUID': '1.2.3'}
    """
    first = _first_instance(index)
    found = {name: first.get(tag, {}).get("Value", [None])[0] for name, tag in _FACTS.items()}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _first_instance(index: Any) -> Any:
    """The first object with tags for keys, wherever the index keeps it."""
    if isinstance(index, dict):
        if _FACTS["SeriesInstanceUID"] in index:
            return index
        index = list(index.values())
    for one in index if isinstance(index, list) else ():
        if found := _first_instance(one):
            return found
    return {}
