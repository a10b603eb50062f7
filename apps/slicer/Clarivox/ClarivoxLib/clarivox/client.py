# SPDX-License-Identifier: Apache-2.0
"""A client of the server on the standard library alone: it streams, resumes, and says how far things are.

It needs `clarivox.client_wire` and `clarivox.errors` beside it and nothing else, and runs on Python 3.9, so that a
viewer's own Python can ship the three files.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import time
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clarivox import errors
from clarivox.client_wire import CHUNK, Sent, Source, Wire, chunks, counted, digest_of, error_of, files_of, unreachable

ENDED = frozenset({"succeeded", "failed", "cancelled", "expired", "purged"})
"""States that nothing leaves, but for the way to purged."""
QUIET_S = 45.0
"""A stream of events that is silent for longer is dead: the server sends a sign of life each 15 seconds."""
TURN_S = 20.0
"""How long the server holds a question for a change, where events do not come through."""
PAUSE_S = 0.5
"""How long to wait where it does not hold it."""


@dataclass(frozen=True)
class Job:
    """What the server says of a job.

    >>> Job.of({"id": "0193", "state": "running", "stage": "enhance", "done": 0.25}).ended
    False
    """

    id: str
    state: str
    """queued, running, succeeded, failed, cancelled, expired or purged."""
    stage: str = ""
    done: float = 0.0
    """Share of the stage that is done, 0 to 1."""
    eta_s: float | None = None
    content: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """The whole answer."""

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Job:
        """The job of an answer."""
        stage, done = content.get("stage") or "", content.get("done") or 0.0
        return cls(content["id"], content["state"], stage, done, content.get("eta_s"), content)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED

    def file(self, role: str = "result") -> Mapping[str, Any] | None:
        """What it says of its result or its evidence: name, media, bytes, sha256."""
        return next((one for one in self.content.get("results") or () if one.get("role") == role), None)

    def checked(self) -> Job:
        """The same job, if it succeeded.

        Raises:
            ClarivoxError: it did not; the error and its code are the server's.
        """
        if self.state == "succeeded":
            return self
        problem = dict(self.content.get("error") or {})
        problem.setdefault("detail", f"job {self.id} is {self.state}")
        problem.setdefault("code", "cancelled" if self.state == "cancelled" else errors.ServiceError.code)
        raise error_of(int(problem.get("status") or 0), problem)


class Client:
    """One server, as a program sees it.

    Args:
        url: its address, as http://127.0.0.1:8000.
        key: an API key or a bearer token, where it wants one.
        timeout_s: how long it may be silent.
        patience_s: how long to go on trying while it is busy, restarting or out of reach.
        authority: PEM file of the authority that signed its certificate, where the system does not know it.

    A study goes there, and its result comes back:

        client = Client("http://127.0.0.1:8000")
        job = client.submit("study/", "ct_unet_denoise")
        for job in client.follow(job):
            print(job.state, job.stage, f"{job.done:.0%}")
        client.download(job.checked(), "result.zip")

    >>> Client("http://127.0.0.1:8000/clarivox").url
    'http://127.0.0.1:8000/clarivox'
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout_s: float = 60.0,
        patience_s: float = 120.0,
        authority: str | None = None,
    ) -> None:
        self._wire = Wire(url, key, timeout_s, patience_s, authority)
        self.url = self._wire.url

    def info(self) -> dict[str, Any]:
        """Whether it can work, how many workers do, and how many jobs wait.

        Raises:
            BusyError: it answers, but cannot work now.
        """
        with self._wire.open("GET", "/readyz") as response:
            return dict(json.load(response))

    def bundles(self, name: str | None = None) -> Any:
        """The bundles it offers, each with its options as a JSON schema; or one of them by name."""
        if name is not None:
            return self._wire.json("GET", "/v1/bundles/" + urllib.parse.quote(name, safe=""))
        answer = self._wire.json("GET", "/v1/bundles")
        return answer.get("bundles", answer) if isinstance(answer, dict) else answer

    def submit(
        self,
        source: Source,
        bundle: str,
        *,
        like: Source | None = None,
        sent: Sent | None = None,
        idempotency_key: str | None = None,
        more: Mapping[str, Any] | None = None,
        **params: Any,
    ) -> Job:
        """Send a file, several, or a folder, and have a job made of it.

        A folder and several files are zipped on the way, without their names. What the server has already is not sent
        again, and what broke off is gone on with.

        Args:
            source: a file, a folder at any depth, or several files.
            bundle: the bundle's name.
            like: a DICOM series whose headers the result takes.
            sent: called as bytes go over.
            idempotency_key: the same key makes one job however often it is sent.
            more: priority, deadline or tags of the job.
            **params: options (of the bundle), strength, series, allow_uneven, force, engine, report.

        Raises:
            FormatError: there is no file, or one changed while it was sent.
            ClarivoxError: the server refused; the code is its own.
        """
        inputs = [{"role": "input", "sha256": self.upload(source, sent)}]
        if like is not None:
            inputs.append({"role": "like", "sha256": self.upload(like, sent)})
        body = {"bundle": bundle, "inputs": inputs, "params": params, **(more or {})}
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return Job.of(self._wire.json("POST", "/v1/jobs", body, headers))

    def upload(self, source: Source, sent: Sent | None = None) -> str:
        """Bring bytes to the server unless it has them, and give their SHA-256.

        Raises:
            FormatError: there is no file, or one changed while it was sent.
            ClarivoxError: the server refused.
        """
        files, packed = files_of(source)
        digest, total = hashlib.sha256(), 0
        for chunk in chunks(files, packed):
            digest.update(chunk)
            total += len(chunk)
        path = "/v1/blobs/" + digest.hexdigest()

        def put() -> None:
            offset = self._held(path, total)
            if sent is not None:
                sent(offset, total)
            if offset == total and offset:
                return
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(total - offset)}
            if offset:
                headers["Content-Range"] = f"bytes {offset}-{total - 1}/{total}"
            try:
                with self._wire.open("PUT", path, counted(chunks(files, packed), offset, total, sent), headers):
                    pass
            except errors.ConflictError as error:
                # What broke off before was still being written while we asked how much was there.
                raise unreachable(str(error)) from error

        self._wire.patiently(put)
        return digest.hexdigest()

    def _held(self, path: str, total: int) -> int:
        """How many bytes of a blob the server has."""
        try:
            with self._wire.open("HEAD", path) as response:
                offset = response.getheader("Upload-Offset")
                return total if offset is None else min(int(offset), total)
        except errors.NotFoundError:
            return 0

    def job(self, job: Job | str, *, wait_s: float = 0.0) -> Job:
        """How a job stands; with `wait_s`, as soon as it changes or after so long."""
        query = f"?wait={wait_s:g}" if wait_s else ""
        headers = {"If-None-Match": str(job.content.get("etag"))} if isinstance(job, Job) and wait_s else {}
        headers = {name: value for name, value in headers.items() if value != "None"}

        def get() -> Job:
            with self._wire.open("GET", _path(job) + query, None, headers, self._wire.timeout_s + wait_s) as response:
                if response.status == 304 and isinstance(job, Job):
                    return job
                return Job.of({**json.load(response), "etag": response.getheader("ETag")})

        return self._wire.patiently(get)

    def follow(self, job: Job | str) -> Iterator[Job]:
        """A job as it stands now, and again with each change, until it has ended.

        Events are streamed; where a proxy keeps them back, the server is asked by turns. A restart of the server is
        waited out.
        """
        now, seen, streams = self.job(job), [""], True
        yield now
        while not now.ended:
            if streams:
                streams = False
                with contextlib.suppress(_Silent):
                    for data in self._events(now, seen):
                        streams = True
                        fresh = Job.of({**now.content, **data}) if "done" in data else self.job(now)
                        if fresh != now:
                            yield (now := fresh)
                        if now.ended:
                            return
            began = time.monotonic()
            fresh = self.job(now, wait_s=0.0 if streams else TURN_S)
            if fresh != now:
                yield (now := fresh)
            elif time.monotonic() - began < PAUSE_S:
                time.sleep(PAUSE_S)

    def _events(self, job: Job, seen: list[str]) -> Iterator[dict[str, Any]]:
        """The content of each event of a stream, from the one after the last seen on.

        Raises:
            _Silent: the stream ended, or cannot be had.
        """
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": seen[0]} if seen[0] else {})}
        try:
            with self._wire.open("GET", _path(job) + "/events", None, headers, QUIET_S) as response:
                if not (response.getheader("Content-Type") or "").startswith("text/event-stream"):
                    raise _Silent
                lines: list[str] = []
                for raw in iter(response.readline, b""):
                    line = raw.decode("utf-8", "replace").rstrip("\r\n")
                    if line.startswith("id:"):
                        seen[:] = [line[3:].strip()]
                    elif line.startswith("data:"):
                        lines.append(line[5:].strip())
                    elif not line and lines:
                        yield dict(json.loads("\n".join(lines)))
                        lines = []
        except (errors.ServiceError, OSError, http.client.HTTPException, ValueError) as error:
            raise _Silent from error

    def jobs(self, **query: Any) -> list[Job]:
        """The newest jobs of this key's owner; `state`, `bundle`, `study_uid`, `limit` choose."""
        wanted = urllib.parse.urlencode({name: value for name, value in query.items() if value is not None})
        answer = self._wire.json("GET", "/v1/jobs" + (f"?{wanted}" if wanted else ""))
        return [Job.of(one) for one in (answer["jobs"] if isinstance(answer, dict) else answer)]

    def cancel(self, job: Job | str) -> Job:
        """Stop a job; a running one stops at its next step.

        Raises:
            ConflictError: it has ended.
        """
        return Job.of(self._wire.json("DELETE", _path(job)))

    def retry(self, job: Job | str) -> Job:
        """A new job of the same files and wishes."""
        return Job.of(self._wire.json("POST", _path(job) + "/retry", {}, {"Idempotency-Key": uuid.uuid4().hex}))

    def download(
        self,
        job: Job,
        target: str | os.PathLike[str],
        *,
        role: str = "result",
        form: str | None = None,
        overwrite: bool = False,
        got: Sent | None = None,
    ) -> Path:
        """Fetch a job's result, or its evidence page, into a file; what broke off is gone on with.

        Nothing appears under the file's name before it is whole and its digest is right.

        Args:
            job: a job that succeeded.
            target: the file to write.
            role: result or evidence.
            form: dicom, nifti or nrrd, for a result in another format than the input's.
            overwrite: replace what is there.
            got: called as bytes come.

        Raises:
            OutputError: the file is there already, or cannot be written.
            ClarivoxError: the server refused, or what came is not what it has.
        """
        final = Path(target)
        if final.exists() and not overwrite:
            raise errors.OutputError(f"{final} exists already; choose another name", code="output_exists")
        known = None if form else (job.file(role) or {}).get("sha256")
        part = final.with_name(f".{final.name}.{(known or uuid.uuid4().hex)[:16]}.part")
        path = f"{_path(job)}/{role}" + (f"?as={form}" if form else "")
        tag: list[str] = [f'"{known}"'] if known else []
        try:
            self._wire.patiently(lambda: self._fetch(path, part, tag, got))
            wanted = known or (tag[0].strip('"') if tag else "")
            if re.fullmatch("[0-9a-f]{64}", wanted) and digest_of(part) != wanted:
                part.unlink()
                raise errors.ServiceError("what came is not what the server has; ask again", code="damaged_download")
            part.replace(final)
        except OSError as error:
            raise errors.OutputError(f"{final} cannot be written: {error.strerror}") from error
        return final

    def _fetch(self, path: str, part: Path, tag: list[str], got: Sent | None) -> None:
        """Go on with a file where it ends; `tag` keeps which version it is of."""
        offset = part.stat().st_size if part.exists() and tag else 0
        headers = {"Range": f"bytes={offset}-", "If-Range": tag[0]} if offset else {}
        with (
            self._wire.open("GET", path, None, headers) as response,
            part.open("ab" if response.status == 206 else "wb") as stream,
        ):
            tag[:] = filter(None, [response.getheader("ETag")])
            done = stream.tell()
            total = done + int(response.getheader("Content-Length") or 0)
            while chunk := response.read(CHUNK):
                stream.write(chunk)
                done += len(chunk)
                if got is not None:
                    got(done, total)
        if done < total:
            raise unreachable("the connection broke")


class _Silent(Exception):  # noqa: N818
    """A stream of events ended, or there is none."""


def _path(job: Job | str) -> str:
    return "/v1/jobs/" + urllib.parse.quote(job if isinstance(job, str) else job.id, safe="")
