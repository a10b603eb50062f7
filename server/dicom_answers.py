# SPDX-License-Identifier: Apache-2.0
"""The answers of DICOMweb, put together from byte ranges while they are sent; nothing is built in memory."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fastapi import Response
from fastapi.responses import StreamingResponse

from clarivox.errors import NotFoundError, ServiceError
from clarivox.server.dicom_objects import Instance, Piece, plain
from clarivox.server.media_types import DICOM, PLAIN, content_type

CHUNK = 1 << 20
"""Bytes that are read and sent at once."""

WHOLE = 4 << 20
"""Answers up to this size are sent at once, which is faster than in chunks."""

HEADERS = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}
"""Patients' data stay out of caches on disk."""


@dataclass(frozen=True)
class Part:
    """One part of a multipart answer, or the only body."""

    type: str
    pieces: Sequence[Piece]
    address: str
    syntax: str = ""

    def named(self) -> str:
        """Its Content-Type."""
        return f"{self.type}; transfer-syntax={self.syntax}" if self.syntax else self.type


def related(parts: Sequence[Part]) -> Response:
    """An answer of multipart/related."""
    boundary = secrets.token_hex(16)
    pieces: list[Piece] = []
    for part in parts:
        size = sum(piece.size for piece in part.pieces)
        head = f"\r\n--{boundary}\r\nContent-Type: {part.named()}\r\nContent-Length: {size}\r\n"
        pieces.append(plain(f"{head}Content-Location: {part.address}\r\n\r\n".encode()))
        pieces += part.pieces
    pieces.append(plain(f"\r\n--{boundary}--\r\n".encode()))
    return answer(pieces, content_type(parts[0].type, boundary, [part.syntax for part in parts]))


def alone(part: Part) -> Response:
    """An answer that is one thing."""
    return answer(part.pieces, part.named())


def answer(pieces: Sequence[Piece], type_: str) -> Response:
    """Pieces one after the other.

    Raises:
        NotFoundError: a file was deleted in between.
    """
    for path in {piece.path for piece in pieces if piece.path is not None}:
        if not path.is_file():
            raise NotFoundError("the files of this object were deleted", code="no_such_object")
    size = sum(piece.size for piece in pieces)
    if size <= WHOLE:
        return Response(b"".join(sent(pieces)), media_type=type_, headers=HEADERS)
    headers = {**HEADERS, "Content-Length": str(size)}
    return StreamingResponse(sent(pieces), media_type=type_, headers=headers)


def sent(pieces: Iterable[Piece]) -> Iterator[bytes]:
    """The bytes of pieces.

    Raises:
        ServiceError: a file is shorter than it was, code lost_file; the connection ends before the promised length.
    """
    for piece in pieces:
        if piece.path is None:
            yield piece.data
            continue
        descriptor = os.open(piece.path, os.O_RDONLY)
        try:
            at, end = piece.at, piece.at + piece.size
            while at < end:
                data = os.pread(descriptor, min(CHUNK, end - at), at)
                if not data:
                    raise ServiceError("a stored file is shorter than it was; restore a backup", code="lost_file")
                at += len(data)
                yield data
        finally:
            os.close(descriptor)


def metadata(found: Sequence[tuple[Instance, str]], type_: str) -> Response:
    """The headers of instances as one JSON array.

    Args:
        found: instances and the address of each.
        type_: the answer's type.
    """
    return StreamingResponse(_lines(found), media_type=type_, headers=HEADERS)


def _lines(found: Sequence[tuple[Instance, str]]) -> Iterator[bytes]:
    kept, size = [b"["], 0
    for number, (instance, address) in enumerate(found):
        line = instance.line(address)
        kept.append(b"," + line if number else line)
        size += len(line)
        if size > CHUNK:
            yield b"".join(kept)
            kept, size = [], 0
    yield b"".join([*kept, b"]"])


def listed(found: Sequence[object], type_: str, warnings: Sequence[str] = ()) -> Response:
    """The answers of a search.

    Args:
        found: JSON objects.
        type_: the answer's type.
        warnings: what the client should know.
    """
    response = Response(json.dumps(found, separators=(",", ":")), media_type=type_, headers=HEADERS)
    for text in warnings:
        response.headers.append("Warning", f'299 clarivox "{text}"')
    return response


def files(found: Sequence[tuple[Instance, str]]) -> list[Part]:
    """Whole files."""
    return [Part(DICOM, instance.file(), address, instance.syntax) for instance, address in found]


def value(piece: Piece, address: str) -> Part:
    """A binary value."""
    return Part(PLAIN, [piece], address)
