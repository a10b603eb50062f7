# SPDX-License-Identifier: Apache-2.0
"""A request for a job as it arrives: as a form with files, as one raw file, or by reference to files that are here."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from clarivox.errors import BusyError, FormatError, InputError, NotFoundError, OptionError
from clarivox.server import admission, telemetry
from clarivox.server.auth import Caller
from clarivox.server.blobs import Blobs
from clarivox.server.deps import Services
from clarivox.server.dicom_store import key_of
from clarivox.server.forms import read_form
from clarivox.server.job import FileRef, Job, NewJob
from clarivox.server.pacs.outbox import Outbox
from clarivox.server.pump import Pump
from clarivox.server.schemas import JobRequest, Params, Wish, check_params
from clarivox.server.series_files import series_files

RAW = (
    "application/octet-stream",
    "application/dicom",
    "application/zip",
    "application/gzip",
    "application/x-gzip",
    "application/x-nifti",
    "application/x-nrrd",
    "image/png",
    "image/jpeg",
    "image/tiff",
)
"""Types of content that are one file; what it is, is decided by what it holds."""
JSON_BYTES = 1 << 20
FETCHES = CapacityLimiter(4)
"""Requests whose images are fetched from the PACS at a time; the others wait."""
GONE_S = 0.5
"""How often it is looked whether who asked for them is still there."""
TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
PARAMS = {field.alias or name for name, field in Params.model_fields.items()} - {"options"}

Model = TypeVar("Model", bound=BaseModel)

_MARKS = (
    (b"PK\x03\x04", "application/zip"),
    (b"PK\x05\x06", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
)


@dataclass(frozen=True)
class Asked:
    """A request, with its files in the store."""

    wish: Wish
    files: tuple[FileRef, ...]
    deliver: tuple[str, ...] = ()
    """Destinations of the result."""
    study: str | None = None
    """Digest of the StudyInstanceUID, where a series was named."""


def media_of(head: bytes) -> str:
    """The type that a file begins as; for the record only, the worker looks for itself.

    >>> media_of(b"PK\\x03\\x04"), media_of(b"?")
    ('application/zip', 'application/octet-stream')
    """
    if head[128:132] == b"DICM":
        return "application/dicom"
    return next((media for mark, media in _MARKS if head.startswith(mark)), "application/octet-stream")


def referred(blobs: Blobs, sha256: str, role: str) -> FileRef:
    """A file of the store as the input of a job.

    Raises:
        NotFoundError: it is not there, code no_such_blob.
        FormatError: it is empty.
    """
    size = blobs.size(sha256)
    if size == 0:
        raise FormatError("the file is empty; fetch it again", code="empty_file")
    with blobs.path(sha256).open("rb") as stream:
        return FileRef(role, sha256, size, media_of(stream.read(132)), role)


def check_room(parts: Services, caller: Caller, request: Request) -> None:
    """Refuse before the body is read what would be refused after it.

    Raises:
        BusyError: the server stops, or the queue is full.
        CapacityError: there is no room on the disk.
    """
    if parts.draining.is_set():
        raise BusyError("the server is stopping; ask again when it is back", code="draining")
    with parts.ledger.database.read() as connection:
        admission.check_room(connection, caller.owner, parts.settings)
    parts.blobs.admit(length_of(request))


def length_of(request: Request) -> int:
    """Bytes of the body as its header says; 0 where it does not."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


async def receive(request: Request, parts: Services, caller: Caller) -> Asked:
    """Take a request for a job, whichever way it comes.

    Raises:
        ClarivoxError: it is refused, or its files are.
        RequestValidationError: a value is not as the schema says.
    """
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    if kind not in ("application/json", "multipart/form-data", *RAW):
        raise FormatError(
            "this type of content is not taken here; send a form (multipart/form-data), one file "
            "(application/octet-stream), or application/json",
            code="unsupported_media",
        )
    query = request.query_params
    if kind in RAW:
        wish = wish_of(query, "query")  # before the body: a typing error costs no upload
        check_params(parts.catalogue.known(wish.bundle), wish.params)
    await run_in_threadpool(check_room, parts, caller, request)
    if kind == "application/json":
        if query:
            raise refused("query", next(iter(query)), "a request in JSON says all in its body")
        wanted = validated(JobRequest, await small_body(request), "body")
        check_request(parts, wanted)
        if parts.archive is not None and (wanted.study_uid or wanted.series_uid):
            return await while_asked(request, partial(from_pacs, parts, wanted))
        return await run_in_threadpool(by_reference, parts, caller, wanted)
    if kind in RAW:
        return Asked(wish, (await one_file(request, parts.blobs),))
    fields, files = await read_form(request, parts)
    wish = wish_of({**query, **fields}, "body")
    return Asked(wish, tuple([await run_in_threadpool(referred, parts.blobs, files[role], role) for role in files]))


