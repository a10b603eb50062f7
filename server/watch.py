# SPDX-License-Identifier: Apache-2.0
"""Waiting for jobs to change: one query a turn for all who wait, none while nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress

from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from clarivox.errors import BusyError
from clarivox.server.job import Job
from clarivox.server.ledger import Ledger
from clarivox.server.tables import job

POLL_S = 0.05
SLOW_S = 0.5
"""How often the database is asked while it does not answer."""


class Watch:
    """Tells coroutines that a job changed, whichever process changed it.

    Args:
        ledger: where the jobs are.
        stopping: whether the server stops; every wait ends then.
    """

    def __init__(self, ledger: Ledger, stopping: Callable[[], bool]) -> None:
        self._ledger, self._stopping = ledger, stopping
        self._waiting: dict[str, dict[asyncio.Future[None], int]] = {}
        self._task: asyncio.Task[None] | None = None

    async def changed(self, job_id: str, seq: int, timeout_s: float) -> bool:
        """Wait until a job is no longer at a change number, or the time is over; whether it moved."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job_id, {})[future] = seq
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            async with asyncio.timeout(timeout_s):
                await future
            return not self._stopping()
        except TimeoutError:
            return False
        finally:
            waiting = self._waiting.get(job_id, {})
            waiting.pop(future, None)
            if not waiting:
                self._waiting.pop(job_id, None)

    async def ended(self, found: Job, timeout_s: float) -> Job:
        """Wait until a job has ended, the time is over, or the server stops; how it stands then."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while not found.ended and not self._stopping() and (left := until - loop.time()) > 0:
            await self.changed(found.id, found.seq, left)
            found = await run_in_threadpool(self._ledger.get, found.id)
        return found

    async def _poll(self) -> None:
        while self._waiting:
            pause = POLL_S
            if self._stopping():
                seqs = dict.fromkeys(self._waiting, -1)
            else:
                try:
                    seqs = await run_in_threadpool(seqs_of, self._ledger, tuple(self._waiting))
                except BusyError:
                    seqs, pause = {}, SLOW_S
            for job_id, waiting in list(self._waiting.items()):
                for future, seq in list(waiting.items()):
                    if seqs.get(job_id, seq) != seq and not future.done():
                        future.set_result(None)
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """End the polling."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task


def seqs_of(ledger: Ledger, job_ids: Collection[str]) -> dict[str, int]:
    """The change number of each job."""
    with ledger.database.read() as connection:
        rows = connection.execute(select(job.c.id, job.c.seq).where(job.c.id.in_(job_ids)))
        return {str(row.id): int(row.seq) for row in rows}
