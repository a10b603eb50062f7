# SPDX-License-Identifier: Apache-2.0
"""What the client sends and hears: one request at a time, asked again while the server is busy or restarts.

Like `clarivox.client`, it needs the standard library and `clarivox.errors` alone, and runs on Python 3.9.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import json
import os
import random
import re
import ssl
import time
import urllib.parse
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, Union

from clarivox import errors

CHUNK = 1 << 20
"""Bytes read, hashed and sent at a time."""
ENDINGS = re.compile(r"(\.nii)?\.(nii|gz|nrrd|mha|png|jpe?g|tiff?|dcm)$", re.IGNORECASE)
"""What is kept of a file's name: names can tell who the patient is, so they stay here."""

Source = Union[str, "os.PathLike[str]", Sequence[Union[str, "os.PathLike[str]"]]]
Sent = Callable[[int, int], object]
"""Called with the bytes that went over and all there are."""
_T = TypeVar("_T")

_BY_STATUS: dict[int, type[errors.ClarivoxError]] = {
    401: errors.AccessError,
    403: errors.AccessError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    410: errors.NotFoundError,
    413: errors.LimitError,
    415: errors.FormatError,
    422: errors.InputError,
    429: errors.BusyError,
    503: errors.BusyError,
    507: errors.CapacityError,
}

BARE = {
    401: ("no_credentials", "the server wants to know who asks, and the key is missing or not known; give one"),
    403: ("no_scope", "the key may not do this; to send images it needs the scope infer, to follow jobs read"),
}
"""What to say of a refusal that has no body, as that of a HEAD."""


