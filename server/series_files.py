# SPDX-License-Identifier: Apache-2.0
"""The files of a DICOM series of the server's own store, as inputs of a job; and the series that a job was about."""

from __future__ import annotations

import json

from clarivox.errors import NotFoundError
from clarivox.server.auth import Caller
from clarivox.server.deps import Services
from clarivox.server.dicom_objects import Series
from clarivox.server.job import FileRef, Job, Role


def series_files(parts: Services, caller: Caller, uid: str) -> tuple[tuple[FileRef, ...], str | None, str]:
    """The stored files of a series that the caller may see, its UID where they hold other series too, and its study."""
    found = parts.dicom.series(caller.sees, series=uid)
    if not found:
        return (), None, ""
    newest = found[0]
    files = sources_of(newest)
    others = [one for one in parts.dicom.of_index(newest.parts[0][0].sha256) if one.uid != uid]
    shared = any(set(files) & set(sources_of(one)) for one in others)
    media = {True: ("application/zip", "image.zip"), False: ("application/dicom", "image.dcm")}
    refs = []
    for sha256 in files:
        path = parts.blobs.path(sha256)
        with path.open("rb") as stream:
            kind, name = media[stream.read(2) == b"PK"]
        refs.append(FileRef(Role.INPUT, sha256, path.stat().st_size, kind, name))
    return tuple(refs), uid if shared else None, newest.study


def sources_of(series: Series) -> list[str]:
    """The SHA-256 of the files that the newest part of a series lies in, in their order."""
    index, part = series.parts[0]
    numbers = {json.loads(line)["file"]["source"] for line in index.read(*part["records"]).splitlines()}
    return [index.sources[number].name for number in sorted(numbers) if number >= 0]


def series_of(parts: Services, job: Job) -> tuple[Series, Series]:
    """The series that a job was given, and the one that it made of it.

    Raises:
        NotFoundError: the job was not about DICOM, or its files are deleted.
    """
    index = next((one for one in job.results if one.role == Role.INDEX), None)
    made = {one.sha256 for one in job.results if one.role == Role.RESULT}
    given = {one.sha256 for one in job.inputs if one.role == Role.INPUT}
    known = parts.dicom.of_index(index.sha256) if index is not None else []
    files = [(one, set(sources_of(one))) for one in known]
    derived = next((one for one, held in files if made & held), None)
    wanted = job.params.get("series")
    sources = [one for one, held in files if given & held and one.uid == (wanted or one.uid)]
    source = next((one for one in sources if derived is not None and one.study == derived.study), None)
    if derived is None or source is None:
        raise NotFoundError("the job has no DICOM series here", code="no_such_object")
    return source, derived