async def small_body(request: Request) -> bytes:
    """A body of JSON.

    Raises:
        InputError: it is too large for that.
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > JSON_BYTES:
            raise InputError(f"a request by reference has at most {JSON_BYTES} bytes", code="bad_request")
    return bytes(body)


def check_request(parts: Services, wanted: JobRequest) -> None:
    """Refuse a request by reference that says too little, too much, or names what is not set up.

    Raises:
        InputError: it has no input, code no_file, or two kinds of it, code two_inputs.
        OptionError: a destination is not known, code no_such_destination; or there is no PACS, code no_pacs.
    """
    stored = any(one.role == "input" for one in wanted.inputs)
    named = wanted.series_uid is not None or wanted.study_uid is not None
    if not (stored or named):
        raise InputError("a job needs an input; the roles are input and like", code="no_file")
    if stored and named:
        raise InputError("a job has either inputs of the role input, or a series_uid", code="two_inputs")
    if wanted.series_uid is None and wanted.study_uid is not None and parts.archive is None:
        raise OptionError("a study is named, but no PACS is set up that has it; name a series_uid", code="no_pacs")
    known = parts.pacs.destinations if parts.pacs is not None else {}
    if unknown := [name for name in wanted.deliver if name not in known]:
        there = ", ".join(sorted(known)) or "none"
        raise OptionError(f"there is no destination {unknown[0]}; pacs.yaml names: {there}", code="no_such_destination")


async def while_asked(request: Request, fetch: Callable[[Callable[[], None]], Asked]) -> Asked:
    """Fetch in a thread, and stop when who asks goes away, as an upload stops.

    Raises:
        InputError: it went away, code too_slow.
    """
    gone = threading.Event()

    def going() -> None:
        if gone.is_set():
            raise InputError("the client went away", code="too_slow")

    async def watch() -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(GONE_S)
        gone.set()

    watcher = asyncio.create_task(watch())
    try:
        found = await to_thread.run_sync(fetch, going, limiter=FETCHES)
    finally:
        watcher.cancel()
    going()
    return found


def from_pacs(parts: Services, wanted: JobRequest, going: Callable[[], None] = lambda: None) -> Asked:
    """A request for a study or a series of the PACS, fetched now; it may have no more bytes than an upload.

    Raises:
        ClarivoxError: the PACS does not have it, or does not answer; or it is larger than the limits allow.
    """
    from clarivox.server.pacs.fetch import chosen, fetched

    assert parts.archive is not None, "check_request looked"
    info = parts.catalogue.known(wanted.bundle)
    check_params(info, wanted.params)
    most = min(parts.settings.body_bytes, parts.settings.unpacked_bytes)
    series = chosen(parts.archive, wanted.study_uid, wanted.series_uid, info.modalities)
    limits = replace(parts.settings.limits, unpacked_bytes=most)
    file = fetched(parts.archive, series, parts.blobs, limits, going)
    likes = tuple(referred(parts.blobs, one.sha256, one.role) for one in wanted.inputs)
    return Asked(wanted, (file, *likes), tuple(wanted.deliver), key_of(series[0][0]))


def by_reference(parts: Services, caller: Caller, wanted: JobRequest) -> Asked:
    """A request whose files are here already.

    Raises:
        NotFoundError: one is not, code no_such_blob; or there is no such series, code no_such_object.
    """
    files = tuple(referred(parts.blobs, one.sha256, one.role) for one in wanted.inputs)
    if wanted.series_uid is None:
        return Asked(wanted, files, tuple(wanted.deliver))
    found, uid, study = series_files(parts, caller, wanted.series_uid)
    if not found:
        raise NotFoundError("there is no such series here; GET /dicom-web/series lists them", code="no_such_object")
    if uid is not None:
        wanted = wanted.model_copy(update={"params": wanted.params.model_copy(update={"series": uid})})
    return Asked(wanted, (*found, *files), tuple(wanted.deliver), key_of(study))


async def one_file(request: Request, blobs: Blobs) -> FileRef:
    """The body, as one file of the store; nothing of it stays where it breaks off.

    Raises:
        FormatError: it is empty.
        CapacityError: the disk is full.
    """
    with blobs.writer() as writer:
        try:
            async with Pump(writer.hash, writer.store) as pump:
                async for piece in request.stream():
                    if piece:
                        await pump.put(piece)
        except ClientDisconnect:
            raise InputError("the body broke off", code="too_slow") from None
        if writer.bytes == 0:
            raise FormatError("the file is empty; fetch it again", code="empty_file")
        sha256, _ = await run_in_threadpool(writer.commit)
    return await run_in_threadpool(referred, blobs, sha256, "input")


def wish_of(fields: Mapping[str, str], where: str) -> Wish:
    """What a form, or a query, asks for: the fields of `Wish` and, beside them, those of `Params`.

    Raises:
        RequestValidationError: a value is not as the schema says.
    """
    wish: dict[str, Any] = {}
    params: dict[str, Any] = {}
    for name, value in fields.items():
        if name in ("options", "params", "tags"):
            try:
                found = json.loads(value)
            except (ValueError, RecursionError):
                raise refused(where, name, "is not JSON") from None
            if not isinstance(found, dict):
                raise refused(where, name, "is not a JSON object")
            if name == "params":
                params = {**found, **params}
            else:
                (params if name == "options" else wish)[name] = found
        elif name in PARAMS:
            params[name] = value
        else:
            wish[name] = value
    return validated(Wish, {**wish, "params": params}, where)


def validated(schema: type[Model], content: Any, where: str) -> Model:
    """Content as a schema has it: JSON to the letter, words of a form by what they mean.

    Raises:
        RequestValidationError: it is not so.
    """
    try:
        if isinstance(content, bytes):
            return schema.model_validate_json(content, strict=True)
        return schema.model_validate(content)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**one, "loc": (where, *one["loc"])} for one in found]) from None


def refused(where: str, name: str, says: str) -> RequestValidationError:
    """For a value that is wrong before any schema sees it."""
    return RequestValidationError([{"loc": (where, name), "msg": says, "type": "value_error"}])


def new_job(asked: Asked, parts: Services, caller: Caller, request: Request) -> NewJob:
    """What the ledger is asked for.

    Raises:
        BundleError: there is no such bundle, code unknown_bundle.
        OptionError: an option does not suit the bundle.
        InputError: the key of the request is no key.
    """
    info = parts.catalogue.known(asked.wish.bundle)
    params = check_params(info, asked.wish.params)
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= 255 and key.isascii() and key.isprintable()):
        raise InputError("an Idempotency-Key has 1 to 255 printable characters of ASCII", code="bad_request")
    wish = asked.wish.model_dump(mode="json", by_alias=True)
    said = json.dumps([wish, [[one.role, one.sha256] for one in asked.files]], sort_keys=True)
    trace = telemetry.traceparent() or request.headers.get("traceparent", "")
    return NewJob(
        owner=caller.owner,
        inputs=asked.files,
        bundle=info.name,
        bundle_version=info.version,
        params=params,
        priority=asked.wish.priority,
        deadline=asked.wish.deadline,
        max_attempts=parts.settings.max_attempts,
        tags=asked.wish.tags,
        idem_key=key,
        request_hash=hashlib.sha256(said.encode()).hexdigest() if key is not None else None,
        trace=trace if TRACE.fullmatch(trace) else None,
        study=asked.study,
    )


async def submitted(request: Request, parts: Services, caller: Caller) -> Job:
    """Take a request and put its job into the queue.

    Raises:
        ClarivoxError: it is refused, or its files are.
        RequestValidationError: a value is not as the schema says.
    """
    asked = await receive(request, parts, caller)
    new = await run_in_threadpool(new_job, asked, parts, caller, request)
    job, _ = await run_in_threadpool(parts.ledger.submit, new, has=parts.blobs.has)
    if asked.deliver:  # who asks gets no answer before this is noted, too, and asks again by the same key
        await run_in_threadpool(Outbox(parts.ledger.database).add, job.id, asked.deliver)
    return job
