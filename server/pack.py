# SPDX-License-Identifier: Apache-2.0
"""Many files as one file of the store: a zip without compression, written from front to back."""

from __future__ import annotations

import zipfile
from typing import IO, cast

from clarivox.errors import LimitError
from clarivox.server.writing import Writer

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The same files make the same zip."""


class Pack:
    """Files into one zip without compression, which is written from front to back."""

    def __init__(self, writer: Writer, entries: int) -> None:
        self._writer, self._entries, self._count = writer, entries, 0
        self._archive = zipfile.ZipFile(cast("IO[bytes]", self), "w", zipfile.ZIP_STORED)
        self._entry: IO[bytes] | None = None

    def take(self, piece: bytes) -> None:
        """Bytes of the file that is being packed; none begins the next file.

        Raises:
            LimitError: these are too many files.
        """
        if piece and self._entry is not None:
            self._entry.write(piece)
            return
        self._end_entry()
        self._count += 1
        if self._count > self._entries:
            raise LimitError(f"these are over {self._entries} files", code="too_many_entries")
        self._entry = self._archive.open(zipfile.ZipInfo(f"{self._count:06d}", EPOCH), "w", force_zip64=True)

    def end(self) -> None:
        """Write the table of contents."""
        self._end_entry()
        self._archive.close()

    def write(self, piece: bytes) -> int:
        """What zipfile asks of a file."""
        self._writer.write(piece)
        return len(piece)

    def flush(self) -> None:
        """What zipfile asks of a file."""

    def _end_entry(self) -> None:
        if self._entry is not None:
            self._entry.close()
            self._entry = None
