# SPDX-License-Identifier: Apache-2.0
"""multipart/related as DICOMweb speaks it, in pieces: neither a series nor an instance is held in memory."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from clarivox.errors import LimitError, TruncatedError

CHUNK = 1 << 20
HEAD_BYTES = 16_384
"""Longest head of a part."""


class Stream(Protocol):
    """What an answer is read from."""

    def read(self, size: int, /) -> bytes:
        """So many bytes, or fewer at the end."""
        ...


def boundary_of(content_type: str) -> str:
    """The boundary of a content type, quoted or not; "" where it is no multipart.

    >>> boundary_of('multipart/related; type="application/dicom"; boundary=abc')
    'abc'
    """
    kind, *parameters = content_type.split(";")
    if not kind.strip().lower().startswith("multipart/"):
        return ""
    pairs = (one.partition("=") for one in parameters)
    return next((value.strip().strip('"') for name, _, value in pairs if name.strip().lower() == "boundary"), "")


def received(stream: Stream, boundary: str, folder: Path, *, most: int, most_bytes: int) -> list[Path]:
    """Write each part to a file of its own, under numbers.

    Args:
        stream: the body.
        boundary: between the parts.
        folder: where they go.
        most: parts that are taken.
        most_bytes: of all parts together.

    Raises:
        TruncatedError: the body ends within a part.
        LimitError: there are more parts, or bytes, than are taken.
    """
    delimiter = b"\r\n--" + boundary.encode("latin-1")
    scan = _Scan(stream, b"\r\n")
    scan.until(delimiter, lambda piece: None)
    files: list[Path] = []
    total = 0
    while not scan.ends():
        head = bytearray()
        scan.until(b"\r\n\r\n", head.extend, HEAD_BYTES)
        if len(files) >= most:
            raise LimitError(f"the series has over {most} instances", code="too_many_frames")
        path = folder / f"{len(files):06d}.dcm"
        with path.open("wb") as file:
            total += scan.until(delimiter, file.write, most_bytes - total)
        files.append(path)
    return files


class _Scan:
    """Looks for a mark in a stream and hands on what is before it."""

    def __init__(self, stream: Stream, before: bytes) -> None:
        self.stream, self.kept = stream, bytearray(before)

    def until(self, mark: bytes, take: Callable[[bytes], object], most: int | None = None) -> int:
        """Hand on all before a mark and step over it; how many bytes that were.

        Raises:
            TruncatedError: the stream ends before the mark.
            LimitError: there are more than `most`.
        """
        passed = 0
        while (at := self.kept.find(mark)) < 0:
            ready = len(self.kept) - len(mark) + 1
            if ready > 0:
                take(bytes(self.kept[:ready]))
                passed += ready
                del self.kept[:ready]
            self._check(passed, most)
            self._more()
        self._check(passed + at, most)
        take(bytes(self.kept[:at]))
        del self.kept[: at + len(mark)]
        return passed + at

    @staticmethod
    def _check(passed: int, most: int | None) -> None:
        if most is not None and passed > most:
            raise LimitError("the PACS sends more than the limits allow", code="unpacked_size")

    def ends(self) -> bool:
        """Whether the mark that was stepped over was the last."""
        while len(self.kept) < 2:
            self._more()
        return self.kept.startswith(b"--")

    def _more(self) -> None:
        chunk = self.stream.read(CHUNK)
        if not chunk:
            raise TruncatedError("the answer of the PACS ends too early; ask again")
        self.kept += chunk


def packed(files: Sequence[Path]) -> tuple[str, int, Iterator[bytes]]:
    """Files as one body: its content type, its length, and its bytes."""
    boundary = secrets.token_hex(16)
    head = f"\r\n--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    length = sum(len(head) + path.stat().st_size for path in files) + len(tail)

    def pieces() -> Iterator[bytes]:
        for path in files:
            yield head
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk
        yield tail

    return f'multipart/related; type="application/dicom"; boundary={boundary}', length, pieces()
