# SPDX-License-Identifier: Apache-2.0
"""Record every change that a server makes under a folder, in order, through traps of system calls."""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path

from tests.chaos.disk import Change, Disk, File
from tests.chaos.traps import CREATES, Call

UNNAMED = " (deleted)"


class Recorder:
    """Hears calls and keeps what they change under `top`."""

    def __init__(self, top: Path) -> None:
        self.top = str(top)
        self.changes: list[Change] = []
        self.disk = Disk(top)
        self.unknown: set[str] = set()
        """Calls that changed a file in a way that is seen at its next sync only."""
        self.lock = threading.Lock()

    def mark(self) -> int:
        """How many changes there were until now."""
        return len(self.changes)

    def __call__(self, call: Call) -> int:
        """Keep what a call is about to do; it is never refused."""
        paths = call.paths()
        if any(self.holds(path) for path in paths):
            with self.lock:
                for change in self._changes(call, paths):
                    self.disk.apply(change)
                    self.changes.append(change)
        return 0

    def holds(self, path: str) -> bool:
        """Whether a path lies under the folder."""
        return path.startswith(f"{self.top}/") or path == self.top

    def _changes(self, call: Call, paths: tuple[str, ...]) -> list[Change]:
        a, path = call.arguments, paths[0]
        if path.endswith(UNNAMED):
            return []
        there = os.path.lexists(path)
        match call.name:
            case "open" | "openat" | "creat":
                flags = {"open": a[1], "openat": a[2], "creat": CREATES}[call.name]
                if not there:
                    return [Change("create", path)] if flags & os.O_CREAT else []
                return [Change("resize", path)] if flags & os.O_TRUNC else []
            case "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2":
                return self._writes(call, path)
            case "truncate" | "ftruncate":
                return [Change("resize", path, at=a[1])]
            case "fsync" | "fdatasync":
                return [self._sync(path)]
            case "mkdir" | "mkdirat":
                return [] if there else [Change("folder", path)]
            case "unlink" | "unlinkat" | "rmdir":
                return [Change("unlink", path)] if there else []
            case "rename" | "renameat" | "renameat2" | "link" | "linkat":
                kind = "link" if call.name.startswith("link") else "rename"
                if not there or (kind == "link" and os.path.lexists(paths[1])):
                    return []
                return [Change(kind, path, to=paths[1])]
            case _:
                self.unknown.add(call.name)
                return []

    def _writes(self, call: Call, path: str) -> list[Change]:
        a = call.arguments
        if call.name.startswith("p"):
            at = a[3]
        else:
            facts = dict(
                line.split(":", 1) for line in Path(f"/proc/{call.thread}/fdinfo/{a[0]}").read_text().splitlines()
            )
            at = Path(path).stat().st_size if int(facts["flags"], 8) & os.O_APPEND else int(facts["pos"])
        if call.name in ("write", "pwrite64"):
            return [Change("write", path, at=at, data=call.bytes_at(a[1], a[2]))]
        changes = []
        for address, size in struct.iter_unpack("=QQ", call.bytes_at(a[1], 16 * a[2])):
            changes.append(Change("write", path, at=at, data=call.bytes_at(address, size)))
            at += size
        return changes

    def _sync(self, path: str) -> Change:
        model = self.disk.find(path)
        if isinstance(model, File):
            held = Path(path).read_bytes()
            if held != bytes(model.now):
                return Change("sync", path, data=held, known=True)
        return Change("sync", path)
