# SPDX-License-Identifier: Apache-2.0
"""What differs between SQLite and PostgreSQL: how a transaction begins, what time it is, which row is locked."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, ExceptionContext, Table, create_engine, event, exc, make_url, text
from sqlalchemy.dialects import postgresql, sqlite

from clarivox.errors import BusyError, CapacityError, ClarivoxError, OptionError, ServiceError
from clarivox.server.clock import Steady, wall

WAL_FROM = (3, 51, 3)
"""Before it, two connections that write and checkpoint at one instant could damage the file (sqlite.org/wal.html)."""
BUSY_MS = 30_000
CACHE_KIB = 256
"""Pages of the file that a connection keeps in memory. The system keeps them, too, and there are many connections."""
LOOK_S = 0.001
"""Between two looks for a lock of SQLite."""
IDLE_MS = 15_000
"""PostgreSQL takes its locks from a process that stops for so long in the middle of a transaction."""
IDLE_STATE = "25P03"
CONNECT_S = 5
ADMISSION, EVENTS = 0x636C61726901, 0x636C61726902
"""Advisory locks of PostgreSQL: one submits or deletes files; one writes, or reads all, events."""


class Database:
    """Transactions on either database; errors of the driver become ours.

    >>> database = Database("sqlite://")
    >>> with database.read() as connection:
    ...     connection.scalar(text("SELECT 1"))
    1
    """

    def __init__(self, url: str, *, clock: Callable[[], float] | None = None) -> None:
        """Nothing is opened yet.

        Args:
            url: as SQLAlchemy has it, of SQLite or PostgreSQL.
            clock: gives the time; by default the machine's for SQLite, the database's own for PostgreSQL.

        Raises:
            OptionError: the address is of another database.
        """
        self.engine = _engine(url)
        self.sqlite = self.engine.dialect.name == "sqlite"
        self._clock = clock or (wall if self.sqlite else None)
        self._steady = Steady() if self.sqlite and clock is None else None
        self._writing = self.engine.execution_options(immediate=True)
        # Threads wait for each other here, where a wait ends at once; SQLite would look again now and then.
        self._lock = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads, and sees one state of things.

        Raises:
            BusyError: the database does not answer.
        """
        with _plain_errors(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self, *, alone: bool = False) -> Iterator[Connection]:
        """A transaction that may write; it ends with the block, whole or not at all.

        Args:
            alone: no other such transaction runs beside it. On SQLite no two writers ever do.

        Raises:
            BusyError: the database does not answer.
            CapacityError: the disk is full.
        """
        with _plain_errors(), self._turn(), self._writing.begin() as connection:
            if alone:
                self.alone(connection)
            yield connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self.sqlite and not self._lock.acquire(timeout=BUSY_MS / 1000):
            raise BusyError("the ledger's database does not answer; ask again", code="database_away")
        try:
            yield
        finally:
            if self.sqlite:
                self._lock.release()

    def alone(self, connection: Connection) -> None:
        """Wait until no other transaction runs alone, and keep others waiting until this one ends."""
        if not self.sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADMISSION})

    def now(self, connection: Connection) -> float:
        """Seconds since 1970, the same for all machines that work on this database."""
        if self._clock is not None:
            return self._clock()
        return float(connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())")))

    def settle(self) -> None:
        """Agree with the other processes of this machine on the time for leases; the tables must be there."""
        if self._steady is None:
            return
        with self.read() as connection:
            known = self._steady.known(connection)
        if not known:
            with self.write() as connection:
                self._steady.settle(connection)
            with self.read() as connection:
                self._steady.known(connection)

    def lease_now(self, connection: Connection) -> float:
        """The time for leases: on SQLite it goes on evenly though the machine's clock be set."""
        return self.now(connection) if self._steady is None else self._steady.now(connection)

    def events_begin(self, connection: Connection) -> None:
        """Before the first event of a transaction: who reads all events waits for its end, so as to miss none."""
        if not self.sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock_shared(:key)"), {"key": EVENTS})

    def events_settle(self, connection: Connection) -> None:
        """Before all events are read: wait for those whose number is given and whose row is not yet to be seen."""
        if not self.sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": EVENTS})

    def upsert(self, connection: Connection, table: Table, keys: Sequence[str], values: Mapping[str, Any]) -> None:
        """Insert a row, or set its values where one with these keys is there."""
        insert = (sqlite.insert if self.sqlite else postgresql.insert)(table).values(**values)
        rest = {name: value for name, value in values.items() if name not in keys}
        if rest:
            connection.execute(insert.on_conflict_do_update(index_elements=list(keys), set_=rest))
        else:
            connection.execute(insert.on_conflict_do_nothing(index_elements=list(keys)))

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def journal_mode(version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> str:
    """How SQLite keeps what it may have to undo.

    A rollback journal is truncated rather than deleted: with synchronous FULL the end of a transaction is then on disk,
    where the deletion of a file is not (that would need synchronous EXTRA, and one more fsync).

    >>> journal_mode((3, 40, 1)), journal_mode((3, 51, 3))
    ('TRUNCATE', 'WAL')
    """
    return "WAL" if version >= WAL_FROM else "TRUNCATE"


def _engine(url: str) -> Engine:
    address = make_url(url)
    kind = address.get_backend_name()
    if kind == "postgresql":
        if address.drivername == "postgresql":
            address = address.set(drivername="postgresql+psycopg")
        patience = _patience(address)
        pooled = {"pool_pre_ping": True, "pool_size": 8, "max_overflow": 32}
        engine = create_engine(address, hide_parameters=True, connect_args=patience, **pooled)
        event.listen(engine, "handle_error", _thrown_out)
        return engine
    if kind != "sqlite":
        raise OptionError(f"the ledger is kept in sqlite or postgresql; found {kind}", code="unknown_database")
    pool: dict[str, Any] = {} if address.database in (None, "", ":memory:") else {"pool_size": 8, "max_overflow": 32}
    engine = create_engine(address, hide_parameters=True, connect_args={"check_same_thread": False}, **pool)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _patience(address: URL) -> dict[str, Any]:
    """How long to wait for PostgreSQL, unless its address says so itself."""
    idle = f"-c idle_in_transaction_session_timeout={IDLE_MS} -c lock_timeout={BUSY_MS}"
    ours = {"connect_timeout": CONNECT_S, "tcp_user_timeout": BUSY_MS, "options": idle}
    return {name: value for name, value in ours.items() if name not in address.query}


def _thrown_out(context: ExceptionContext) -> None:
    # SQLAlchemy does not know this end of a connection, and would keep it.
    if getattr(context.original_exception, "sqlstate", None) == IDLE_STATE:
        context.is_disconnect = True


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver would begin transactions in its own way, late and without asking for the lock.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    connection.execute(f"PRAGMA journal_mode={journal_mode()}")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads before it writes would fail, not wait, where another wrote in between. SQLite looks for a
    # lock at growing intervals, up to a tenth of a second; looking often here keeps readers from waiting that long.
    immediate = connection.get_execution_options().get("immediate")
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        raise TypeError("the driver of SQLite is another than the standard library's")
    until = time.monotonic() + BUSY_MS / 1000
    driver.execute("PRAGMA busy_timeout=0")
    _begin_until(driver, "BEGIN IMMEDIATE" if immediate else "BEGIN", until)
    if not immediate:
        _begin_until(driver, "SELECT 1 FROM sqlite_schema LIMIT 1", until)
    driver.execute(f"PRAGMA busy_timeout={BUSY_MS}")


def _begin_until(driver: sqlite3.Connection, statement: str, until: float) -> None:
    """Run a statement as soon as its lock is free."""
    while True:
        try:
            driver.execute(statement).fetchall()
            return
        except sqlite3.OperationalError as error:
            _wait_or_raise(error, until)


def _wait_or_raise(error: sqlite3.OperationalError, until: float) -> None:
    busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    if not busy or time.monotonic() > until:
        raise error
    time.sleep(LOOK_S)


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except (exc.OperationalError, exc.DatabaseError, exc.TimeoutError, sqlite3.OperationalError) as error:
        plain = _plain(error)
        if plain is None:
            raise
        raise plain from error


def _plain(error: Exception) -> ClarivoxError | None:
    said = str(getattr(error, "orig", error)).lower()
    if "is full" in said or "no space left" in said or getattr(error.__dict__.get("orig"), "sqlstate", "") == "53100":
        return CapacityError("the disk of the ledger is full; free disk space", code="disk_full")
    if "malformed" in said or "not a database" in said:
        return ServiceError("the ledger is damaged; stop the server and restore a backup", code="ledger_damaged")
    lost = isinstance(error, exc.DBAPIError) and error.connection_invalidated
    if lost or isinstance(error, exc.OperationalError | exc.TimeoutError | sqlite3.OperationalError):
        return BusyError("the ledger's database does not answer; ask again", code="database_away")
    return None
