# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL of one's own for a test run: a new cluster in a temporary folder, on a socket there, gone at the end.

Mostly without fsync: what the tests look at is whether we use it rightly, not whether it survives a power cut.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WHY_NOT = "PostgreSQL is not installed (Debian: apt-get install postgresql)"


def programs() -> Path | None:
    """The folder of the newest initdb and pg_ctl, or None."""
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    folders.sort(key=lambda path: float(path.parent.name))
    found = shutil.which("initdb")
    if found and (Path(found).resolve().parent / "pg_ctl").exists():
        folders.insert(0, Path(found).resolve().parent)
    return folders[-1] if folders else None


def user() -> str | None:
    """Who runs it: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    return (
        "postgres" if subprocess.run(["id", "postgres"], capture_output=True, check=False).returncode == 0 else "nobody"
    )


class Cluster:
    """A running server; `database()` makes an empty database and gives its address."""

    def __init__(self, folder: Path, bin_: Path, *, durable: bool = False) -> None:
        self.folder, self.bin, self.made, self.durable = folder, bin_, 0, durable
        if user():
            shutil.chown(folder, user())
        self.run("initdb", "-D", folder / "data", "-U", "clarivox", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.start()

    def run(self, program: str, *words: object) -> None:
        subprocess.run(
            [self.bin / program, *(str(word) for word in words)],
            user=user(),
            check=True,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def start(self) -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder} -c max_connections=200"
        options += "" if self.durable else " -c fsync=off"
        log = self.folder / "log"
        self.run("pg_ctl", "-D", self.folder / "data", "-w", "-t", "60", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "-w", "stop")

    def database(self) -> str:
        """The address of a new, empty database."""
        self.made += 1
        name = f"clarivox_{self.made}"
        self.run("createdb", "-h", self.folder, "-U", "clarivox", name)
        return f"postgresql+psycopg://clarivox@/{name}?host={self.folder}"


@contextmanager
def cluster(*, durable: bool = False) -> Iterator[Cluster]:
    """A cluster for the time of a block; ask `programs()` first whether there can be one.

    Args:
        durable: with fsync, for what is timed.
    """
    found = programs()
    if found is None:
        raise RuntimeError(WHY_NOT)
    with tempfile.TemporaryDirectory(prefix="clarivox-pg-", ignore_cleanup_errors=True) as folder:
        made = Cluster(Path(folder), found, durable=durable)
        try:
            yield made
        finally:
            made.stop()
