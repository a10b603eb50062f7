# SPDX-License-Identifier: Apache-2.0
"""The store of files, each under the SHA-256 of what is in it.

A file is written under a name of its own, made durable, and only then gets its name in the store: a name stands for
the whole file, or for none. What a client called a file is never kept.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clarivox.errors import CapacityError, ConflictError, NotFoundError
from clarivox.server.settings import Settings
from clarivox.server.writing import Upload, Writer, full_disk, locked, sync_folder

CHUNK = 1 << 20
SHA256 = re.compile(r"[0-9a-f]{64}")
YOUNG_S = 10.0
"""A file this young may not have its writer's lock yet."""
MEASURE_S = 60.0
"""How long the measured size of the store counts as known."""


class Blobs:
    """Files by their SHA-256, below one folder; several processes may use it at once.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     blobs = Blobs(Path(folder), Settings())
    ...     with blobs.writer() as writer:
    ...         writer.write(b"abc")
    ...         sha256, size = writer.commit()
    ...     blobs.path(sha256).read_bytes(), size
    (b'abc', 3)
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Make the folders `blobs` and `tmp` below a data folder.

        Args:
            folder: the data folder.
            settings: quota, watermark, reserve.
        """
        self.folder, self.temporary, self.settings = folder / "blobs", folder / "tmp", settings
        self.reserve = folder / "reserve"
        for made in (self.folder, self.temporary, *(self.folder / f"{one:02x}" for one in range(256))):
            made.mkdir(parents=True, exist_ok=True, mode=0o700)
        for written in (self.folder, folder):
            sync_folder(written)
        with suppress(PermissionError):  # the folder above may be another's
            sync_folder(folder.absolute().parent)
        self._used, self._measured = 0, float("-inf")

    def path(self, sha256: str) -> Path:
        """Where a file lies, or would lie.

        Raises:
            NotFoundError: this is no SHA-256 in lower case, code no_such_blob.
        """
        if not SHA256.fullmatch(sha256):
            raise NotFoundError("a file is named by its SHA-256, 64 digits in lower case", code="no_such_blob")
        return self.folder / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        """Whether the file is there."""
        return bool(SHA256.fullmatch(sha256)) and self.path(sha256).is_file()

    def size(self, sha256: str) -> int:
        """Bytes of a file.

        Raises:
            NotFoundError: it is not there, code no_such_blob.
        """
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError:
            raise no_such_blob() from None

    def age_s(self, sha256: str) -> float:
        """Seconds since the file was stored, or stored again; infinite where it is not there."""
        try:
            return max(time.time() - self.path(sha256).stat().st_mtime, 0.0)
        except FileNotFoundError:
            return float("inf")

    def delete(self, sha256: str) -> None:
        """Delete a file, if it is there."""
        self.path(sha256).unlink(missing_ok=True)

    @contextmanager
    def writer(self) -> Iterator[Writer]:
        """Write a new file; without `commit`, nothing of it stays."""
        path = self.temporary / f"blob-{secrets.token_hex(16)}"
        try:
            with full_disk(), path.open("xb", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield Writer(self, path, file)
        finally:
            path.unlink(missing_ok=True)

    def put_file(self, path: Path) -> tuple[str, int]:
        """Store a copy of a file: its SHA-256 and its bytes.

        Raises:
            CapacityError: the disk is full, code disk_full.
        """
        with path.open("rb") as source, self.writer() as writer:
            while piece := source.read(CHUNK):
                writer.write(piece)
            return writer.commit()

    def keep(self, path: Path, sha256: str) -> None:
        """Give a durable file its name in the store, in place of one that is there: the same, and old."""
        target = self.path(sha256)
        path.replace(target)
        sync_folder(target.parent)

    # Uploads that go on where they broke off

    def partial(self, sha256: str) -> Path:
        """Where the bytes of an unfinished upload lie."""
        return self.temporary / f"part-{self.path(sha256).name}"

    def received(self, sha256: str) -> int:
        """Bytes of an unfinished upload that are here."""
        try:
            return self.partial(sha256).stat().st_size
        except FileNotFoundError:
            return 0

    @contextmanager
    def resume(self, sha256: str, offset: int) -> Iterator[Upload]:
        """Go on with an upload at a byte; what was received stays for the next try.

        Raises:
            ConflictError: other bytes are here than the offset says, code wrong_offset; or the same file is being
                uploaded at this moment, code upload_busy.
        """
        with full_disk(), self.partial(sha256).open("ab", buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConflictError("this file is being uploaded at this moment", code="upload_busy") from None
            if offset == 0:
                file.truncate(0)
            found = os.fstat(file.fileno()).st_size
            if found != offset:
                raise ConflictError(f"{found} bytes are here; go on from there", code="wrong_offset")
            yield Upload(self, self.partial(sha256), file, sha256, hashlib.sha256() if offset == 0 else None)

    # Room

    def admit(self, size: int = 0) -> None:
        """Look whether there is room for so many bytes more.

        Raises:
            CapacityError: the disk would fall below its watermark, code disk_low; or the files would be more than
                their quota, code quota_full.
        """
        if self.free() - size < self.settings.disk_watermark_bytes:
            raise CapacityError("too little disk is left for new work; free disk space", code="disk_low")
        if self.used() + size > self.settings.blob_quota_bytes:
            raise CapacityError("the files of the server are at their quota; delete some", code="quota_full")

    def free(self) -> int:
        """Bytes that are free on the disk."""
        return shutil.disk_usage(self.folder).free

    def used(self) -> int:
        """Bytes of all files; measured now and then, and counted in between."""
        if time.monotonic() - self._measured > MEASURE_S:
            self._used = sum(self.size_or_0(path) for path in self.all())
            self._measured = time.monotonic()
        return self._used

    @staticmethod
    def size_or_0(path: Path) -> int:
        """Bytes of a file that another may delete at this moment."""
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0

    def counted(self, size: int) -> None:
        """Note that a file was stored."""
        self._used += size

    def restore_reserve(self) -> bool:
        """Set bytes aside where there is room for them; whether they are set aside."""
        size = self.settings.disk_reserve_bytes
        if self.reserve.exists() and self.reserve.stat().st_size == size:
            return True
        if size == 0 or self.free() < self.settings.disk_watermark_bytes + size:
            return False
        made = self.reserve.with_suffix(".new")
        try:
            with made.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)
            made.replace(self.reserve)
        except OSError:
            made.unlink(missing_ok=True)
            return False
        return True

    def give_up_reserve(self) -> bool:
        """Free the bytes that were set aside, so that running jobs can end on a full disk; whether there were any."""
        with suppress(FileNotFoundError):
            self.reserve.unlink()
            return True
        return False

    # What is there

    def all(self) -> Iterator[Path]:
        """Every file of the store."""
        return self.files_of(self.folder)

    @staticmethod
    def files_of(folder: Path) -> Iterator[Path]:
        """Every file of a folder that is laid out as the store is."""
        for part in sorted(folder.iterdir()):
            if part.is_dir():
                yield from (path for path in sorted(part.iterdir()) if SHA256.fullmatch(path.name))

    def older_than(self, age_s: float) -> Iterator[str]:
        """The files that were stored so long ago, by their SHA-256."""
        return (path.name for path in self.all() if self.age_s(path.name) >= age_s)

    def sweep(self, age_s: float) -> int:
        """Delete what killed processes left half written, and what was not touched for so long; how many."""
        return sum(self._swept(path, age_s) for path in list(self.temporary.iterdir()))

    @staticmethod
    def _swept(path: Path, age_s: float) -> bool:
        try:
            age = time.time() - path.stat().st_mtime
            if path.name.startswith("blob-") and age >= YOUNG_S and not locked(path):
                path.unlink()
            elif age < age_s or locked(path):
                return False
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        except FileNotFoundError:
            return False
        return True


def no_such_blob() -> NotFoundError:
    """For a file that is not there."""
    return NotFoundError("there is no such file", code="no_such_blob")
