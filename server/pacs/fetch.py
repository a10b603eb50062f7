# SPDX-License-Identifier: Apache-2.0
"""A study or a series of the PACS as the input of a job: fetched while the request lasts, and kept as one file."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from clarivox.errors import ConflictError, NotFoundError
from clarivox.io.limits import Limits
from clarivox.server.blobs import CHUNK, Blobs
from clarivox.server.job import FileRef, Role
from clarivox.server.pack import Pack
from clarivox.server.pacs.web import OURS, DicomWeb, quoted, value

EQUIPMENT, MANUFACTURER = "0018A001", "00080070"
STUDY, SERIES, MODALITY, INSTANCE = "0020000D", "0020000E", "00080060", "00080018"
NO_IMAGES = frozenset(
    {"AU", "DOC", "ECG", "EPS", "FID", "HD", "KO", "M3D", "PLAN", "PR", "REG", "RESP", "RTDOSE", "RTPLAN"}
    | {"RTRECORD", "RTSTRUCT", "SEG", "SMR", "SR", "STAIN", "TEXTUREMAP"}
)
"""Modalities of what a study holds beside images."""


def chosen(web: DicomWeb, study: str | None, series: str | None, modalities: Collection[str]) -> list[tuple[str, str]]:
    """Study and series of what is to be enhanced: the series that is named, or those of the study that suit.

    Args:
        web: the PACS.
        study, series: their UIDs, one of them at least.
        modalities: that the bundle takes; empty for any. They choose among the series of a study.

    Raises:
        ConflictError: it is a result of ours; code own_result.
        NotFoundError: there is no such study or series, or none in it that suits; code no_such_object.
    """
    if series is not None:
        found = web.search("series", SeriesInstanceUID=series, **({"StudyInstanceUID": study} if study else {}))
        exact = [value(one, STUDY) for one in found if value(one, SERIES) == series]
        if not exact:
            raise NotFoundError("the PACS has no such series", code="no_such_object")
        if ours(web, exact[0], series):
            raise ConflictError("this series is a result of clarivox already; choose its source", code="own_result")
        return [(exact[0], series)]
    named = study or ""
    suits = [
        (named, uid)
        for uid, modality in web.series(named)
        if (modality in modalities if modalities else modality not in NO_IMAGES)
    ]
    wanted = [one for one in suits if not ours(web, *one)]
    if not wanted:
        raise NotFoundError("the study has no series that this bundle takes", code="no_such_object")
    return wanted


def ours(web: DicomWeb, study: str, series: str) -> bool:
    """Whether clarivox made a series: enhanced twice, it would go round for ever."""
    path = f"studies/{quoted(study)}/series/{quoted(series)}/instances"
    first = web.search(path, limit=1)
    if not first:
        raise NotFoundError("the PACS has no instance of this series", code="no_such_object")
    header = web.search(f"{path}/{quoted(value(first[0], INSTANCE))}/metadata")
    made = header[0].get(EQUIPMENT, {}).get("Value", ()) if header else ()
    return any(value(one, MANUFACTURER) == OURS for one in made)


def fetched(
    web: DicomWeb, wanted: Sequence[tuple[str, str]], blobs: Blobs, limits: Limits, going: Callable[[], None]
) -> FileRef:
    """Series of the PACS as one file of the store; the same series make the same file.

    Args:
        web: the PACS.
        wanted: study and series of each.
        blobs: the store.
        limits: for all together.
        going: called now and then; may raise to stop.

    Raises:
        NotFoundError: there is no such series.
        TruncatedError: the connection broke.
        LimitError: they are larger than the limits allow.
        CapacityError: there is no room on the disk.
    """
    with tempfile.TemporaryDirectory(prefix="pacs-", dir=blobs.temporary) as scratch:
        files: list[Path] = []
        left = limits
        for number, (study, series) in enumerate(wanted):
            folder = Path(scratch) / f"{number:03d}"
            folder.mkdir()
            found = web.fetch(study, series, folder, left, going)
            size = sum(path.stat().st_size for path in found)
            left = replace(left, frames=left.frames - len(found), unpacked_bytes=left.unpacked_bytes - size)
            files += found
        blobs.admit(limits.unpacked_bytes - left.unpacked_bytes)
        return packed(files, blobs)


def packed(files: Sequence[Path], blobs: Blobs) -> FileRef:
    """Files as one file of the store, in an order that is of what they hold: a PACS sends them in any."""
    with blobs.writer() as writer:
        pack = Pack(writer, len(files))
        for path in sorted(files, key=_digest):
            pack.take(b"")
            with path.open("rb") as stream:
                while piece := stream.read(CHUNK):
                    pack.take(piece)
        pack.end()
        sha256, size = writer.commit()
    return FileRef(Role.INPUT, sha256, size, "application/zip", "image.zip")


def _digest(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
