# SPDX-License-Identifier: Apache-2.0
"""A folder that is watched: what is put in goes to a server, and the result comes out beside, each once.

What became of each entry is kept in the output folder, so that a watch that was killed goes on where it was: the same
entry makes the same job however often it is sent. Names in the output are the user's own; nothing is logged but them.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clarivox.client import Client
from clarivox.errors import BusyError, ClarivoxError, OptionError, OutputError
from clarivox.io import atomic

STATE = ".clarivox-watch.json"
"""What became of each entry; in the output folder."""
RESULT, FAILED = "done", "failed"
TEMPORARY = (".part", ".tmp", ".crdownload", ".filepart", "~")
"""Endings of files that are still being written."""


@dataclass
class Entry:
    """A file or folder that was put into the watched one."""

    name: str
    mark: str
    """Digest of the names, sizes and times within: another mark is another entry."""
    state: str = "new"
    """new, sent, done or failed."""
    job: str = ""
    tries: int = 0
    """How often it was sent, ever: each time asks for another job."""
    before: int = 0
    """How many of those were before it was last let in anew."""
    code: str = ""
    words: str = ""


@dataclass
class Watch:
    """A watched folder.

    Args:
        client: of the server.
        folder: where studies are put: each file and each sub-folder is one.
        output: where results go; not within `folder`, so that nothing is enhanced twice.
        bundle: what enhances them.
        params: of each job.
        settle_s: how long an entry must stay the same before it is sent.
        tries: how often an entry is sent before it counts as failed.

    Raises:
        OptionError: the output lies within the watched folder, or the other way round.
        OutputError: what an earlier watch kept cannot be read.
    """

    client: Client
    folder: Path
    output: Path
    bundle: str
    params: Mapping[str, Any] = field(default_factory=dict)
    settle_s: float = 10.0
    tries: int = 3
    entries: dict[str, Entry] = field(default_factory=dict)
    _seen: dict[str, tuple[str, float]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        inside, out = self.folder.resolve(), self.output.resolve()
        if out.is_relative_to(inside) or inside.is_relative_to(out):
            raise OptionError("the output must not lie within the watched folder, nor the other way round")
        self.output.mkdir(parents=True, exist_ok=True)
        try:
            kept = json.loads((self.output / STATE).read_text(encoding="utf-8"))
            self.entries = {name: Entry(**one) for name, one in kept.items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError) as cause:
            raise OutputError(f"{STATE} in the output cannot be read; move it away to begin anew") from cause

    def look(self) -> Iterator[Entry]:
        """Work through all that has settled; gives each entry as it ends. Waits for nothing that is still written."""
        for path in sorted(self.folder.iterdir()):
            if path.name.startswith(".") or path.name.endswith(TEMPORARY):
                continue
            mark = mark_of(path)
            known = self.entries.get(path.name)
            if not mark or (known is not None and known.mark == mark and known.state in (RESULT, FAILED)):
                continue
            if not self._settled(path.name, mark):
                continue
            entry = known if known is not None and known.mark == mark else Entry(path.name, mark)
            self.entries[path.name] = entry
            yield from self._worked(entry, path)

    def again(self) -> int:
        """Let entries that failed be tried anew; how many."""
        failed = [entry for entry in self.entries.values() if entry.state == FAILED]
        for entry in failed:
            entry.state, entry.before = "new", entry.tries
        self._keep()
        return len(failed)

    def _settled(self, name: str, mark: str) -> bool:
        now = time.monotonic()
        before, since = self._seen.get(name, ("", now))
        if before != mark:
            self._seen[name] = (mark, now)
            return self.settle_s <= 0
        return now - since >= self.settle_s

    def _worked(self, entry: Entry, path: Path) -> Iterator[Entry]:
        while entry.state not in (RESULT, FAILED):
            entry.tries += 1
            try:
                self._enhance(entry, path)
                entry.state, entry.code, entry.words = RESULT, "", ""
            except BusyError as error:
                # The server is away, which is no fault of the entry: it is gone on with at the next look.
                entry.tries -= 1
                entry.code, entry.words = error.code, str(error)
                self._keep()
                return
            except ClarivoxError as error:
                entry.code, entry.words, entry.job = error.code, str(error), ""
                entry.state = FAILED if entry.tries - entry.before >= self.tries or not retryable(error) else "new"
            self._keep()
        yield entry

    def _enhance(self, entry: Entry, path: Path) -> None:
        if not entry.job:
            key = hashlib.sha256(f"{entry.mark} {self.bundle} {entry.tries}".encode()).hexdigest()
            entry.job = self.client.submit(path, self.bundle, idempotency_key=key, **self.params).id
            entry.state = "sent"
            self._keep()
        for job in self.client.follow(entry.job):
            done = job
        done.checked()
        file = done.file() or {}
        stem = path.name if path.is_dir() else path.name.split(".")[0] or path.name
        suffix = "".join(Path(str(file.get("name", ""))).suffixes)
        self.client.download(done, self.output / f"{stem}{suffix}", overwrite=True)
        if done.file("evidence") is not None:
            self.client.download(done, self.output / f"{stem}.html", role="evidence", overwrite=True)

    def _keep(self) -> None:
        with atomic.file(self.output / STATE, overwrite=True) as temporary:
            content = {name: asdict(one) for name, one in self.entries.items()}
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def retryable(error: ClarivoxError) -> bool:
    """Whether the same entry may do better later.

    >>> from clarivox.errors import CapacityError, FormatError
    >>> retryable(CapacityError("no room")), retryable(FormatError("not an image"))
    (True, False)
    """
    from clarivox.errors import BundleError, InputError

    return not isinstance(error, (InputError, BundleError))


def mark_of(path: Path) -> str:
    """A digest of what an entry is now: names, sizes and times; "" where it is empty or going away.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mark_of(Path(folder))
    ''
    """
    found = []
    try:
        paths = [path] if path.is_file() else [Path(top, name) for top, _, names in os.walk(path) for name in names]
        for one in sorted(paths):
            facts = one.stat()
            found.append(f"{one.relative_to(path.parent)} {facts.st_size} {facts.st_mtime_ns}")
            if one.name.endswith(TEMPORARY):
                return ""
    except OSError:
        return ""
    return hashlib.sha256("\n".join(found).encode("utf-8", "surrogateescape")).hexdigest() if found else ""
