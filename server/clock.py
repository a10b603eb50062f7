# SPDX-License-Identifier: Apache-2.0
"""Time for leases where one machine works on an SQLite ledger: it goes on evenly though the machine's clock be set."""

from __future__ import annotations

import time
from pathlib import Path

from sqlalchemy import Connection, insert, select, update

from clarivox.server.job import State
from clarivox.server.tables import clock, job

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def wall() -> float:
    """The machine's clock, seconds since 1970."""
    return time.time()


def uptime() -> float | None:
    """Seconds since the machine was started, the same in all its processes; None where the system does not say."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot() -> str | None:
    """A name for the time since the machine was started; None where the system does not say."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return None


class Steady:
    """The seconds since 1970 at the first use after the machine's start, and from then on its uptime."""

    def __init__(self) -> None:
        self._boot = boot()
        self._offset: float | None = None

    def now(self, connection: Connection) -> float:
        """The time, of which all processes of this machine read the same; the wall's before one has settled it."""
        since = uptime()
        if self._offset is None:
            self.known(connection)
        return wall() if self._offset is None or since is None else since + self._offset

    def known(self, connection: Connection) -> bool:
        """Whether no process need write down the offset."""
        if self._boot is None or uptime() is None:
            return True
        self._offset = connection.scalar(select(clock.c.offset).where(clock.c.boot == self._boot))
        return self._offset is not None

    def settle(self, connection: Connection) -> None:
        """Write the offset down, if no other process since the machine's start has."""
        since = uptime()
        if self.known(connection) or since is None:
            return
        connection.execute(insert(clock).values(boot=self._boot, offset=wall() - since))
        # Whoever held a lease before the start of the machine is gone, and its end was told by another clock.
        connection.execute(update(job).where(job.c.state == State.RUNNING.value).values(lease_until=0.0))
