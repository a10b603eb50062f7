# SPDX-License-Identifier: Apache-2.0
"""UPS-RS: subscriptions to work items, and the channel that reports come by (PS3.18 11.10 to 11.12, 8.10.4)."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response, WebSocket, WebSocketDisconnect

from clarivox.server import workitem_words as words
from clarivox.server.auth import Caller, Reader, Scope
from clarivox.server.channels import Channel
from clarivox.server.deps import Parts, Services
from clarivox.server.dicom_deps import ROOT, root
from clarivox.server.routes.workitems import described, warning
from clarivox.server.worklist import no_such_workitem

router = APIRouter(tags=["worklist"])

_AE = re.compile(r"(?! *$)[ !-\[\]-~]{1,16}")
Title = Annotated[str, Path(description="Application entity title.", min_length=1, max_length=16)]
_LOCK = "Deletion Lock not granted."
_SUBSCRIBERS = ROOT + "/workitems/{workitem}/subscribers/{aetitle}"


def title(text: str) -> str:
    """An application entity title without what pads it.

    Raises:
        InputError: it is none, code bad_workitem.
    """
    if not _AE.fullmatch(text):
        raise words.bad("an application entity title has 1 to 16 characters of ASCII and no backslash")
    return text.strip()


def filters(request: Request) -> list[tuple[str, str]]:
    """The search of a filtered subscription: `filter=A=1,B=2`, or each attribute as a parameter."""
    found = []
    for name, value in request.query_params.multi_items():
        if name == "filter":
            found += [(key, wanted) for key, _, wanted in (one.partition("=") for one in value.split(","))]
        elif name not in ("deletionlock", "accept"):
            found.append((name, value))
    return found


@router.post(_SUBSCRIBERS, operation_id="subscribe_workitem", **described(400, 404, status=201))
def subscribe(request: Request, parts: Parts, caller: Reader, workitem: str, aetitle: Title) -> Response:
    """Hear of a work item, of all (1.2.840.10008.5.1.4.34.5), or of those that fit a search (….34.5.1)."""
    lock = request.query_params.get("deletionlock", "false")
    if lock not in ("true", "false"):
        raise words.bad("deletionlock is true or false")
    pairs = filters(request) if workitem == words.FILTERED else []
    parts.channels.subscriptions.add(caller.owner, caller.sees, title(aetitle), workitem, pairs)
    where = re.sub("^http", "ws", root(request)) + f"/subscribers/{title(aetitle)}"
    headers = warning(request, _LOCK if lock == "true" else "")
    return Response(status_code=201, headers={"Content-Location": where.replace(" ", "%20"), **headers})


@router.delete(_SUBSCRIBERS, operation_id="unsubscribe_workitem", **described(400, 404))
def unsubscribe(parts: Parts, caller: Reader, workitem: str, aetitle: Title) -> Response:
    """Hear no more of a work item; from the whole worklist: of anything."""
    parts.channels.subscriptions.remove(caller.owner, caller.sees, title(aetitle), workitem)
    return Response(status_code=200)


@router.post(_SUBSCRIBERS + "/suspend", operation_id="suspend_worklist", **described(400, 404))
def suspend(parts: Parts, caller: Reader, workitem: str, aetitle: Title) -> Response:
    """Hear of no work item that is yet to come; of those that there are, on."""
    if workitem not in (words.GLOBAL, words.FILTERED):
        raise no_such_workitem()
    parts.channels.subscriptions.suspend(caller.owner, title(aetitle), workitem)
    return Response(status_code=200)


@router.websocket(ROOT + "/subscribers/{aetitle}")
async def channel(socket: WebSocket, aetitle: str) -> None:
    """The reports of a subscriber, each a data set of DICOM JSON, for as long as it stays connected."""
    parts: Services = socket.app.state.services
    caller: Caller = socket.scope["state"]["caller"]
    if not caller.may(Scope.READ) or not _AE.fullmatch(aetitle):
        await socket.close(1008)
        return
    async with parts.channels.channel(caller.owner, caller.sees, aetitle.strip()) as made:
        await socket.accept()
        sender = asyncio.create_task(_send(socket, made))
        listener = asyncio.create_task(_left(socket))
        await asyncio.wait([listener, sender], return_when=asyncio.FIRST_COMPLETED)
        for task in (listener, sender):
            task.cancel()
            with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await task


async def _left(socket: WebSocket) -> None:
    """Wait until the subscriber is gone; what it says until then is not listened to."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _send(socket: WebSocket, made: Channel) -> None:
    while (report := await made.waiting.get()) is not None:
        await socket.send_text(report)
    await socket.close(1012)
