# SPDX-License-Identifier: Apache-2.0
"""Files on their way into the store of blobs: written, made durable, and only then named."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from clarivox.errors import CapacityError, InputError

if TYPE_CHECKING:
    from hashlib import _Hash as Digest

    from clarivox.server.blobs import Blobs


BEHIND = 8 << 20
"""Bytes that are written before the disk is set to work on them."""
SYNC_FILE_RANGE_WRITE = 2


class Behind:
    """Sets the disk to work while a file is still being written, so that little is left to wait for at its end.

    Of 268 MB, `fsync` waits 33 ms without it and 2 ms with it. Where the system knows no such call, nothing is done.
    """

    _begin = getattr(ctypes.CDLL(None), "sync_file_range", None)

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._begun = self._at = os.fstat(file.fileno()).st_size

    def wrote(self, count: int) -> None:
        """Note that so many bytes more are in the file."""
        self._at += count
        size = self._at - self._begun
        if size >= BEHIND and self._begin is not None:
            where = ctypes.c_int64(self._begun), ctypes.c_int64(size)
            self._begin(self._file.fileno(), *where, SYNC_FILE_RANGE_WRITE)
            self._begun = self._at


class Writer:
    """A file that is being written."""

    def __init__(self, blobs: Blobs, path: Path, file: BinaryIO) -> None:
        self.blobs, self.path, self.file = blobs, path, file
        self.digest, self.bytes = hashlib.sha256(), 0
        self._behind = Behind(file)

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Add bytes.

        Raises:
            CapacityError: the disk is full, code disk_full.
        """
        self.hash(piece)
        self.store(piece)

    def hash(self, piece: bytes | bytearray | memoryview) -> None:
        """One half of `write`; another thread may do the other at the same time."""
        self.digest.update(piece)

    def store(self, piece: bytes | bytearray | memoryview) -> None:
        """The other half.

        Raises:
            CapacityError: the disk is full, code disk_full.
        """
        write_all(self.file, piece)
        self._behind.wrote(len(piece))
        self.bytes += len(piece)

    def commit(self, expected: str | None = None) -> tuple[str, int]:
        """Make the file durable and give it its name: its SHA-256 and bytes.

        Args:
            expected: the SHA-256 that the sender named.

        Raises:
            InputError: it has another SHA-256, code wrong_digest.
            CapacityError: the disk is full, code disk_full.
        """
        sha256 = self.digest.hexdigest()
        if expected is not None and sha256 != expected:
            raise InputError("the file has another SHA-256 than named; send it again", code="wrong_digest")
        with full_disk():
            os.fsync(self.file.fileno())
            self.blobs.keep(self.path, sha256)
        self.blobs.counted(self.bytes)
        return sha256, self.bytes


class Upload:
    """A file that is uploaded in parts."""

    def __init__(self, blobs: Blobs, path: Path, file: BinaryIO, sha256: str, digest: Digest | None) -> None:
        self.blobs, self.path, self.file, self.sha256 = blobs, path, file, sha256
        self.digest = digest
        self._behind = Behind(file)

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Add bytes.

        Raises:
            CapacityError: the disk is full, code disk_full.
        """
        self.hash(piece)
        self.store(piece)

    def hash(self, piece: bytes | bytearray | memoryview) -> None:
        """One half of `write`; another thread may do the other at the same time."""
        if self.digest is not None:
            self.digest.update(piece)

    def store(self, piece: bytes | bytearray | memoryview) -> None:
        """The other half.

        Raises:
            CapacityError: the disk is full, code disk_full.
        """
        write_all(self.file, piece)
        self._behind.wrote(len(piece))

    def commit(self) -> int:
        """All bytes are here: look at them, make them durable, give the file its name; its bytes.

        Raises:
            InputError: they have another SHA-256, code wrong_digest; they are deleted.
        """
        digest = self.digest
        if digest is None:
            with self.path.open("rb") as source:
                digest = hashlib.file_digest(source, "sha256")
        if digest.hexdigest() != self.sha256:
            self.path.unlink(missing_ok=True)
            raise InputError("the file has another SHA-256 than named; send it again", code="wrong_digest")
        size = self.path.stat().st_size
        with full_disk():
            os.fsync(self.file.fileno())
            self.blobs.keep(self.path, self.sha256)
        self.blobs.counted(size)
        return size


def write_all(file: BinaryIO, piece: bytes | bytearray | memoryview) -> None:
    """Write all of it, however little the system takes at once."""
    rest = memoryview(piece)
    while rest:
        with full_disk():
            rest = rest[file.write(rest) :]


def locked(path: Path) -> bool:
    """Whether a living process holds a file open to write it."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def full_disk() -> Iterator[None]:
    """Turn the system's word for a full disk into ours."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise CapacityError("the disk of the server is full; free disk space", code="disk_full") from None


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
