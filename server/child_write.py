# SPDX-License-Identifier: Apache-2.0
"""In the limited child: write results in the form they came in, the page about each, and pack them for one download."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clarivox import io
from clarivox.compare import compare
from clarivox.errors import OutputError, SeriesError
from clarivox.evidence import write_page
from clarivox.io.dispatch_write import format_of, suffix_of
from clarivox.io.limits import Limits
from clarivox.io.written import Written
from clarivox.progress import Step
from clarivox.server import child_volume
from clarivox.volume import Volume

MEDIA = {
    "nifti": "application/gzip",
    "png": "image/png",
    "tiff": "image/tiff",
    "zip": "application/zip",
    "html": "text/html; charset=utf-8",
}
"""What a file is to HTTP; NRRD and MHA have no registered type."""
PLAIN = "application/octet-stream"

Tell = Callable[[Step], None]


@dataclass(frozen=True)
class Part:
    """One written volume."""

    written: Written
    stem: str
    """Of its name in a zip of several, as 002-CT."""


def write(kept: list[Volume], order: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Write the enhanced volumes and their pages.

    Args:
        kept: what was read, with headers.
        order: volumes (each the number in `kept`, the place in the input, and the facts of the enhanced volume), as,
            like, report, keep_private.
        tell: called as the voxels go out.

    Returns:
        files, each with role, path below the folder, media and name; the notes of writing; and the figures of the
        first volume's page.

    Raises:
        InputError: a volume cannot be written so.
        CapacityError: the disk is full.
    """
    folder = Path.cwd()
    parts, pages, notes = list[Part](), list[Path](), list[str]()
    figures: list[dict[str, Any]] = []
    for number, place, facts in order["volumes"]:
        before = kept[number]
        after = child_volume.unpack(facts, folder).replace(source=before.source)
        stem = "-".join(word for word in (f"{place + 1:03d}", after.modality) if word)
        written = written_to(after, folder / "out" / stem, order, tell)
        parts.append(Part(written, stem))
        notes += written.notes
        if order["report"]:
            name = "evidence.html" if not pages else f"evidence-{len(pages) + 1:03d}.html"
            comparison = compare(before, after)
            figures = figures or comparison.as_dict()["figures"]
            pages.append(write_page(folder / name, before, after, comparison=comparison))
    files = [packed(folder, parts, "result")]
    files += [{"role": "evidence", "path": p.name, "media": MEDIA["html"], "name": p.name} for p in pages]
    return {"files": files, "notes": notes, "figures": figures}


def convert(_kept: list[Volume], order: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Write a file, or each volume of a zip, in another format.

    Args:
        order: source, as, like, limits.
        tell: called as the voxels go out.

    Raises:
        InputError: the input cannot be read, or not be written so.
    """
    folder, parts = Path.cwd(), list[Part]()
    for number, one in enumerate(
        io.read_all(Path(order["source"]), allow_uneven=True, limits=Limits(**order["limits"]))
    ):
        if not isinstance(one, Volume):
            raise one.error
        stem = "-".join(word for word in (f"{number + 1:03d}", one.modality) if word)
        parts.append(Part(written_to(one, folder / "out" / stem, order, tell), stem))
    return {"files": [packed(folder, parts, "result")], "notes": [note for p in parts for note in p.written.notes]}


def written_to(volume: Volume, stem: Path, order: dict[str, Any], tell: Tell) -> Written:
    """Write one volume under a name that its format ends; a series and several pictures become a folder.

    Raises:
        InputError: it cannot be written so.
    """
    form = order["as"] or format_of(volume, stem)
    source = volume.source.format if volume.source is not None else ""
    like = None
    if form == "dicom" and source != "dicom":
        if not order["like"]:
            raise OutputError(
                "a DICOM series needs headers, and the input is not DICOM; send a series to be like (role like)",
                code="needs_like",
            )
        like = Path(order["like"])
    flat = form == "png" and volume.shape[3] > 1
    target = stem if flat else stem.with_name(stem.name + suffix_of(form))
    kept = tuple(order.get("keep_private", ())) if form == "dicom" else ()
    written = io.write(volume, target, as_=form, like=like, keep_private=kept, progress=tell)
    if form == "dicom" and order["deidentify"]:
        from clarivox.io.dicom_deidentify import deidentify

        deidentify(written.files)
    return written


def packed(folder: Path, parts: Sequence[Part], name: str) -> dict[str, str]:
    """One file for everything: a volume's own file, or a zip that takes no time to pack.

    Raises:
        SeriesError: there is nothing to pack (code no_series).
    """
    if not parts:
        raise SeriesError("the input holds no volume", code="no_series")
    first = parts[0].written
    if len(parts) == 1 and len(first.files) == 1 and first.format != "dicom":
        path = first.files[0]
        suffix = suffix_of(first.format)
        return {
            "role": "result",
            "path": str(path.relative_to(folder)),
            "media": MEDIA.get(first.format, PLAIN),
            "name": name + suffix,
        }
    with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
        for part in parts:
            alone = len(part.written.files) == 1 and part.written.format != "dicom"
            for file in part.written.files:
                inside = file.name if alone or len(parts) == 1 else f"{part.stem}/{file.name}"
                archive.write(file, inside)
                file.unlink()
    return {"role": "result", "path": f"{name}.zip", "media": MEDIA["zip"], "name": f"{name}.zip"}
