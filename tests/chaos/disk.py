# SPDX-License-Identifier: Apache-2.0
"""What is on a disk after the power is cut: a model of files and folders, fed with the calls that changed them.

Modelled: the bytes of a file are safe as they were at its last fsync or fdatasync; a name in a folder (made, renamed,
linked, deleted) is safe as it was at the last fsync of that folder, whatever happened to the file itself. That is less
than ext4, XFS or btrfs promise. A cut that drops everything unsynced keeps exactly what is safe. A cut that drops a
random part keeps, besides, each unsynced write (whole, in its order) with probability one half, and of the unsynced
changes of names the first few. Torn sectors, and disks that lie about fsync, are not modelled.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar


@dataclass(frozen=True)
class Change:
    """One call that changed a file or a folder."""

    kind: str
    """write, resize, sync, create, folder, rename, link, unlink."""
    path: str
    to: str = ""
    """The new name, of renames and links."""
    at: int = 0
    """Offset of a write; size of a resize."""
    data: bytes = b""
    """Bytes of a write; of a sync what the file really held, where that was read."""
    known: bool = False
    """Whether `data` of a sync was read."""


@dataclass(eq=False)
class File:
    """A file: as programs see it, as it is safe, and the writes in between."""

    now: bytearray = field(default_factory=bytearray)
    safe: bytes = b""
    pending: list[Change] = field(default_factory=list)


@dataclass(eq=False)
class Folder:
    """A folder: names as programs see them, as they are safe, and the changes in between."""

    now: dict[str, File | Folder] = field(default_factory=dict)
    safe: dict[str, File | Folder] = field(default_factory=dict)
    pending: list[tuple[str, File | Folder | None]] = field(default_factory=list)

    def put(self, name: str, what: File | Folder | None) -> None:
        """Set or delete a name."""
        if what is None:
            self.now.pop(name, None)
        else:
            self.now[name] = what
        self.pending.append((name, what))

    def sync(self) -> None:
        """All names are safe."""
        self.safe = dict(self.now)
        self.pending.clear()


Made = TypeVar("Made", File, Folder)


class Disk:
    """Everything under one folder, which itself is safe."""

    def __init__(self, top: Path) -> None:
        self.top = str(top)
        self.root = Folder()
        self.unseen = 0
        """Syncs of files that held something else than the recorded writes, as those by memory maps."""

    def apply(self, change: Change) -> None:
        """Let a change happen."""
        if change.path == self.top and change.kind == "sync":
            self.root.sync()
            return
        found = self.find(change.path)
        match change.kind:
            case "write" | "resize":
                file = found if isinstance(found, File) else self._make(change.path, File())
                _do(file.now, change)
                file.pending.append(change)
            case "sync":
                self._sync(found, change)
            case "create":
                if found is None:
                    self._make(change.path, File())
            case "folder":
                if found is None:
                    self._make(change.path, Folder())
            case "unlink":
                self._name(change.path, None)
            case "rename" | "link":
                if found is not None:
                    self._name(change.to, found)
                    if change.kind == "rename":
                        self._name(change.path, None)

    def _sync(self, found: File | Folder | None, change: Change) -> None:
        if isinstance(found, Folder):
            found.sync()
        elif isinstance(found, File):
            if change.known and bytes(found.now) != change.data:
                self.unseen += 1
                found.now = bytearray(change.data)
            found.safe = bytes(found.now)
            found.pending.clear()

    def find(self, path: str) -> File | Folder | None:
        """What a path names now."""
        here: File | Folder | None = self.root
        for name in self._names(path):
            if not isinstance(here, Folder):
                return None
            here = here.now.get(name)
        return here

    def _names(self, path: str) -> list[str]:
        return [name for name in os.path.relpath(path, self.top).split("/") if name != "."]

    def _folder(self, path: str) -> Folder:
        here = self.root
        for name in self._names(path)[:-1]:
            inner = here.now.get(name)
            if not isinstance(inner, Folder):
                inner = Folder()
                here.put(name, inner)
            here = inner
        return here

    def _make(self, path: str, what: Made) -> Made:
        self._folder(path).put(self._names(path)[-1], what)
        return what

    def _name(self, path: str, what: File | Folder | None) -> None:
        self._folder(path).put(self._names(path)[-1], what)

    def write_out(self, to: Path, choose: random.Random | None = None) -> None:
        """Make the folder as it is after a cut now; with `choose`, some of what is unsynced is kept."""
        _write_folder(self.root, to, choose, {})


def _do(content: bytearray, change: Change) -> None:
    if change.kind == "resize":
        if change.at < len(content):
            del content[change.at :]
        else:
            content.extend(bytes(change.at - len(content)))
        return
    if change.at > len(content):
        content.extend(bytes(change.at - len(content)))
    content[change.at : change.at + len(change.data)] = change.data


def _write_folder(folder: Folder, to: Path, choose: random.Random | None, made: dict[int, Path]) -> None:
    to.mkdir(parents=True, exist_ok=True)
    names = dict(folder.safe)
    if choose is not None:
        for name, what in folder.pending[: choose.randint(0, len(folder.pending))]:
            if what is None:
                names.pop(name, None)
            else:
                names[name] = what
    for name, what in names.items():
        if isinstance(what, Folder):
            _write_folder(what, to / name, choose, made)
        elif id(what) in made:
            os.link(made[id(what)], to / name)
        else:
            content = bytearray(what.safe)
            for change in what.pending if choose is not None else ():
                if choose is not None and choose.random() < 0.5:
                    _do(content, change)
            (to / name).write_bytes(content)
            made[id(what)] = to / name
