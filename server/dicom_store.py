# SPDX-License-Identifier: Apache-2.0
"""The DICOM objects among the inputs and results of finished jobs, found by their identifiers.

Headers lie in the index of a job, a file of the store (`clarivox.io.dicom_index` writes it); the ledger knows only in
which index a series is described, by digests. Nothing here parses DICOM.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, literal, select

from clarivox.errors import FormatError, NotFoundError, ServiceError
from clarivox.server.blobs import Blobs
from clarivox.server.job import Role, State
from clarivox.server.ledger import Ledger
from clarivox.server.tables import blob_use, dicom_series, job

MAGIC = b"clarivox-index1\n"
"""How the last 32 bytes of an index begin."""

CACHE_BYTES = 32 << 20
"""Heads and lists of instances that are kept in memory, by about what they take there."""

HEAD_BYTES = 64 << 20
"""Longest head of an index that counts."""

PARSED = 8
"""Bytes in memory for each byte of JSON, about."""

Element = dict[str, Any]
Span = tuple[int, int]


def key_of(uid: str) -> str:
    """What the ledger keeps of an identifier.

    >>> len(key_of("1.2.3"))
    32
    """
    return hashlib.sha256(uid.encode("utf-8", "surrogateescape")).hexdigest()[:32]


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
    store: DicomStore | None = field(default=None, repr=False)
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
        if self.store is None:
            return Records(index.read(at, size))
        found: Records = self.store.cached((index.sha256, at), 2 * size, lambda: Records(index.read(at, size)))
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


class DicomStore:
    """The objects of all finished jobs whose files are there.

    Args:
        ledger: says which jobs have an index.
        blobs: holds the indexes and the files that they refer to.
        cache_bytes: what may be kept in memory.
    """

    def __init__(self, ledger: Ledger, blobs: Blobs, cache_bytes: int = CACHE_BYTES) -> None:
        self._ledger, self._blobs, self._most = ledger, blobs, cache_bytes
        self._kept: OrderedDict[tuple[str, int], tuple[int, Any]] = OrderedDict()
        self._taken = 0
        self._lock = threading.Lock()

    def series(self, owner: str | None, study: str | None = None, series: str | None = None) -> list[Series]:
        """Series of an owner, or of all; those of the newest job first.

        Args:
            owner: whose; None for everybody's.
            study: only this one.
            series: only this one.
        """
        found: dict[tuple[str, str], Series] = {}
        for sha256 in self._indexes(owner, study, series):
            index = self._index(sha256)
            if index is None:
                continue
            for part in index.series:
                its_study, uid = str(part["study"]), str(part["series"])
                if study in (None, its_study) and series in (None, uid):
                    one = found.setdefault((its_study, uid), Series(its_study, uid, store=self))
                    one.parts.append((index, part))
        return list(found.values())

    def of_index(self, sha256: str) -> list[Series]:
        """The series that one index describes; none where it was deleted."""
        index = self._index(sha256)
        if index is None:
            return []
        return [Series(str(one["study"]), str(one["series"]), [(index, one)], self) for one in index.series]

    def instances(self, owner: str | None, study: str, series: str | None, uid: str | None) -> list[Instance]:
        """Instances of a study, of one of its series, or one of them.

        Raises:
            NotFoundError: there is none.
        """
        found: list[Instance] = []
        for one in self.series(owner, study, series):
            if uid is None:
                found += one.instances()
            elif (instance := one.instance(uid)) is not None:
                return [instance]
        if not found:
            raise NotFoundError("there is no such study, series or instance here", code="no_such_object")
        return found

    def cached(self, key: tuple[str, int], size: int, made: Callable[[], Any]) -> Any:
        """A thing from memory, or made now; the least used make room."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][1]
        value = made()
        with self._lock:
            if key not in self._kept and size <= self._most:
                self._kept[key] = size, value
                self._taken += size
                while self._taken > self._most:
                    _, (freed, _) = self._kept.popitem(last=False)
                    self._taken -= freed
        return value

    def _indexes(self, owner: str | None, study: str | None, series: str | None) -> list[str]:
        """The indexes to look into, of the newest job first."""
        used = and_(
            blob_use.c.user == literal("job:") + dicom_series.c.job_id,
            blob_use.c.sha256 == dicom_series.c.sha256,
            blob_use.c.role == Role.INDEX.value,
        )
        query: Select[Any] = (
            select(dicom_series.c.job_id, dicom_series.c.sha256)
            .distinct()
            .join(job, job.c.id == dicom_series.c.job_id)
            .join(blob_use, used)
            .where(job.c.state == State.SUCCEEDED.value, *_only(owner, study, series))
            .order_by(dicom_series.c.job_id.desc())
        )
        with self._ledger.database.read() as connection:
            rows = connection.execute(query).all()
        return list(dict.fromkeys(str(sha256) for _, sha256 in rows))

    def _index(self, sha256: str) -> Index | None:
        """An index, or None where it was deleted in between."""
        path = self._blobs.path(sha256)
        try:
            size, at = _tail(path)
            found: Index = self.cached((sha256, -1), PARSED * (size - at), lambda: self._parsed(sha256, path, at, size))
        except FileNotFoundError:
            return None
        return found

    def _parsed(self, sha256: str, path: Path, at: int, size: int) -> Index:
        head = json.loads(read(path, at, size - at - 32))
        return Index(sha256, path, tuple(map(self._blobs.path, head["sources"])), tuple(head["series"]))


def record(ledger: Ledger, job_id: str, sha256: str, index: Path, sources: Sequence[str]) -> None:
    """Note which series an index describes; they are found as soon as the job has succeeded with it.

    Args:
        ledger: takes the note.
        job_id: whose index it is.
        sha256: of the index.
        index: where it lies.
        sources: SHA-256 of the files that it was to be made of; it may name no others.

    Raises:
        FormatError: it is no index of these.
        BusyError: the database does not answer.
    """
    try:
        size, at = _tail(index)
        head = json.loads(read(index, at, min(size - at - 32, HEAD_BYTES)))
        found = {(key_of(part["study"]), key_of(part["series"])) for part in head["series"]}
        right = head["sources"] == list(sources)
    except (ServiceError, AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError):
        right = False
    if not right:
        raise FormatError("the index is none of the files that it was to be made of", code="bad_index")
    with ledger.database.write() as connection:
        for study, series in sorted(found):
            row = {"job_id": job_id, "sha256": sha256, "study": study, "series": series}
            ledger.database.upsert(connection, dicom_series, tuple(row), row)


def _only(owner: str | None, study: str | None, series: str | None) -> Iterable[ColumnElement[bool]]:
    if owner is not None:
        yield job.c.owner == owner
    if study is not None:
        yield dicom_series.c.study == key_of(study)
    if series is not None:
        yield dicom_series.c.series == key_of(series)


def _tail(path: Path) -> Span:
    """Bytes of an index, and where its head begins.

    Raises:
        ServiceError: the file is no index.
    """
    size = path.stat().st_size
    end = read(path, size - 32, 32) if size >= 32 else b""
    if end[:16] != MAGIC:
        raise ServiceError("an index of DICOM files is damaged; run its job again", code="bad_index")
    return size, int(end[16:], 16)


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