class Wire:
    """The way to one server.

    Args:
        url: its address.
        key: what says who asks, or None.
        timeout_s: how long it may be silent.
        patience_s: how long to go on trying while it is busy, restarting or out of reach.
        authority: PEM file of an authority, or None for the system's.

    Raises:
        OptionError: that is no address.
    """

    def __init__(self, url: str, key: str | None, timeout_s: float, patience_s: float, authority: str | None) -> None:
        parts = urllib.parse.urlsplit(url if "//" in url else f"http://{url}")
        try:
            self._host, self._port, self._prefix = parts.hostname or "", parts.port, parts.path.rstrip("/")
        except ValueError:
            self._host = ""
        if parts.scheme not in ("http", "https") or not self._host:
            raise errors.OptionError(f"an address is like http://127.0.0.1:8000; found {url!r}")
        self.url = urllib.parse.urlunsplit((parts.scheme, parts.netloc, self._prefix, "", ""))
        self._tls = ssl.create_default_context(cafile=authority) if parts.scheme == "https" else None
        self._key, self.timeout_s, self._patience_s = (key or "").strip(), timeout_s, patience_s
        self._met = False

    def json(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """The answer to a question, both JSON.

        Raises:
            ClarivoxError: the server refused, or cannot be reached.
        """
        sent = None if body is None else json.dumps(body).encode()
        given = {**(headers or {}), **({} if body is None else {"Content-Type": "application/json"})}

        def ask() -> Any:
            with self.open(method, path, sent, given) as response:
                try:
                    return json.load(response)
                except ValueError as error:
                    raise errors.ServiceError(f"{self.url} is no clarivox server: no JSON at {path}") from error

        return self.patiently(ask)

    def patiently(self, attempt: Callable[[], _T]) -> _T:
        """Try, and again while the server is busy or out of reach; every call here may be repeated."""
        until, pause_s = time.monotonic() + self._patience_s, 0.25
        while True:
            began = time.monotonic()
            try:
                return attempt()
            except errors.ServiceError as error:
                if time.monotonic() - began > self._patience_s / 4:
                    # It got somewhere before it broke off, as a long upload does.
                    until, pause_s = time.monotonic() + self._patience_s, 0.25
                busy = isinstance(error, errors.BusyError)
                if not busy and (error.code != "unreachable" or not self._met):
                    raise
                wait_s = max(getattr(error, "retry_after_s", 0.0), pause_s * random.uniform(0.5, 1.0))
                if time.monotonic() + wait_s > until:
                    raise
                time.sleep(wait_s)
                pause_s = min(2 * pause_s, 10.0)

    @contextlib.contextmanager
    def open(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, timeout_s: float = 0.0
    ) -> Iterator[http.client.HTTPResponse]:
        """One request, and its answer if it is a good one.

        Raises:
            ClarivoxError: the server refused, or cannot be reached.
        """
        given = {"Accept": "application/json", "User-Agent": "clarivox-client", **(headers or {})}
        if self._key:
            given["Authorization"] = f"Bearer {self._key}"
        wait_s = timeout_s or self.timeout_s
        connection = (
            http.client.HTTPConnection(self._host, self._port, timeout=wait_s)
            if self._tls is None
            else http.client.HTTPSConnection(self._host, self._port, timeout=wait_s, context=self._tls)
        )
        with contextlib.closing(connection):
            try:
                # A server that refuses a body answers before it has read it all, and then the sending fails.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.request(method, self._prefix + path, body, given)
                response = connection.getresponse()
                self._met = True
                failed = (response.status >= 300 and response.status != 304) and _problem(response)
            except (OSError, http.client.HTTPException) as error:
                raise unreachable(f"{self.url} cannot be reached: {error or type(error).__name__}") from error
            if failed:
                raise error_of(response.status, failed, response.getheader("Retry-After"))
            try:
                yield response
            except (TimeoutError, http.client.HTTPException, ConnectionError, ssl.SSLError) as error:
                raise unreachable(f"{self.url} broke off: {error or type(error).__name__}") from error


class _Pipe(io.RawIOBase):
    """Where a zip is written to, and taken from in parts."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.parts.append(bytes(data))
        return len(self.parts[-1])

    def taken(self) -> Iterator[bytes]:
        parts, self.parts = self.parts, []
        yield from parts


def files_of(source: Source) -> tuple[list[Path], bool]:
    """The files of a source in a fixed order, and whether they are packed."""
    if not isinstance(source, (str, os.PathLike)):
        return [Path(one) for one in source], True
    path = Path(source)
    if not path.is_dir():
        return [path], False
    found = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
    files = sorted(one for one in found if one.is_file() and not one.name.startswith("."))
    if not files:
        raise errors.SeriesError("there is no file in the folder", code="empty_folder")
    return files, True


def chunks(files: Sequence[Path], packed: bool) -> Iterator[bytes]:
    """The bytes that go over, the same each time; a zip is made on the way."""
    try:
        if not packed:
            with files[0].open("rb") as stream:
                yield from iter(partial(stream.read, CHUNK), b"")
            return
        pipe = _Pipe()
        with zipfile.ZipFile(pipe, "w") as archive:
            for number, file in enumerate(files, 1):
                ending = ENDINGS.search(file.name)
                entry = zipfile.ZipInfo(f"{number:06}{ending[0].lower() if ending else ''}")
                with file.open("rb") as stream, archive.open(entry, "w", force_zip64=True) as target:
                    for chunk in iter(partial(stream.read, CHUNK), b""):
                        target.write(chunk)
                        yield from pipe.taken()
        yield from pipe.taken()
    except OSError as error:
        raise errors.FormatError(f"a file to send cannot be read: {error.strerror}", code="not_readable") from error


def counted(chunks: Iterable[bytes], offset: int, total: int, sent: Sent | None) -> Iterator[bytes]:
    """What follows after the first bytes, told as it goes."""
    place = 0
    for chunk in chunks:
        place += len(chunk)
        if place > total:
            break
        if place > offset:
            yield chunk[max(0, len(chunk) - (place - offset)) :]
            if sent is not None:
                sent(place, total)
    if place != total:
        raise errors.FormatError("a file changed while it was sent; send it again", code="file_changed")


def _problem(response: http.client.HTTPResponse) -> dict[str, Any]:
    """What a refusal says, whoever wrote it: the server, or a proxy before it."""
    text = response.read(CHUNK)
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if isinstance(content, dict) and content:
        return content
    if response.status in BARE:
        code, detail = BARE[response.status]
        return {"code": code, "detail": detail}
    place = response.getheader("Location")
    moved = f"; it is at {place}" if place and response.status < 400 else ""
    return {"detail": f"HTTP {response.status} {response.reason}{moved}"}


def error_of(status: int, problem: Mapping[str, Any], retry_after: str | None = None) -> errors.ClarivoxError:
    """The error of an answer: its class by its code where the tree has it, else by its status."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    code, said = problem.get("code"), str(problem.get("detail") or problem.get("title") or f"HTTP {status}")
    by_code = next((kind for kind in kinds if getattr(kind, "code", None) == code), None)
    error: errors.ClarivoxError = (by_code or _BY_STATUS.get(status, errors.ServiceError))(said, code=code)
    if isinstance(error, errors.BusyError) and (retry_after or "").isdigit():
        error.retry_after_s = float(retry_after or 0)
    return error


def unreachable(said: str) -> errors.ServiceError:
    """The error of a server that does not answer, or stopped to."""
    return errors.ServiceError(said, code="unreachable")


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for chunk in iter(partial(stream.read, CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()
