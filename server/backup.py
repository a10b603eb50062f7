# SPDX-License-Identifier: Apache-2.0
"""A copy of all that a server knows, taken while it works, and the way back; from either database into either.

FOLDER/backup.json         what it holds
FOLDER/tables/NAME.jsonl   the rows of each table
FOLDER/blobs/ab/SHA256     the files that jobs and images use
FOLDER/data/…              what else lies in the data folder: the audit log, keys, trained bundles
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, MetaData, Table, func, insert, select, text, update

from clarivox import __version__
from clarivox.errors import ConflictError, FormatError, InputError, OutputError
from clarivox.server import retention, transitions
from clarivox.server.blobs import Blobs
from clarivox.server.dialects import Database
from clarivox.server.job import ENDED, State
from clarivox.server.migrations.steps import migrate, step_of
from clarivox.server.settings import Settings
from clarivox.server.tables import blob_use, job, job_event
from clarivox.server.writing import sync_folder

FORMAT = 1
ROWS = 500
"""Rows of one INSERT."""
PASSING = frozenset({"alembic_version", "clock", "worker", "blob_loose"})
"""Tables that say nothing once the server was moved or started anew."""
LEFT_OUT = frozenset({"blobs", "tmp", "work", "log", "reserve", "ledger.sqlite"})
"""What of the data folder is not copied to `data`."""


@dataclass(frozen=True)
class Backup:
    """What a backup holds."""

    format: int
    version: str
    """Of the clarivox that made it."""
    step: str
    """Of its tables."""
    taken: float
    rows: dict[str, int]
    """Number of rows of each table."""
    files: int
    missing: tuple[str, ...] = ()
    """Files (sha256) that were deleted, or lost, while it was taken; their jobs will come back as purged."""


def backup(settings: Settings, target: Path) -> Backup:
    """Copy a server's data while it works.

    Args:
        settings: of the server.
        target: a folder that is made; where the disk is the same, files are links and take no room.

    Raises:
        OutputError: the folder exists already, code output_exists.
        BusyError: the database does not answer.
        CapacityError: the disk is full.
    """
    if target.exists():
        raise OutputError(f"{target} exists already; name a new folder", code="output_exists")
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    for folder in ("tables", "blobs", "data"):
        (part / folder).mkdir(parents=True, mode=0o700)
    rows, step, used = dump(settings.ledger_url, part / "tables")
    store = settings.data_dir / "blobs"
    missing = tuple(sha256 for sha256 in sorted(used) if not linked(store, part / "blobs", sha256))
    copy_rest(settings.data_dir, part / "data")
    made = Backup(FORMAT, __version__, step, time.time(), rows, len(used) - len(missing), missing)
    (part / "backup.json").write_text(json.dumps(asdict(made), indent=1) + "\n", encoding="utf-8")
    for path in part.rglob("*"):
        sync(path)
    part.rename(target)
    sync_folder(target.absolute().parent)
    return made


def dump(url: str, folder: Path) -> tuple[dict[str, int], str, set[str]]:
    """Write the rows of all tables, as they are at one moment: how many of each, their step, the files in use."""
    rows: dict[str, int] = {}
    with still(url) as connection:
        tables = MetaData()
        tables.reflect(connection)
        for table in tables.sorted_tables:
            if table.name in PASSING:
                continue
            rows[table.name] = 0
            with (folder / f"{table.name}.jsonl").open("w", encoding="utf-8") as file:
                for row in connection.execute(select(table).execution_options(yield_per=ROWS)).mappings():
                    file.write(json.dumps(dict(row)) + "\n")
                    rows[table.name] += 1
        used = set(connection.scalars(select(blob_use.c.sha256).distinct()))
        return rows, step_of(connection) or "", used


@contextmanager
def still(url: str) -> Iterator[Connection]:
    """The database as it is at one moment, for as long as the block takes, without keeping writers waiting."""
    database = Database(url)
    try:
        if not database.sqlite:
            with database.read() as connection:
                connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
                yield connection
            return
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "ledger.sqlite"
            copy_sqlite(Path(database.engine.url.database or ""), copy)
            copied = Database(f"sqlite:///{copy}")
            try:
                with copied.read() as connection:
                    yield connection
            finally:
                copied.close()
    finally:
        database.close()


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a database that others write to."""
    with closing(sqlite3.connect(source, timeout=30)) as live, closing(sqlite3.connect(target)) as made:
        live.backup(made)


def linked(store: Path, target: Path, sha256: str) -> bool:
    """Put a file of the store into the backup; False where it is not there any more."""
    source, to = store / sha256[:2] / sha256, target / sha256[:2] / sha256
    to.parent.mkdir(exist_ok=True, mode=0o700)
    try:
        os.link(source, to)
    except FileNotFoundError:
        return False
    except OSError:  # another disk, or one that knows no links
        try:
            shutil.copyfile(source, to)
        except FileNotFoundError:
            to.unlink(missing_ok=True)
            return False
    return True


