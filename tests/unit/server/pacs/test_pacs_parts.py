# SPDX-License-Identifier: Apache-2.0
"""Bodies of many parts, cut anywhere; settings of a PACS; answers that are not what was asked for."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from clarivox.errors import LimitError, OptionError, TruncatedError
from clarivox.server.pacs import parts as several
from clarivox.server.pacs.settings import read


class Slowly(io.BytesIO):
    """A stream that gives a few bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        super().__init__(data)
        self.step = step

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(self.step, size or 0))


@given(some.lists(some.binary(max_size=200), min_size=1, max_size=5), some.integers(1, 70))
def test_what_is_packed_is_received_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], step: int
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    files = []
    for number, content in enumerate(contents):
        files.append(folder / f"in{number}")
        files[-1].write_bytes(content)
    kind, length, body = several.packed(files)
    data = b"".join(body)
    assert len(data) == length
    found = several.received(Slowly(data, step), several.boundary_of(kind), folder, most=10, most_bytes=10_000)
    assert [path.read_bytes() for path in found] == contents


def packed(tmp_path: Path, *contents: bytes) -> tuple[str, bytes]:
    files = []
    for number, content in enumerate(contents):
        files.append(tmp_path / f"in{number}")
        files[-1].write_bytes(content)
    kind, _, body = several.packed(files)
    return several.boundary_of(kind), b"".join(body)


def test_a_body_that_breaks_off_is_truncated(tmp_path: Path) -> None:
    boundary, data = packed(tmp_path, b"a" * 100, b"b" * 100)
    for length in (0, 20, 150, len(data) - 8):
        with pytest.raises(TruncatedError):
            several.received(io.BytesIO(data[:length]), boundary, tmp_path, most=10, most_bytes=10_000)


def test_more_than_the_limits_is_refused(tmp_path: Path) -> None:
    boundary, data = packed(tmp_path, b"a" * 3_000_000, b"b")
    with pytest.raises(LimitError):
        several.received(io.BytesIO(data), boundary, tmp_path, most=1, most_bytes=10_000_000)
    with pytest.raises(LimitError):
        several.received(io.BytesIO(data), boundary, tmp_path, most=9, most_bytes=1_000_000)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("dicomweb: {url: ftp://pacs}", "url"),
        ("dicomweb: {url: http://pacs, pasword: x}", "pasword"),
        ("- 1", "valid"),
        ("dicomweb: [", "YAML"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, content: str, word: str) -> None:
    (tmp_path / "pacs.yaml").write_text(content)
    with pytest.raises(OptionError, match=word):
        read(tmp_path / "pacs.yaml")


def test_a_secret_that_is_not_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pacs.yaml").write_text("dicomweb: {url: 'http://pacs', user: me, password_from: NOT_SET_ANYWHERE}")
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    with pytest.raises(OptionError, match="NOT_SET_ANYWHERE"):
        read(tmp_path / "pacs.yaml").dicomweb.client()
