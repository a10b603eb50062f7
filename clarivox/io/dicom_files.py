# SPDX-License-Identifier: Apache-2.0
"""Where the instances of a series go: a folder of IM0001.dcm and on, or one file where one instance is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from clarivox.errors import OutputError
from clarivox.io import atomic
from clarivox.io.dicom_uid import IMPLEMENTATION_UID

_HEAD = 1024
"""Bytes within which a file's meta information names who wrote it."""


def save(
    instances: Iterable[Iterable[bytes | memoryview]],
    count: int,
    path: Path | str,
    overwrite: bool,
    sources: tuple[Path, ...] = (),
) -> tuple[Path, ...]:
    """Write instances, which appear together when the last one is written.

    Args:
        instances: the bytes of each, in pieces.
        count: how many there are.
        path: a folder; or, for one instance, a file whose name ends in .dcm.
        overwrite: replace a file, or a folder that holds nothing but what clarivox wrote.
        sources: files that must not be replaced, whatever `overwrite` says.

    Raises:
        OutputError: several instances for one file, something is in the way (code output_exists), or it is a source.
        CapacityError: the disk is full.
    """
    final = Path(path)
    _check_sources(final, sources)
    if final.suffix.lower() == ".dcm" and not final.is_dir():
        if count != 1:
            raise OutputError(f"{count} instances do not fit the one file {final.name!r}; name a folder")
        with atomic.file(final, overwrite) as temporary:
            for pieces in instances:
                _write(temporary, pieces)
        return (final,)
    names: list[str] = []
    with atomic.folder(final, overwrite, _is_ours) as inside:
        for number, pieces in enumerate(instances, start=1):
            names.append(f"IM{number:04d}.dcm")
            _write(inside / names[-1], pieces)
    return tuple(final / name for name in names)


def _write(file: Path, pieces: Iterable[bytes | memoryview]) -> None:
    with file.open("xb") as out:
        out.writelines(pieces)


def _check_sources(final: Path, sources: tuple[Path, ...]) -> None:
    target = final.resolve()
    for source in sources:
        if target in (source.resolve(), source.resolve().parent):
            raise OutputError(
                f"{final.name!r} holds the images that the result is made of; choose another name",
                code="output_exists",
            )


def _is_ours(file: Path) -> bool:
    """Whether clarivox wrote a file: its name and its meta information say so."""
    if not re.fullmatch(r"IM\d{4,}\.dcm", file.name):
        return False
    with file.open("rb") as opened:
        return IMPLEMENTATION_UID.encode() in opened.read(_HEAD)
