# SPDX-License-Identifier: Apache-2.0
"""A PACS by DICOMweb: search (QIDO-RS), fetch (WADO-RS), store (STOW-RS)."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clarivox.errors import AccessError, BusyError, NotFoundError, OptionError, ServiceError
from clarivox.io.limits import Limits
from clarivox.server.pacs.parts import Stream, boundary_of, packed, received

JSON = "application/dicom+json"
INSTANCES = 'multipart/related; type="application/dicom"; transfer-syntax=*'
OURS = "clarivox"
"""Manufacturer in the equipment that contributed to a series: the mark that a derived series bears."""
BATCH = 50
"""Instances of one request that stores; a PACS may take no longer body."""
SOP_UID, FAILURE, REFERENCED = "00081155", "00081198", "00081199"
"""ReferencedSOPInstanceUID, FailedSOPSequence, ReferencedSOPSequence."""


@dataclass(frozen=True)
class Stored:
    """What a PACS says of instances that were sent to it."""

    stored: tuple[str, ...]
    """SOPInstanceUIDs."""
    refused: dict[str, int]
    """SOPInstanceUID: FailureReason."""


@dataclass(frozen=True)
class Heard:
    """A stream that calls before each piece."""

    stream: Stream
    going: Callable[[], None]

    def read(self, size: int, /) -> bytes:
        """So many bytes, or fewer at the end."""
        self.going()
        return self.stream.read(size)


class DicomWeb:
    """One PACS.

    Args:
        url: its DICOMweb root, as http://127.0.0.1:8042/dicom-web.
        user, password: where it wants them; over https, or on this machine.
        token: a bearer token instead.
        timeout_s: how long it may be silent.

    >>> DicomWeb("https://pacs.example.org/dicom-web/").root
    '/dicom-web'
    """

    def __init__(
        self, url: str, *, user: str = "", password: str = "", token: str = "", timeout_s: float = 60.0
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OptionError("the address of a PACS begins with http:// or https://", code="bad_address")
        self.root, self._timeout_s = parts.path.rstrip("/"), timeout_s
        self._host, self._port, self._secure = parts.hostname, parts.port, parts.scheme == "https"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        if user:
            self._headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def search(self, path: str, **query: str | int) -> list[dict[str, Any]]:
        """Studies, series or instances that fit, as DICOM JSON.

        Args:
            path: studies, series, instances, or below a study or a series.
            **query: attributes by keyword, limit, offset.
        """
        text = urllib.parse.urlencode(query)
        with self._asked("GET", f"/{path}" + (f"?{text}" if text else ""), {"Accept": JSON}) as answer:
            content = answer.read()
        return list(json.loads(content)) if content else []

    def series(self, study: str) -> list[tuple[str, str]]:
        """UID and modality of each series of a study.

        Raises:
            NotFoundError: there is no such study.
        """
        found = self.search(f"studies/{quoted(study)}/series")
        if not found:
            raise NotFoundError("the PACS has no such study", code="no_such_object")
        return [(value(one, "0020000E"), value(one, "00080060")) for one in found]

    def fetch(
        self,
        study: str,
        series: str,
        folder: Path,
        limits: Limits | None = None,
        going: Callable[[], None] = lambda: None,
    ) -> list[Path]:
        """The instances of a series, as the PACS has them, into files of a folder.

        Args:
            study, series: their UIDs.
            folder: where the files go.
            limits: what they may claim.
            going: called now and then; may raise to stop.

        Raises:
            NotFoundError: there is no such series.
            TruncatedError: the connection broke.
            LimitError: it is larger than the limits allow.
        """
        limits = limits or Limits()
        path = f"/studies/{quoted(study)}/series/{quoted(series)}"
        with self._asked("GET", path, {"Accept": INSTANCES}) as answer:
            boundary = boundary_of(answer.getheader("Content-Type") or "")
            if not boundary:
                raise ServiceError("the PACS does not answer with the instances of a series", code="bad_answer")
            try:
                return received(
                    Heard(answer, going), boundary, folder, most=limits.frames, most_bytes=limits.unpacked_bytes
                )
            except (OSError, http.client.HTTPException) as cause:
                raise self.away() from cause

    def store(self, files: Sequence[Path]) -> Stored:
        """Bring instances to the PACS, some at a time; an instance that it has already is stored again as it is."""
        stored: list[str] = []
        refused: dict[str, int] = {}
        for first in range(0, len(files), BATCH):
            kind, length, body = packed(files[first : first + BATCH])
            headers = {"Accept": JSON, "Content-Type": kind, "Content-Length": str(length)}
            with self._asked("POST", "/studies", headers, body) as answer:
                said = json.loads(answer.read() or b"{}")
            said = said[0] if isinstance(said, list) and said else said
            stored += [value(one, SOP_UID) for one in said.get(REFERENCED, {}).get("Value", ())]
            for one in said.get(FAILURE, {}).get("Value", ()):
                refused[value(one, SOP_UID)] = int(one.get("00081197", {}).get("Value", [0])[0])
        return Stored(tuple(stored), refused)

    def opened(self, path: str, accept: str) -> http.client.HTTPResponse:
        """An answer as it comes, whatever it is; who asks for it reads it in pieces, and closes it.

        Args:
            path: below the root, with its query.
            accept: what is taken.

        Raises:
            BusyError: the PACS does not answer.
        """
        connection = self._connection()
        try:
            # The answer has the socket to itself, and its end is the connection's.
            connection.request(
                "GET", self.root + path, headers={**self._headers, "Accept": accept, "Connection": "close"}
            )
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as cause:
            connection.close()
            raise self.away() from cause

    @contextmanager
    def _asked(
        self, method: str, path: str, headers: dict[str, str], body: Iterator[bytes] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        connection = self._connection()
        try:
            connection.request(method, self.root + path, body, {**self._headers, **headers}, encode_chunked=False)
            answer = connection.getresponse()
            self.check(answer.status)
            yield answer
        except (OSError, http.client.HTTPException) as cause:
            raise self.away() from cause
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)

    @staticmethod
    def check(status: int) -> None:
        """What the PACS answers, as one of our errors; its own words may name a patient."""
        if status in (200, 202, 204, 206, 409):  # 409: some instances were refused, the answer says which
            return
        if status in (401, 403):
            raise AccessError("the PACS lets clarivox not do that; look at user, password or token", code="no_access")
        if status in (404, 410):
            raise NotFoundError("the PACS has no such study or series", code="no_such_object")
        if status in (429, 503):
            raise BusyError("the PACS is busy; ask again", code="pacs_busy", retry_after_s=10)
        raise ServiceError(f"the PACS answers with status {status}", code="bad_answer")

    @staticmethod
    def away() -> BusyError:
        """For a PACS that does not answer."""
        return BusyError("the PACS does not answer; is its address right, and does it run?", code="pacs_away")


def quoted(uid: str) -> str:
    """A UID as a part of an address."""
    return urllib.parse.quote(uid, safe="")


def value(dataset: dict[str, Any], tag: str) -> str:
    """The first value of an element of DICOM JSON, or "".

    >>> value({"00080060": {"vr": "CS", "Value": ["CT"]}}, "00080060")
    'CT'
    """
    found = dataset.get(tag, {}).get("Value") or [""]
    return str(found[0])
