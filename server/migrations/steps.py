# SPDX-License-Identifier: Apache-2.0
"""Bringing the tables of a ledger up to date, in one transaction, one process at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, inspect, text

from clarivox.errors import ConflictError, ServiceError
from clarivox.server.dialects import Database

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

HEAD = "0004"
"""The newest step; a test compares it with the folder `versions`."""


def migrate(database: Database, *, check: bool = True, to: str = HEAD) -> None:
    """Bring a ledger to the newest step, or to the one named; tables that are up to date cost one query.

    Raises:
        ConflictError: it was made by a newer clarivox.
        ServiceError: its file is damaged.
    """
    if check and database.sqlite:
        check_file(database)
    with database.read() as connection:
        if step_of(connection) == to:
            return
    with database.write(alone=True) as connection:
        found = step_of(connection)
        steps = scripts()
        if found is not None and found not in {one.revision for one in steps.walk_revisions()}:
            said = f"the ledger is of a newer clarivox (its step is {found}); install that, or restore a backup"
            raise ConflictError(said, code="newer_ledger")
        if found != to:
            run(connection, steps, to)


def step_of(connection: Connection) -> str | None:
    """The step that the tables are at; None where there are none yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)


def scripts() -> ScriptDirectory:
    """The steps that this clarivox knows."""
    from alembic.script import ScriptDirectory

    folder = Path(__file__).parent
    return ScriptDirectory(folder, version_locations=[str(folder / "versions")])


def run(connection: Connection, steps: ScriptDirectory, to: str) -> None:
    """Take the steps, within the transaction of the connection."""
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext

    def wanted(revision: Any, _context: Any) -> Any:
        return steps._upgrade_revs(to, revision)

    with EnvironmentContext(Config(), steps, fn=wanted, destination_rev=to) as environment:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()


def check_file(database: Database) -> None:
    """Look whether SQLite's file is whole.

    Raises:
        ServiceError: it is not.
    """
    with database.read() as connection:
        found = connection.scalar(text("PRAGMA quick_check(1)"))
    if found != "ok":
        raise ServiceError("the ledger is damaged; stop the server and restore a backup", code="ledger_damaged")
