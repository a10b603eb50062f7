# SPDX-License-Identifier: Apache-2.0
"""Answers are put together while they are sent, and promise the length that they have."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from clarivox.errors import NotFoundError, ServiceError
from clarivox.server import dicom_answers
from clarivox.server.dicom_answers import CHUNK, Part
from clarivox.server.dicom_objects import Piece, plain


def sent(response: Any) -> tuple[dict[str, str], list[bytes]]:
    """Headers and pieces of an answer, as the server would send them."""
    messages: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "headers": [], "asgi": {"spec_version": "2.4"}}
    asyncio.run(response(scope, receive, send))
    headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
    return headers, [message.get("body", b"") for message in messages[1:]]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """24 MB that take no room."""
    path = tmp_path / "large"
    path.write_bytes(b"head")
    os.truncate(path, 24 << 20)
    return path


def test_a_large_answer_goes_out_in_pieces_of_a_megabyte(large: Path) -> None:
    parts = [Part("application/dicom", [plain(b"x"), Piece(24 << 20, large)], f"http://here/{n}") for n in range(3)]
    headers, pieces = sent(dicom_answers.related(parts))
    assert max(map(len, pieces)) <= CHUNK
    assert sum(map(len, pieces)) == int(headers["content-length"]) > 72 << 20
    body = b"".join(pieces)
    boundary = headers["content-type"].rpartition("boundary=")[2].encode()
    assert body.count(b"\r\n--" + boundary) == 4
    assert body.endswith(b"\r\n--" + boundary + b"--\r\n")
    assert body.count(b"Content-Location: http://here/") == 3


def test_a_small_answer_goes_out_at_once(large: Path) -> None:
    headers, pieces = sent(dicom_answers.alone(Part("image/jls", [Piece(4, large)], "http://here", "1.2.3")))
    assert b"".join(pieces) == b"head"
    assert headers["content-type"] == "image/jls; transfer-syntax=1.2.3"
    assert headers["cache-control"] == "private, no-store"


def test_a_file_that_was_deleted_is_not_found_before_the_answer_begins(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        dicom_answers.alone(Part("application/dicom", [Piece(100 << 20, tmp_path / "gone")], "http://here"))


def test_a_file_that_became_shorter_ends_the_answer_early(large: Path) -> None:
    response = dicom_answers.answer([Piece(24 << 20, large)], "application/dicom")
    os.truncate(large, 2 << 20)
    with pytest.raises(ServiceError, match="shorter"):
        sent(response)
