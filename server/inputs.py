# SPDX-License-Identifier: Apache-2.0
"""The files of a job on their way into its limited child, and what the child says it read of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clarivox.errors import FormatError
from clarivox.server.blobs import Blobs
from clarivox.server.job import FileRef, Job, Role


def laid_out(job: Job, folder: Path, blobs: Blobs) -> tuple[Path, Path | None]:
    """The inputs under names of our own: the one file, or the folder of several; and the series to be like."""
    source = laid(blobs, [file for file in job.inputs if file.role == Role.INPUT], folder / "input")
    if source is None:
        raise FormatError("the job has no input", code="no_input")
    return source, laid(blobs, [file for file in job.inputs if file.role == Role.LIKE], folder / "like")


def laid(blobs: Blobs, files: Sequence[FileRef], place: Path) -> Path | None:
    """Files of the store under names of our own: the one file, the folder of several, or None of none."""
    if not files:
        return None
    place.mkdir()
    for number, file in enumerate(files):
        target = place / f"{number:06d}{ending(file.name)}"
        placed(blobs.path(file.sha256), target)
    return target if len(files) == 1 else place


def ending(name: str) -> str:
    """The ending of a name of ours, which some readers go by.

    >>> ending("input.nii.gz"), ending("input")
    ('.nii.gz', '')
    """
    return "".join(Path(name).suffixes[-2:])


def placed(blob: Path, target: Path) -> None:
    """Let a file of the store appear in a job's folder, without a copy where the file system allows it."""
    try:
        os.link(blob, target)
    except OSError:
        shutil.copyfile(blob, target)


def checked(found: Any) -> list[dict[str, Any]]:
    """What a child says it read, if it has the right form.

    Raises:
        FormatError: it has not (code bad_handover).
    """
    right = isinstance(found, list) and found and all(isinstance(one, dict) for one in found)
    if not right or not all("error" in one or isinstance(one.get("volume"), dict) for one in found):
        raise FormatError("the reading process hands over no volume; the input cannot be used", code="bad_handover")
    kept: list[dict[str, Any]] = found
    return kept


def grid_of(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Where the voxels of the first volume lie, and the modalities of all, for clients that draw and offer bundles."""
    volumes = [one["volume"] for one in found if "volume" in one]
    if not volumes:
        return {}
    _, z, y, x = volumes[0]["shape"]
    modalities = sorted({str(one["modality"]) for one in volumes} - {""})
    return {"grid": {"shape": [x, y, z], "affine": volumes[0]["affine"]}, "modalities": modalities}
