# SPDX-License-Identifier: Apache-2.0
"""`clarivox enhance`: from a file, a folder or a zip to enhanced volumes in the same form."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clarivox.cli import jobs
from clarivox.cli.bundles import complete_bundle
from clarivox.cli.screen import complain, say, watched
from clarivox.errors import CancelledError, ClarivoxError, OptionError

if TYPE_CHECKING:
    from clarivox.bundle import Bundle
    from clarivox.progress import Progress
    from clarivox.volume import Volume


class Form(StrEnum):
    """In which format the result is written."""

    DICOM = "dicom"
    NIFTI = "nifti"
    NRRD = "nrrd"
    MHA = "mha"
    PNG = "png"
    TIFF = "tiff"


class Engine(StrEnum):
    """What runs the network."""

    TORCH = "torch"
    OPENVINO = "openvino"


class Compress(StrEnum):
    """How DICOM pixels are packed."""

    JPEGLS = "jpegls"


@dataclass(frozen=True)
class Wish:
    """What the user asked of every volume."""

    bundle: Bundle
    strength: float
    device: str
    engine: str
    form: str | None
    like: Path | None
    report: bool
    overwrite: bool
    allow_uneven: bool
    force: bool
    compress: str | None
    keep_private: tuple[str, ...]


def enhance(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A file, a folder at any depth, or a zip.")],
    bundle: Annotated[
        str, typer.Option("--bundle", "-b", help="A bundle's name or folder.", autocompletion=complete_bundle)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File or folder to write; of several series, the folder for all.")
    ],
    options: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An option of the bundle; may be repeated.")
    ] = None,
    strength: Annotated[float, typer.Option(help="Share of the change to apply, 0 to 1.")] = 1.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    engine: Annotated[Engine, typer.Option(help="What runs the network; openvino on a CPU only.")] = Engine.TORCH,
    form: Annotated[Form | None, typer.Option("--as", help="Format to write; the source's by default.")] = None,
    like: Annotated[
        Path | None, typer.Option(help="DICOM series whose headers to use, from NIfTI or NRRD to DICOM.")
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="Also write a page that shows what changed.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    allow_uneven: Annotated[
        bool, typer.Option("--allow-uneven", help="Take series whose slices are unevenly spaced or missing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Run on a modality that the bundle is not for.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")] = False,
    compress: Annotated[Compress | None, typer.Option(help="Pack DICOM pixels without loss.")] = None,
    keep_private: Annotated[
        list[str] | None,
        typer.Option(metavar="CREATOR", help="Keep the private DICOM elements of a creator; may be repeated."),
    ] = None,
) -> None:
    """Enhance every volume of IN and write each as it came. Of several, results.csv says what came of each."""
    from clarivox import io
    from clarivox.bundle import find, load
    from clarivox.enhance import check_request

    chosen = find(bundle)
    values = chosen.checked(parsed(options or []))
    check_request(chosen, strength, device, engine)
    infos = io.scan(source)
    planned = jobs.plan(infos, output, form)
    switches = [name for name, given in (("--compress", compress), ("--keep-private", keep_private)) if given]
    jobs.check_forms(planned, form, like=like is not None, only_dicom=switches)
    table = output / "results.csv"
    if not dry_run and not overwrite:
        pages = [jobs.page_of(job.target) for job in planned if report]
        jobs.check_free([*(job.target for job in planned), *pages, *([table] if len(planned) > 1 else [])])
    loaded = load(chosen.folder, **values)
    kept = tuple(keep_private or ())
    wish = Wish(loaded, strength, device, engine, form, like, report, overwrite, allow_uneven, force, compress, kept)
    if dry_run:
        from clarivox.cli.dry_run import foretell

        foretell(source, planned, wish)
        return
    rows = run_all(source, planned, wish)
    if len(planned) > 1:
        jobs.write_results(rows, table, overwrite)
        count = Counter(row.status for row in rows)
        told = ", ".join(f"{number} {status}" for status, number in count.items())
        say(f"{told}; {table} says more")
        if rows[-1].status == "cancelled":
            raise CancelledError("stopped on request; what was finished is kept")
        if count["failed"] or not count["done"]:
            raise typer.Exit(1)


def parsed(options: Sequence[str]) -> dict[str, Any]:
    """Options of a bundle from words like scale=2; a value is read as JSON where it is JSON.

    Raises:
        OptionError: there is no "=".

    >>> parsed(["scale=2", "mode=fast"])
    {'scale': 2, 'mode': 'fast'}
    """
    values: dict[str, Any] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not name or not equals:
            raise OptionError(f"an option of a bundle is given as NAME=VALUE; found {option!r}")
        try:
            values[name] = json.loads(text)
        except json.JSONDecodeError:
            values[name] = text
    return values


def run_all(source: Path, planned: Sequence[jobs.Job], wish: Wish) -> list[jobs.Outcome]:
    """Enhance one volume after another; what goes wrong with one of several is told and does not stop the others.

    Raises:
        ClarivoxError: the only volume failed, or it was cancelled.
    """
    rows: list[jobs.Outcome] = []
    alone = len(planned) == 1
    title = wish.bundle.info.name
    with watched(title) as progress:
        try:
            for job, found in jobs.volumes(source, planned, wish.allow_uneven, progress):
                try:
                    if isinstance(found, ClarivoxError):
                        raise found
                    rows.append(run_one(job, found, wish, progress))
                except CancelledError:
                    raise
                except ClarivoxError as error:
                    if alone:
                        raise
                    # A text file or a picture of another kind beside the images is no failure.
                    foreign = not job.info.format
                    if not foreign:
                        complain(error, about=jobs.label(job))
                    rows.append(jobs.outcome(job, "skipped" if foreign else "failed", error))
        except CancelledError as error:
            if alone:
                raise
            rows.append(jobs.outcome(planned[len(rows)], "cancelled", error))
    return rows


def run_one(job: jobs.Job, volume: Volume, wish: Wish, progress: Progress) -> jobs.Outcome:
    """Enhance one volume, write it, and say so.

    Raises:
        ClarivoxError: any step failed; nothing was written under the final name.
    """
    from clarivox import io
    from clarivox.enhance import enhance as enhanced

    result = enhanced(
        volume,
        wish.bundle,
        device=wish.device,
        engine=wish.engine,
        strength=wish.strength,
        allow_uneven=wish.allow_uneven,
        force=wish.force,
        progress=progress,
    )
    written = io.write(
        result,
        job.target,
        as_=wish.form,
        like=wish.like,
        overwrite=wish.overwrite,
        compress=wish.compress,
        keep_private=wish.keep_private,
        progress=progress,
    )
    page = _report(job, volume, result, wish.overwrite) if wish.report else None
    made = result.provenance
    notes = [*volume.notes, *(made.notes if made else ()), *written.notes]
    where = written.files[0] if len(written.files) == 1 else job.target
    say(
        f"{where}: {len(written.files)} {'file' if len(written.files) == 1 else 'files'}"
        + (f", {page}" if page else "")
    )
    for note in notes:
        say(f"  note: {note}")
    return jobs.outcome(
        job,
        "done",
        output=str(where),
        report=str(page or ""),
        bundle=f"{wish.bundle.info.name} {wish.bundle.info.version}",
        seconds=f"{made.seconds:.2f}" if made else "",
        clipped_voxels=str(made.clipped_voxels) if made else "",
        notes="; ".join(notes),
    )


def _report(job: jobs.Job, before: Volume, after: Volume, overwrite: bool) -> Path:
    """Write the page beside the result."""
    from clarivox.evidence import write_page

    return write_page(jobs.page_of(job.target), before, after, overwrite=overwrite)
