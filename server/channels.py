# SPDX-License-Identifier: Apache-2.0
"""The open channels of UPS-RS: one look at the histories for all of them, none while there is none."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool

from clarivox.errors import BusyError
from clarivox.server.job import Event
from clarivox.server.subscriptions import Cursor, Subscriptions, reports, wants
from clarivox.server.worklist import Item

POLL_S = 0.2
HELD = 1000
"""Reports that wait for a slow reader; its channel is closed then."""


@dataclass(eq=False)
class Channel:
    """One connection of a subscriber."""

    owner: str
    sees: str | None
    aetitle: str
    waiting: asyncio.Queue[str | None] = field(default_factory=lambda: asyncio.Queue(HELD))
    """Reports; None where the channel is to be closed."""
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))


class Channels:
    """Gives each open channel the reports that it has subscribed to.

    Args:
        subscriptions: says who hears what.
        stopping: whether the server stops; every channel ends then.
    """

    def __init__(self, subscriptions: Subscriptions, stopping: Callable[[], bool]) -> None:
        self.subscriptions, self._stopping = subscriptions, stopping
        self._open: list[Channel] = []
        self._task: asyncio.Task[None] | None = None
        self._cursor = Cursor(0, 0)
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def channel(self, owner: str, sees: str | None, aetitle: str) -> AsyncIterator[Channel]:
        """A channel while the block lasts; it misses nothing that happens after this gave it."""
        made = Channel(owner, sees, aetitle)
        async with self._lock:
            if self._task is None or self._task.done():
                self._cursor = await run_in_threadpool(self.subscriptions.now)
                self._open.append(made)
                self._task = asyncio.create_task(self._poll())
            else:
                self._open.append(made)
        try:
            yield made
        finally:
            self._open.remove(made)

    async def _poll(self) -> None:
        while self._open:
            if self._stopping():
                for one in self._open:
                    _put(one, None)
            else:
                with suppress(BusyError):
                    told = await run_in_threadpool(self._turn, tuple(self._open))
                    for channel, report in told:
                        _put(channel, report)
            await asyncio.sleep(POLL_S)

    def _turn(self, channels: tuple[Channel, ...]) -> list[tuple[Channel, str]]:
        """The reports of what happened since the last turn, for each channel in their order."""
        news, self._cursor = self.subscriptions.news(self._cursor)
        if not news:
            return []
        wishes = {one: self.subscriptions.of(one.owner, one.aetitle) for one in channels}
        found: list[tuple[Channel, str]] = []
        for history, number, event, only in news:
            item = self.subscriptions.worklist.by_id(event.job_id)
            if item is None:
                continue
            for one in channels:
                seen = one.sees in (None, item.owner) and only in (None, one.aetitle)
                if seen and wants(wishes[one], item, history, number):
                    found += [(one, report) for report in self._said(one, item, history, event)]
        return found

    def _said(self, channel: Channel, item: Item, history: str, event: Event) -> list[str]:
        seal = self.subscriptions.worklist.seal
        numbered = []
        for report in reports(item, history, event, seal):
            report["00000110"] = {"vr": "US", "Value": [next(channel.numbers) % 65536]}
            numbered.append(json.dumps(dict(sorted(report.items())), separators=(",", ":")))
        return numbered

    async def close(self) -> None:
        """End the polling."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task


def _put(channel: Channel, report: str | None) -> None:
    try:
        channel.waiting.put_nowait(report)
    except asyncio.QueueFull:
        while not channel.waiting.empty():
            channel.waiting.get_nowait()
        channel.waiting.put_nowait(None)
