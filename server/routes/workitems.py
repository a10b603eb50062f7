# SPDX-License-Identifier: Apache-2.0
"""UPS-RS: the worklist of this server's jobs, and of what others put there (PS3.18 chapter 11)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from clarivox.errors import ConflictError, FormatError
from clarivox.server import dicom_answers, media_types, workitem_view
from clarivox.server import workitem_words as words
from clarivox.server.auth import Inferer, Reader
from clarivox.server.deps import Parts
from clarivox.server.dicom_deps import ROOT, Wanted, root
from clarivox.server.dicom_query import MOST_RESULTS, Query, query_of
from clarivox.server.intake import small_body
from clarivox.server.job import new_id
from clarivox.server.media_types import JSON
from clarivox.server.problems import responses
from clarivox.server.workitem_words import Dataset, Step
from clarivox.server.worklist import MODIFIED

router = APIRouter(prefix=ROOT + "/workitems", tags=["worklist"])

_BODY = {"type": "object", "additionalProperties": {"type": "object"}}
_FUZZY = "The fuzzymatching parameter is not supported. Only literal matching has been performed."
_ASKED = ("00741000", "00741200", "00741204", "00404005", "00404041")
"""What a new work item should say; we say it where its client does not."""


def described(*refusals: int, status: int = 200, body: bool = False, gives: bool = False) -> dict[str, Any]:
    """What a route documents."""
    content = {JSON: {"schema": {"type": "array", "items": {"type": "object"}}}} if gives else None
    found: dict[str, Any] = {"description": "Done; Warning has what is to be known."}
    extra: dict[str, Any] = {}
    if content is not None:
        found = {"description": "Data sets.", "content": {**content, "application/json": content[JSON]}}
    if body:
        extra["requestBody"] = {"content": {JSON: {"schema": _BODY}, "application/json": {"schema": _BODY}}}
    return {
        "response_class": Response,
        "status_code": status,
        "responses": {status: found, **responses(*refusals)},
        "openapi_extra": extra,
    }


async def data_set(request: Request) -> Dataset:
    """The body of a request; an empty one says nothing.

    Raises:
        FormatError: it is not DICOM JSON, code unsupported_media.
        InputError: it cannot be understood, code bad_workitem.
    """
    body = await small_body(request)
    if not body:
        return {}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (JSON, "application/json"):
        raise FormatError(f"a work item is sent as {JSON}", code="unsupported_media")
    return words.dataset_of(body)


Sent = Annotated[Dataset, Depends(data_set)]


def warning(request: Request, text: str) -> dict[str, str]:
    """The header Warning as PS3.18 writes it; none for an empty text."""
    return {"Warning": f"299 {root(request)}: {text}"} if text else {}


@contextmanager
def told(request: Request) -> Iterator[None]:
    """A conflict is told in the header Warning too, where the standard looks for it."""
    try:
        yield
    except ConflictError as error:
        if error.code == "workitem_state":
            request.state.problem_headers = warning(request, str(error))
        raise


def uid_in(request: Request, name: str) -> str:
    """A UID of the query: by its name, or, as some clients send it, as the whole query."""
    query = request.query_params
    found = query.get(name) or next((key for key, value in query.items() if not value and words.UID.fullmatch(key)), "")
    if found and not words.UID.fullmatch(found):
        raise words.bad(f"{name} is a UID")
    return found


def completed(said: Dataset, now: str) -> Dataset:
    """A new work item with all that one must say.

    Raises:
        InputError: what it says cannot be so, code bad_workitem.
    """
    ours = {
        words.STATE: words.element("CS", Step.SCHEDULED.value),
        words.PRIORITY: words.element("CS", "MEDIUM"),
        words.LABEL: words.element("LO", "work item"),
        words.WORKLIST: words.element("LO", "clarivox"),
        words.START: words.element("DT", now),
        words.READINESS: words.element("CS", "READY"),
        words.CODES: words.element("SQ"),
        words.INPUTS: words.element("SQ"),
    }
    full = {**said, **{tag: one for tag, one in ours.items() if not words.values(said, tag)}}
    for tag, known in (
        (words.STATE, [Step.SCHEDULED.value]),
        (words.PRIORITY, list(words.PRIORITIES)),
        (words.READINESS, list(words.READY)),
    ):
        if words.text(full, tag) not in known:
            raise words.bad(f"{tag} of a new work item is {' or '.join(known)}")
    if words.text(full, words.SOP_CLASS) not in ("", words.PUSH) or words.values(full, words.TRANSACTION):
        raise words.bad(f"a new work item is of the SOP class {words.PUSH}, and has no Transaction UID")
    full[words.CHANGED] = words.element("DT", now)
    full[words.SOP_CLASS] = words.element("UI", words.PUSH)
    full.pop(words.TRANSACTION, None)
    return full


@router.post("", operation_id="create_workitem", **described(400, 409, 415, 429, status=201, body=True))
def create(request: Request, parts: Parts, caller: Inferer, said: Sent) -> Response:
    """Put a work item on the list. Where it names a bundle of ours and one series that is here, it becomes a job."""
    uid = words.text(said, words.SOP_INSTANCE)
    asked = uid_in(request, "workitem")
    if uid and (asked not in ("", uid) or not words.UID.fullmatch(uid)):
        raise words.bad("the address and the data set name one and the same UID")
    uid = asked or uid or words.uid_of(new_id())
    with parts.ledger.database.read() as connection:
        now = words.time_of(parts.ledger.database.now(connection))
    full = {**completed(said, now), words.SOP_INSTANCE: words.element("UI", uid)}
    new, deliver = workitem_view.asked_job(parts, caller, request, full) or (None, ())
    item = parts.worklist.create(caller.owner, uid, full, new, parts.blobs.has, deliver)
    where = f"{root(request)}/workitems/{item.uid}"
    changed = any(not words.values(said, tag) for tag in _ASKED)
    headers = warning(request, MODIFIED.format("created") if changed else "")
    return Response(status_code=201, headers={"Location": where, "Content-Location": where, **headers})


@router.get("", operation_id="search_workitems", **described(400, 406, gives=True))
def search(request: Request, parts: Parts, caller: Reader, accept: Wanted) -> Response:
    """Work items, the newest first; any attribute by keyword or tag, as in a search for series."""
    type_ = media_types.json_type(accept)
    query = query_of(request.query_params.multi_items())
    found = _searched(request, parts, caller.sees, query)
    kept = list(islice(found, query.offset, query.offset + query.limit))
    warnings = [_FUZZY] if query.fuzzy else []
    if len(kept) == MOST_RESULTS and next(found, None) is not None:
        warnings.append("There are additional results that can be requested.")
    return dicom_answers.listed(kept, type_, warnings)


def _searched(request: Request, parts: Parts, sees: str | None, query: Query) -> Iterator[Dataset]:
    series = query.everything or bool(query.tags & workitem_view.SERIES)
    steps = [Step(one.value) for one in query.matches if one.tags == (words.STATE,) and one.value in set(Step)]
    for item in parts.worklist.items(sees, steps):
        dataset = workitem_view.shown(parts, item, root(request), series=series)
        if query.fits(dataset.get):
            yield dict(sorted(dataset.items()))


@router.get("/{workitem}", operation_id="retrieve_workitem", **described(404, 406, gives=True))
def retrieve(request: Request, parts: Parts, caller: Reader, accept: Wanted, workitem: str) -> Response:
    """A work item, with the series that its job read and made; never its Transaction UID."""
    type_ = media_types.json_type(accept)
    item = parts.worklist.find(workitem, caller.sees)
    dataset = workitem_view.shown(parts, item, root(request), series=True)
    return dicom_answers.listed([dict(sorted(dataset.items()))], type_)


@router.post("/{workitem}", operation_id="update_workitem", **described(400, 404, 409, 415, body=True))
def update(request: Request, parts: Parts, caller: Inferer, said: Sent, workitem: str) -> Response:
    """Change a work item that no job of ours does; a claimed one with the `transaction-uid` of its claim."""
    transaction = uid_in(request, "transaction-uid") or words.text(said, words.TRANSACTION)
    with told(request):
        text = parts.worklist.update(workitem, caller.sees, said, transaction)
    return Response(status_code=200, headers=warning(request, text))


@router.put("/{workitem}/state", operation_id="change_workitem_state", **described(400, 404, 409, 415, body=True))
def change(request: Request, parts: Parts, caller: Inferer, said: Sent, workitem: str) -> Response:
    """Claim a work item (IN PROGRESS), or end it as COMPLETED or CANCELED; jobs of ours are done by this server."""
    wanted = words.text(said, words.STATE)
    if wanted not in set(Step):
        raise words.bad(f"{words.STATE} is IN PROGRESS, COMPLETED or CANCELED")
    with told(request):
        text = parts.worklist.change(workitem, caller.sees, Step(wanted), words.text(said, words.TRANSACTION))
    return Response(status_code=200, headers=warning(request, text))


@router.post(
    "/{workitem}/cancelrequest",
    operation_id="cancel_workitem",
    **described(400, 404, 409, 415, status=202, body=True),
)
def cancel(request: Request, parts: Parts, caller: Inferer, said: Sent, workitem: str) -> Response:
    """Ask that a work item be cancelled: a job is; another's performer hears of it."""
    with told(request):
        text = parts.worklist.cancel(workitem, caller.sees, said)
    return Response(status_code=202, headers=warning(request, text))
