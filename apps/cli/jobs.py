# SPDX-License-Identifier: Apache-2.0
"""Which volumes an input holds, where each result goes, and what came of each."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from clarivox.errors import ClarivoxError, OptionError, OutputError

if TYPE_CHECKING:
    from clarivox.io.dispatch import Unreadable
    from clarivox.io.series import SeriesInfo
    from clarivox.progress import Progress
    from clarivox.volume import Volume

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm")

_ENDINGS_OF = {"nifti": (".nii", ".nii.gz"), "tiff": (".tif", ".tiff"), "dicom": (".dcm",)}
"""Where a format takes more endings than the one it gives."""


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


def label(job: Job) -> str:
    """What the user can find a volume by: its target's number and modality, and a file's own name.

    >>> from clarivox.io import SeriesInfo
    >>> label(Job(SeriesInfo("1.2", "dicom", modality="CT", files=("a/I1", "a/I2")), Path("out/003-CT")))
    '003-CT (2 files in a)'
    >>> label(Job(SeriesInfo("b/scan.nii", "nifti", files=("b/scan.nii",)), Path("out/b/scan.nii.gz")))
    'scan.nii'
    """
    files = [Path(name) for name in job.info.files]
    if job.info.format != "dicom":
        return (files[0] if files else Path(job.info.key)).name
    where = files[0].name if len(files) == 1 else f"{len(files)} files in {files[0].parent.name}" if files else ""
    return f"{job.target.name} ({where})" if where else job.target.name


def check_forms(planned: Sequence[Job], form: str | None, *, like: bool, only_dicom: Sequence[str] = ()) -> None:
    """Refuse before any work a format that cannot be written so.

    Args:
        planned, form: as in `plan`.
        like: whether a series to be like is named.
        only_dicom: the switches given that hold for DICOM alone.

    Raises:
        OptionError: a series to be like is named where no DICOM is made of another format, or a switch for DICOM where
            something else is written.
        OutputError: DICOM is asked of what is no DICOM without a series to be like (code needs_like), or the name
            says another format than the one that is asked for (code bad_name).
    """
    for job in planned:
        if like and (form != "dicom" or job.info.format == "dicom"):
            raise OptionError(
                f"--like is for other formats with --as dicom; {label(job)!r} "
                + ("has DICOM headers of its own" if job.info.format == "dicom" else "is not written as DICOM")
            )
        if form == "dicom" and job.info.format not in ("", "dicom") and not like:
            raise OutputError(
                f"a DICOM series needs headers, and {label(job)!r} is not DICOM; name a series to be like (--like)",
                code="needs_like",
            )
        written = form or job.info.format
        if only_dicom and written not in ("", "dicom"):
            raise OptionError(
                f"{', '.join(only_dicom)} {'is' if len(only_dicom) == 1 else 'are'} for DICOM; {label(job)!r} is "
                f"written as {written}; leave it out, or ask for --as dicom"
            )
        ending = _ending(job.info, form)
        name = job.target.name
        if form and name.lower().endswith(ENDINGS) and not name.lower().endswith(_ENDINGS_OF.get(form, (ending,))):
            what = f"ends with {ending}" if ending else "of a folder has no such ending"
            raise OutputError(f"--as {form} writes a name that {what}; found {name!r}", code="bad_name")


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
