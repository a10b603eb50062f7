# SPDX-License-Identifier: Apache-2.0
"""What an index of DICOM files says, without parsing DICOM: series, instances, and where their bytes lie.

`clarivox.io.dicom_index` writes it, and describes the file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clarivox.errors import ServiceError

MAGIC = b"clarivox-index1\n"
"""How the last 32 bytes of an index begin."""

Element = dict[str, Any]
Span = tuple[int, int]
Kept = Callable[[tuple[str, int], int, Callable[[], Any]], Any]
"""Gives a thing from memory by its key, or makes it: key, bytes in memory, maker."""


@dataclass(frozen=True)
class Piece:
    """Bytes of a stored file, or bytes as they are."""

    size: int
    path: Path | None = None
    at: int = 0
    data: bytes = b""


def plain(data: bytes) -> Piece:
    """Bytes as they are."""
    return Piece(len(data), data=data)


@dataclass(frozen=True)
class Index:
    """The index of one job."""

    sha256: str
    path: Path
    sources: tuple[Path, ...]
    series: tuple[dict[str, Any], ...]

    def piece(self, source: int, at: int, size: int) -> Piece:
        """Bytes of a stored file, or of the index itself."""
        return Piece(size, self.path if source < 0 else self.sources[source], at)

    def read(self, at: int, size: int) -> bytes:
        """Bytes of the index itself."""
        return read(self.path, at, size)


@dataclass(frozen=True)
class Instance:
    """One instance, as an index has it."""

    study: str
    series: str
    uid: str
    index: Index
    record: dict[str, Any]

    @property
    def syntax(self) -> str:
        """Its transfer syntax."""
        return str(self.record["syntax"])

    @property
    def few(self) -> dict[str, Element]:
        """The elements that a search is answered with."""
        found: dict[str, Element] = self.record["few"]
        return found

    def line(self, address: str) -> bytes:
        """The header as JSON.

        Args:
            address: of the instance; bulk data lie below it.
        """
        return self.index.read(*self.record["meta"]).replace(b"\0", json.dumps(address)[1:-1].encode())

    def file(self) -> list[Piece]:
        """The whole file, with a preamble of zeros."""
        file = self.record["file"]
        pieces = [plain(bytes(128) + b"DICM")]
        if "meta" in file:
            pieces.append(self.index.piece(-1, *file["meta"]))
        return [*pieces, self.index.piece(file["source"], file["at"], file["bytes"])]

    def frames(self) -> list[list[Piece]]:
        """The pieces of each frame; empty where the object has none that could be handed out."""
        frames = self.record["frames"]
        if frames is None:
            return []
        source = frames["source"]
        if "spans" in frames:
            return [[self.index.piece(source, at, size) for at, size in spans] for spans in frames["spans"]]
        first, each = frames["first"], frames["each"]
        return [[self.index.piece(source, first + number * each, each)] for number in range(frames["count"])]

    def bulk(self, path: str) -> Piece | None:
        """A long binary value of the header, by the last part of its address."""
        found = self.record["bulk"].get(path)
        return None if found is None else self.index.piece(-1, *found)


@dataclass
class Series:
    """One series, which several jobs may hold: the newest counts."""

    study: str
    uid: str
    parts: list[tuple[Index, dict[str, Any]]] = field(default_factory=list)
    kept: Kept | None = field(default=None, repr=False)
    _shared: dict[str, Element] | None = field(default=None, repr=False)

    @property
    def few(self) -> dict[str, Element]:
        """The elements that a search is answered with."""
        found: dict[str, Element] = self.parts[0][1]["few"]
        return found

    def shared(self) -> dict[str, Element]:
        """Every element that all instances share."""
        if self._shared is None:
            index, part = self.parts[0]
            self._shared = json.loads(index.read(*part["shared"]).replace(b"\0", b""))
        return self._shared

    def classes(self) -> set[str]:
        """The SOP classes of its instances."""
        return {name for _, part in self.parts for name in part["classes"]}

    def count(self) -> int:
        """How many instances it has."""
        if len(self.parts) == 1:
            return int(self.parts[0][1]["count"])
        return len(self._newest())

    def instances(self) -> Iterator[Instance]:
        """Its instances in the order of their numbers."""
        for uid, (index, part) in self._newest().items():
            yield Instance(self.study, self.uid, uid, index, self._records(index, part).record(uid))

    def instance(self, uid: str) -> Instance | None:
        """One of them."""
        for index, part in self.parts:
            records = self._records(index, part)
            if uid in records.places:
                return Instance(self.study, self.uid, uid, index, records.record(uid))
        return None

    def _newest(self) -> dict[str, tuple[Index, dict[str, Any]]]:
        found: dict[str, tuple[Index, dict[str, Any]]] = {}
        for index, part in self.parts:
            for uid in self._records(index, part).places:
                found.setdefault(uid, (index, part))
        return found

    def _records(self, index: Index, part: dict[str, Any]) -> Records:
        at, size = part["records"]
        if self.kept is None:
            return Records(index.read(at, size))
        found: Records = self.kept((index.sha256, at), 2 * size, lambda: Records(index.read(at, size)))
        return found


class Records:
    """The lines of a series' instances; each is parsed when it is asked for."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.places: dict[str, Span] = {}
        at = 0
        for line in data.splitlines(keepends=True):
            uid = line[len(b'{"sop":"') : 80].partition(b'"')[0].decode()
            self.places[uid] = at, len(line)
            at += len(line)

    def record(self, uid: str) -> dict[str, Any]:
        """What is known of an instance."""
        at, size = self.places[uid]
        found: dict[str, Any] = json.loads(self._data[at : at + size])
        return found


def tail(path: Path) -> Span:
    """Bytes of an index, and where its head begins.

    Raises:
        ServiceError: the file is no index.
    """
    size = path.stat().st_size
    end = read(path, size - 32, 32) if size >= 32 else b""
    at = int(end[16:], 16) if re.fullmatch(MAGIC + b"[0-9a-f]{16}", end) else size
    if at > size - 32:
        raise ServiceError("an index of DICOM files is damaged; run its job again", code="bad_index")
    return size, at


def read(path: Path, at: int, size: int) -> bytes:
    """Bytes of a file.

    Raises:
        FileNotFoundError: it was deleted.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, size, at)
    finally:
        os.close(descriptor)
