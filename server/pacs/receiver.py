# SPDX-License-Identifier: Apache-2.0
"""What the DICOM node takes: checked, written, made durable, noted, and only then answered with success."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum

from clarivox.errors import ClarivoxError, InputError
from clarivox.server.dicom_store import key_of
from clarivox.server.pacs.association import DataSet
from clarivox.server.pacs.dataset_head import HEAD_BYTES, file_head, identifiers
from clarivox.server.pacs.inbox import Arrived, Inbox, Kept
from clarivox.server.writing import sync_folder

log = logging.getLogger("clarivox.server.pacs.receiver")

TOGETHER_S = 0.01
"""How long a transaction waits for instances that are being written: a transaction takes longer than most of them."""
CHUNK = 1 << 20


class Status(IntEnum):
    """Answers to C-STORE (PS3.4 table B.2-1)."""

    SUCCESS = 0x0000
    OUT_OF_RESOURCES = 0xA700
    MISMATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000


@dataclass(frozen=True)
class Sent:
    """What was said of a data set when it was sent."""

    sop_class: str
    sop: str
    syntax: str
    calling: str
    called: str


class _Waiting:
    def __init__(self, arrived: Arrived) -> None:
        self.arrived = arrived
        self.kept: Kept | None = None
        self.error: ClarivoxError | OSError | None = None


class Receiver:
    """Takes data sets from any thread; those that come at one time share a transaction.

    Args:
        inbox: takes the rows.
        watermark_bytes: of free disk, below which nothing is taken.
    """

    def __init__(self, inbox: Inbox, *, watermark_bytes: int) -> None:
        self.inbox, self.watermark = inbox, watermark_bytes
        self._change, self._turn = threading.Condition(), threading.Lock()
        self._waiting: list[_Waiting] = []
        self._coming = 0

    def take(self, data: DataSet, sent: Sent) -> Status:
        """Keep a data set; what to answer."""
        free = shutil.disk_usage(self.inbox.folder).free
        if data.refused or free - data.size < self.watermark:
            log.warning("an instance was refused: %s", data.refused or "disk_low")
            return Status.OUT_OF_RESOURCES
        try:
            arrived = self._checked(data, sent)
            if arrived is None:
                return Status.MISMATCH
            with self._coming_in():
                arrived = self.write(data, arrived, sent)
            self.note(arrived)
        except InputError as error:
            log.warning("an instance was refused: %s", error.code)
            return Status.CANNOT_UNDERSTAND
        except (ClarivoxError, OSError) as error:
            log.warning("an instance was refused: %s", code_of(error))
            return Status.OUT_OF_RESOURCES
        return Status.SUCCESS

    def _checked(self, data: DataSet, sent: Sent) -> Arrived | None:
        """The row without its file; None where the data set is of another instance than was said."""
        if data.spilled is None:
            with data.getbuffer() as whole:
                found = identifiers(whole[:HEAD_BYTES], sent.syntax)
        else:
            data.spilled.seek(0)
            found = identifiers(data.spilled.read(HEAD_BYTES), sent.syntax)
        if (found.sop_class, found.sop) != (sent.sop_class, sent.sop):
            log.warning("an instance was refused: its identifiers are not those of the command")
            return None
        series = key_of(found.series or found.sop)  # objects that are of no patient have no series
        name = f"{secrets.token_hex(16)}.dcm"
        return Arrived(key_of(found.study), series, key_of(found.sop), name, 0, "", sent.calling, sent.called)

    def write(self, data: DataSet, arrived: Arrived, sent: Sent) -> Arrived:
        """Write the file and make it durable; the row with its size and digest."""
        path = self.inbox.path(arrived)
        head = file_head(sent.sop_class, sent.sop, sent.syntax)
        digest = hashlib.sha256(head)
        try:
            with path.open("xb", buffering=0) as file:
                _write(file.fileno(), head)
                if data.spilled is None:
                    with data.getbuffer() as whole:
                        _write(file.fileno(), whole)
                        digest.update(whole)
                else:
                    data.spilled.seek(0)
                    while piece := data.spilled.read(CHUNK):
                        _write(file.fileno(), piece)
                        digest.update(piece)
                os.fsync(file.fileno())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            if data.spilled is not None:
                data.spilled.close()
        return Arrived(
            arrived.study,
            arrived.series,
            arrived.sop,
            arrived.file,
            len(head) + data.size,
            digest.hexdigest(),
            arrived.calling,
            arrived.called,
        )

    def note(self, arrived: Arrived) -> Kept:
        """Make the row durable, together with those of other threads that wait at this moment.

        Raises:
            ClarivoxError: the database does not take it. Its file stays, for the row may be there all the same.
            OSError: the folder cannot be made durable.
        """
        mine = _Waiting(arrived)
        with self._change:
            self._waiting.append(mine)
        with self._turn:
            if mine.kept is None and mine.error is None:
                with self._change:
                    self._change.wait_for(lambda: self._coming == 0, TOGETHER_S)
                    together, self._waiting = self._waiting, []
                self._note(together)
        if mine.error is not None:
            raise mine.error
        return mine.kept or Kept.NEW

    @contextmanager
    def _coming_in(self) -> Iterator[None]:
        """A row will be noted soon: who is about to commit waits a little for it."""
        with self._change:
            self._coming += 1
        try:
            yield
        finally:
            with self._change:
                self._coming -= 1
                self._change.notify_all()

    def _note(self, together: list[_Waiting]) -> None:
        try:
            sync_folder(self.inbox.folder)
            kept = self.inbox.put([one.arrived for one in together])
        except (ClarivoxError, OSError) as error:
            for one in together:
                one.error = error
            return
        for one, what in zip(together, kept, strict=True):
            one.kept = what


def code_of(error: ClarivoxError | OSError) -> str:
    """A word for the log."""
    if isinstance(error, OSError):
        return "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "os_error"
    return error.code


def _write(handle: int, piece: bytes | memoryview) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(handle, rest) :]
