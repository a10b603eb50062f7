# SPDX-License-Identifier: Apache-2.0
"""DICOM series for MONAI Label's viewers: which one a job made, and which files one consists of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from clarivox.server.auth import Caller
from clarivox.server.dicom_objects import Series
from clarivox.server.job import FileRef, Role
from clarivox.server.label_parts import Labels

_FACTS = {
    "PatientID": "00100020",
    "Modality": "00080060",
    "StudyDate": "00080020",
    "StudyTime": "00080030",
}


def series_facts(labels: Labels, results: Sequence[FileRef]) -> dict[str, Any]:
    """What OHIF wants to know of the series that a job made; nothing for other formats."""
    made = {one.sha256 for one in results if one.role == Role.RESULT}
    index = next((one for one in results if one.role == Role.INDEX), None)
    if index is None:
        return {}
    for series in labels.parts.dicom.of_index(index.sha256):
        if made & set(sources_of(series)):
            few = {name: series.few.get(tag, {}).get("Value", [None])[0] for name, tag in _FACTS.items()}
            found = {"StudyInstanceUID": series.study, "SeriesInstanceUID": series.uid} | few
            return {name: value for name, value in found.items() if isinstance(value, str)}
    return {}


def series_files(labels: Labels, caller: Caller, uid: str) -> tuple[tuple[FileRef, ...], str | None]:
    """The stored files of a series that the caller may see, and the UID where they hold other series too."""
    found = labels.parts.dicom.series(caller.sees, series=uid)
    if not found:
        return (), None
    newest = found[0]
    files = sources_of(newest)
    others = [one for one in labels.parts.dicom.of_index(newest.parts[0][0].sha256) if one.uid != uid]
    shared = any(set(files) & set(sources_of(one)) for one in others)
    blobs = labels.parts.blobs
    media = {True: ("application/zip", "image.zip"), False: ("application/dicom", "image.dcm")}
    refs = []
    for sha256 in files:
        path = blobs.path(sha256)
        with path.open("rb") as stream:
            kind, name = media[stream.read(2) == b"PK"]
        refs.append(FileRef(Role.INPUT, sha256, path.stat().st_size, kind, name))
    return tuple(refs), uid if shared else None


def sources_of(series: Series) -> list[str]:
    """The SHA-256 of the files that the newest part of a series lies in, in their order."""
    index, part = series.parts[0]
    numbers = {json.loads(line)["file"]["source"] for line in index.read(*part["records"]).splitlines()}
    return [index.sources[number].name for number in sorted(numbers) if number >= 0]
