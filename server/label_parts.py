# SPDX-License-Identifier: Apache-2.0
"""What the routes of MONAI Label share: the datastore, sessions, files that come in, jobs that are waited for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request, UploadFile
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from clarivox.errors import BusyError, LimitError, NotFoundError
from clarivox.server.datastore import Datastore, extension
from clarivox.server.deps import Parts, Services
from clarivox.server.job import FileRef, Job, Role, State
from clarivox.server.label_answers import file_ref
from clarivox.server.problems import MEDIA, responses
from clarivox.server.seal import Seal
from clarivox.server.sessions import Sessions

_CHUNK = 1 << 20
_TURN_S = 1.0
"""How often it is asked whether the client still waits."""

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
    job = await run_in_threadpool(labels.parts.ledger.get, job_id)
    while not job.ended:
        job = await labels.parts.watch.ended(job, _TURN_S)
        if job.ended or await request.is_disconnected():
            break
        if labels.parts.stopping.is_set():
            raise BusyError(
                f"the server stops; job {job.id} goes on when it is back, and its result comes into the datastore",
                code="draining",
            )
    return job


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


def is_dicom(file: FileRef) -> bool:
    """Whether a file holds DICOM; a zip of ours or of a client holds nothing else that a viewer shows."""
    return file.media in ("application/dicom", "application/zip")


FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": {"application/octet-stream": {}}},
    206: {"description": "The ranges of the file that were asked for."},
    304: {"description": "The client has it already."},
    **responses(416),
}
"""What a route documents that gives a file."""


def shown_extension(file: FileRef) -> str:
    """The ending of what `/datastore/image` gives for a file: DICOM goes as NIfTI, which every viewer reads."""
    return ".nii.gz" if is_dicom(file) else extension(file)
