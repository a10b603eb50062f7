# SPDX-License-Identifier: Apache-2.0
"""Which volumes an input holds, where each result goes, and what came of each."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from clarivox.errors import ClarivoxError, OutputError

if TYPE_CHECKING:
    from clarivox.io.dispatch import Unreadable
    from clarivox.io.series import SeriesInfo
    from clarivox.progress import Progress
    from clarivox.volume import Volume

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm")


@dataclass(frozen=True)
class Job:
    """One volume of an input, and where its result goes."""

    info: SeriesInfo
    target: Path


@dataclass(frozen=True)
class Outcome:
    """What came of one volume: a row of results.csv."""

    series: str
    modality: str
    size: str
    status: str
    """done, failed, cancelled, or skipped where a file is no image."""
    error_code: str = ""
    message: str = ""
    output: str = ""
    report: str = ""
    bundle: str = ""
    seconds: str = ""
    clipped_voxels: str = ""
    notes: str = ""


def plan(infos: Sequence[SeriesInfo], output: Path, form: str | None) -> list[Job]:
    """Where each volume goes: to `output` itself where there is one, else below it, numbered.

    Args:
        infos: as `clarivox.io.scan` gives them.
        output: what the user named.
        form: what the user wants written, or None for the source's format.

    >>> from clarivox.io import SeriesInfo
    >>> infos = [SeriesInfo("a/b.nii", "nifti"), SeriesInfo("1.2", "dicom")]
    >>> [job.target.as_posix() for job in plan(infos, Path("out"), None)]
    ['out/a/b.nii.gz', 'out/002']
    """
    if len(infos) == 1:
        return [Job(infos[0], _alone(infos[0], output, form))]
    planned: list[Job] = []
    taken: set[Path] = set()
    for number, info in enumerate(infos, start=1):
        target = output / _name(info, number, form)
        if page_of(target) in taken:
            # scan.nii and scan.png beside each other would both become scan, or share a page.
            target = target.with_name(f"{number:03d}-{target.name}")
        taken.add(page_of(target))
        planned.append(Job(info, target))
    return planned


def _alone(info: SeriesInfo, output: Path, form: str | None) -> Path:
    """A name that says its format is taken; else a file gets the ending of its format, in a folder that is there."""
    ending = _ending(info, form)
    if not ending or output.name.lower().endswith(ENDINGS):
        return output
    if output.is_dir():
        return output / (_stem(info) + ending)
    return output.with_name(output.name + ending)


def _name(info: SeriesInfo, number: int, form: str | None) -> Path:
    """DICOM's names may tell who the patient is, so a series gets a number; a file keeps the user's own name."""
    ending = _ending(info, form)
    if info.format == "dicom":
        return Path("-".join(part for part in (f"{number:03d}", info.modality) if part) + ending)
    return Path(info.key).with_name(_stem(info) + ending)


def _stem(info: SeriesInfo) -> str:
    name = Path(info.files[0] if info.files else info.key).name
    return next((name[: -len(end)] for end in ENDINGS if name.lower().endswith(end)), name)


def _ending(info: SeriesInfo, form: str | None) -> str:
    """How a result's name ends; "" for a folder."""
    from clarivox.io.dispatch_write import suffix_of

    several = info.shape is not None and info.shape[3] > 1
    if form is None and info.format == "image":
        form = "tiff" if several else "png"
    form = form or info.format or "nifti"
    return "" if form == "png" and several else suffix_of(form)


def page_of(target: Path) -> Path:
    """Where the page about a result goes.

    >>> page_of(Path("out/scan.nii.gz")).as_posix(), page_of(Path("out/003-CT")).as_posix()
    ('out/scan.html', 'out/003-CT.html')
    """
    name = target.name
    stem = next((name[: -len(end)] for end in ENDINGS if name.lower().endswith(end)), name)
    return target.with_name(f"{stem}.html")


def check_free(targets: Sequence[Path]) -> None:
    """Refuse before any work what could not be written after it.

    Raises:
        OutputError: something is there already (code output_exists).
    """
    for target in targets:
        if target.exists() and not (target.is_dir() and not any(target.iterdir())):
            raise OutputError(
                f"{target.name!r} exists already; choose another name, or --overwrite", code="output_exists"
            )


def volumes(
    source: Path, jobs: Sequence[Job], allow_uneven: bool, progress: Progress
) -> Iterator[tuple[Job, Volume | ClarivoxError]]:
    """Each job with its volume, or with the error that kept it from being read.

    Raises:
        CancelledError: `progress` returned False.
    """
    from clarivox import io
    from clarivox.io.dispatch import Unreadable

    everything: Iterator[Volume | Unreadable] = io.read_all(source, allow_uneven=allow_uneven, progress=progress)
    for job, found in zip(jobs, everything, strict=True):
        yield job, found.error if isinstance(found, Unreadable) else found


def outcome(job: Job, status: str, error: ClarivoxError | None = None, **more: str) -> Outcome:
    """A row about one job."""
    size = "x".join(str(side) for side in job.info.shape[1:]) if job.info.shape else ""
    row = Outcome(job.info.key, job.info.modality, size, status, **more)
    if error is None:
        return row
    return Outcome(row.series, row.modality, row.size, status, error.code, str(error), bundle=row.bundle)


def write_results(rows: Sequence[Outcome], path: Path, overwrite: bool) -> None:
    """Write results.csv, one row a volume.

    Raises:
        OutputError: the file exists and may not be replaced, or cannot be written.
    """
    from clarivox.io import atomic

    names = [field.name for field in fields(Outcome)]
    with atomic.file(path, overwrite) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(names)
        writer.writerows([getattr(row, name) for name in names] for row in rows)