def copy_rest(data: Path, target: Path) -> None:
    """Copy what else the data folder holds."""
    for path in data.iterdir():
        if path.name in LEFT_OUT or path.name.startswith("ledger.sqlite"):
            continue
        if path.is_dir():
            shutil.copytree(path, target / path.name)
        elif path.is_file():
            shutil.copy2(path, target / path.name)


def sync(path: Path) -> None:
    """Make a file or folder durable."""
    if path.is_dir():
        sync_folder(path)
    elif path.is_file():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def read_backup(source: Path) -> Backup:
    """What a backup says that it holds.

    Raises:
        FormatError: the folder is no backup, or of a newer clarivox; code no_backup.
    """
    try:
        said = json.loads((source / "backup.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise FormatError(f"{source} is no backup: it has no readable backup.json", code="no_backup") from None
    if said.get("format") != FORMAT:
        raise FormatError(f"{source} is a backup of another clarivox, {said.get('version')}", code="no_backup")
    return Backup(**(said | {"missing": tuple(said["missing"])}))


def restore(source: Path, settings: Settings) -> Backup:
    """Bring a backup back, into a data folder and a database that hold nothing yet.

    Jobs that ran when it was taken are in the queue again; jobs whose files are missing or damaged are purged.

    Returns:
        What the backup holds; `missing` names also the files that turned out damaged.

    Raises:
        FormatError: the folder is no backup, code no_backup.
        ConflictError: there is a ledger already, code not_empty; or it is of a newer clarivox, code newer_ledger.
        CapacityError: the disk is full.
    """
    said = read_backup(source)
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = Database(settings.ledger_url)
    try:
        with database.read() as connection:
            if step_of(connection) is not None and connection.scalar(select(func.count()).select_from(job)):
                raise ConflictError("there are jobs already; restore into an empty data folder", code="not_empty")
        blobs = Blobs(settings.data_dir, settings)
        damaged = {path.name for path in Blobs.files_of(source / "blobs") if not stored(blobs, path)}
        shutil.copytree(source / "data", settings.data_dir, dirs_exist_ok=True)
        migrate(database, to=said.step)
        with database.write(alone=True) as connection:
            load(connection, source / "tables")
            connection.execute(update(job).where(job.c.state == State.RUNNING.value).values(lease_until=0.0))
        migrate(database)
        missing = tuple(sorted(damaged | set(said.missing)))
        without(database, settings, missing)
        retention.reap(database, settings)
    finally:
        database.close()
    return Backup(**(asdict(said) | {"missing": missing, "files": said.files - len(damaged)}))


def stored(blobs: Blobs, path: Path) -> bool:
    """Store a file of a backup, if it is what its name says."""
    try:
        with path.open("rb") as source, blobs.writer() as writer:
            while piece := source.read(1 << 20):
                writer.write(piece)
            writer.commit(path.name)
    except InputError:
        return False
    return True


def load(connection: Connection, folder: Path) -> None:
    """Insert the rows of all tables."""
    tables = MetaData()
    tables.reflect(connection)
    for path in sorted(folder.glob("*.jsonl")):
        table = tables.tables[path.stem]
        connection.execute(table.delete())
        with path.open(encoding="utf-8") as lines:
            for rows in batches(lines):
                connection.execute(insert(table), rows)
    if connection.dialect.name == "postgresql":
        follow(connection, job_event)


def batches(lines: Iterator[str]) -> Iterator[list[dict[str, Any]]]:
    """Rows in handfuls.

    >>> [len(rows) for rows in batches(iter(["{}"] * 1100))]
    [500, 500, 100]
    """
    rows: list[dict[str, Any]] = []
    for line in lines:
        rows.append(json.loads(line))
        if len(rows) == ROWS:
            yield rows
            rows = []
    if rows:
        yield rows


def follow(connection: Connection, table: Table) -> None:
    """Let a table's numbers go on after the highest that was brought back."""
    highest = connection.scalar(select(func.max(table.c.seq)))
    if highest is not None:
        sequence = func.pg_get_serial_sequence(table.name, "seq")
        connection.execute(select(func.setval(sequence, highest)))


def without(database: Database, settings: Settings, missing: tuple[str, ...]) -> None:
    """Bring the jobs to an end that cannot go on, for a file of theirs is missing."""
    with database.write(alone=True) as connection:
        now = database.now(connection)
        users = connection.scalars(select(blob_use.c.user).where(blob_use.c.sha256.in_(missing)).distinct())
        for user in list(users):
            kind, _, job_id = user.partition(":")
            row = transitions.locked(connection, job_id) if kind == "job" else None
            if row is not None and row["state"] in ENDED:
                retention.purge_job(database, connection, row, now)
            elif row is not None:
                said = transitions.failure("files_missing", "A file is missing", "it was not in the backup", 410)
                transitions.end(database, connection, row, State.FAILED, now, settings, error=said)
