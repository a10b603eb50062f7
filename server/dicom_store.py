# SPDX-License-Identifier: Apache-2.0
"""The DICOM objects among the inputs and results of finished jobs, found by their identifiers.

Headers lie in the index of a job, a file of the store (`clarivox.io.dicom_index` writes it); the ledger knows only in
which index a series is described, by digests. Nothing here parses DICOM.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, literal, select

from clarivox.errors import FormatError, NotFoundError, ServiceError
from clarivox.server.blobs import Blobs
from clarivox.server.dicom_objects import Index, Instance, Series, read, tail
from clarivox.server.job import Role, State
from clarivox.server.ledger import Ledger
from clarivox.server.logs import log
from clarivox.server.tables import blob_use, dicom_series, job

CACHE_BYTES = 32 << 20
"""Heads and lists of instances that are kept in memory, by about what they take there."""

HEAD_BYTES = 64 << 20
"""Longest head of an index that counts."""

PARSED = 8
"""Bytes in memory for each byte of JSON, about."""


def key_of(uid: str) -> str:
    """What the ledger keeps of an identifier.

    >>> len(key_of("1.2.3"))
    32
    """
    return hashlib.sha256(uid.encode("utf-8", "surrogateescape")).hexdigest()[:32]


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
                    one = found.setdefault((its_study, uid), Series(its_study, uid, kept=self.cached))
                    one.parts.append((index, part))
        return list(found.values())

    def of_index(self, sha256: str) -> list[Series]:
        """The series that one index describes; none where it was deleted."""
        index = self._index(sha256)
        if index is None:
            return []
        return [Series(str(one["study"]), str(one["series"]), [(index, one)], self.cached) for one in index.series]

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
        """An index, or None where it was deleted in between, or is damaged: others are to be found all the same."""
        path = self._blobs.path(sha256)
        try:
            size, at = tail(path)
            found: Index = self.cached((sha256, -1), PARSED * (size - at), lambda: self._parsed(sha256, path, at, size))
        except FileNotFoundError:
            return None
        except (ServiceError, ValueError):
            log.warning("damaged index of DICOM files", sha256=sha256)
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
        size, at = tail(index)
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
