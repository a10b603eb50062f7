# SPDX-License-Identifier: Apache-2.0
"""Reading by what a file is: one volume, all of them, or a list of what is there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clarivox.errors import ClarivoxError, FormatError, LimitError, SeriesError
from clarivox.io.limits import Limits
from clarivox.io.series import SeriesInfo
from clarivox.io.sniff import PICTURES, READABLE, Kind, kind_of
from clarivox.progress import Meter, Progress
from clarivox.volume import Volume

_LISTED = 12


@dataclass(frozen=True)
class Unreadable:
    """Something that `read_all` met and could not read."""

    info: SeriesInfo
    error: ClarivoxError


def scan(path: Path | str, *, limits: Limits | None = None) -> list[SeriesInfo]:
    """What a file, a folder at any depth, or a zip holds, from headers alone.

    Files that cannot be read are listed with the code and message of their error.

    Raises:
        SeriesError: the folder or zip holds no file (code empty_folder).
        FormatError: there is nothing at `path` (code not_found), or the zip is unsafe or damaged.
        LimitError: too many files.
    """
    limits = limits or Limits()
    with _unzipped(Path(path), limits) as root:
        return _listed(root, limits)


def read(
    path: Path | str,
    *,
    series: str | int | None = None,
    allow_uneven: bool = False,
    progress: Progress | None = None,
    limits: Limits | None = None,
) -> Volume:
    """Read the one volume that a file, folder or zip holds, or the one that `series` names.

    Args:
        path: a file, a folder at any depth, or a zip.
        series: a key or series UID as `scan` lists them, or the position in that list from 0.
        allow_uneven: read a DICOM series whose slices do not lie on a regular grid; `Volume.irregular` says how.
        progress: called as the voxels come in; returning False cancels.
        limits: what is too large.

    Raises:
        SeriesError: several volumes and no `series`, no such series, or none that can be read.
        InputError: the volume cannot be read; the class and code say why.
        CancelledError: `progress` returned False.
    """
    limits = limits or Limits()
    with _unzipped(Path(path), limits) as root:
        return _load(_chosen(_listed(root, limits), series), allow_uneven, progress, limits)


def read_listed(
    paths: tuple[str, ...], series: str, *, allow_uneven: bool = False, progress: Progress | None = None
) -> Volume:
    """Read one volume of which `scan` listed the files, or a zip of them, without looking at anything else.

    Raises:
        InputError: as `read`.
    """
    limits = Limits()
    files = [Path(path) for path in paths]
    if len(files) == 1 and kind_of(files[0]) is not Kind.DICOM:
        one = kind_of(files[0]) is not Kind.ZIP
        return read(files[0], series=None if one else series, allow_uneven=allow_uneven, progress=progress)
    return _load(_chosen(_dicom(files, limits), series), allow_uneven, progress, limits)


def read_all(
    path: Path | str, *, allow_uneven: bool = False, progress: Progress | None = None, limits: Limits | None = None
) -> Iterator[Volume | Unreadable]:
    """Read every volume of a file, folder or zip, one after another, in the order of `scan`.

    Raises:
        InputError: as `scan`. What is wrong with one file or series is given as `Unreadable` instead.
        CancelledError: `progress` returned False.
    """
    limits = limits or Limits()
    with _unzipped(Path(path), limits) as root:
        for info in _listed(root, limits):
            try:
                volume = _load(info, allow_uneven, progress, limits)
            except ClarivoxError as error:
                if error.code == "cancelled":
                    raise
                yield Unreadable(info, error)
            else:
                yield volume


def told(stage: str, progress: Progress | None) -> Callable[[float], None]:
    """A function that takes the share of `stage` that is done and passes it on."""
    meter = Meter(stage, 1.0, progress)

    def tell(share: float) -> None:
        meter.advance(share - meter.done)

    return tell


@contextmanager
def _unzipped(path: Path, limits: Limits) -> Iterator[Path]:
    if path.is_dir() or kind_of(path) is not Kind.ZIP:
        yield path
        return
    from clarivox.io.archive import extracted

    with extracted(path, limits) as folder:
        yield folder


def _files(root: Path, limits: Limits) -> list[Path]:
    """Files below a folder in a stable order; hidden ones and DICOMDIR, which only points at others, are left out."""
    found: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.upper() != "DICOMDIR":
                found.append(Path(folder) / name)
        if len(found) > limits.entries:
            raise LimitError(f"the folder holds over {limits.entries} files; name a smaller one")
    return found


def _listed(root: Path, limits: Limits) -> list[SeriesInfo]:
    if not root.is_dir():
        kind = kind_of(root)
        return _dicom([root], limits) if kind is Kind.DICOM else [_described(root, root.name, kind, limits)]
    files = _files(root, limits)
    if not files:
        raise SeriesError("there is no file in the folder; name one that holds images", code="empty_folder")
    kinds = {path: kind_of(path) for path in files}
    dicom = [path for path in files if kinds[path] is Kind.DICOM]
    rest = [path for path in files if kinds[path] is not Kind.DICOM]
    listed = _dicom(dicom, limits) if dicom else []
    return listed + [_described(path, path.relative_to(root).as_posix(), kinds[path], limits) for path in rest]


def _dicom(files: list[Path], limits: Limits) -> list[SeriesInfo]:
    from clarivox.io.dicom_read import scan_dicom

    return scan_dicom(files, limits)


def _described(path: Path, key: str, kind: Kind, limits: Limits) -> SeriesInfo:
    """One file that is not DICOM; an error becomes part of the description."""
    family = "image" if kind in PICTURES else "nrrd" if kind is Kind.MHA else str(kind) if kind in READABLE else ""
    try:
        return replace(_header_only(path, kind, limits), key=key, files=(str(path),))
    except ClarivoxError as error:
        return SeriesInfo(
            key, family, files=(str(path),), usable=False, error_code=error.code, error_message=str(error)
        )


def _header_only(path: Path, kind: Kind, limits: Limits) -> SeriesInfo:
    if kind is Kind.NIFTI:
        from clarivox.io import nifti

        return nifti.describe(path, limits)
    if kind in (Kind.NRRD, Kind.MHA):
        from clarivox.io import nrrd

        return nrrd.describe(path, limits)
    if kind in PICTURES:
        described: SeriesInfo = _pictures().describe(path, limits)
        return described
    raise _not_read(kind)


def _load(info: SeriesInfo, allow_uneven: bool, progress: Progress | None, limits: Limits) -> Volume:
    if info.format == "dicom":
        from clarivox.io.dicom_read import read_dicom

        return read_dicom(info, allow_uneven=allow_uneven, progress=progress)
    path = Path(info.files[0])
    tell = told("read", progress)
    kind = kind_of(path)
    if kind is Kind.NIFTI:
        from clarivox.io import nifti

        return nifti.load(path, limits, tell)
    if kind in (Kind.NRRD, Kind.MHA):
        from clarivox.io import nrrd

        return nrrd.load(path, limits, tell)
    if kind in PICTURES:
        loaded: Volume = _pictures().load(path, limits, tell)
        return loaded
    raise _not_read(kind)


def _pictures() -> Any:
    """What reads pictures; a machine that only trains may lack pillow."""
    try:
        from clarivox.io import image
    except ModuleNotFoundError:
        from clarivox.io import png_plain

        return png_plain
    return image


def _not_read(kind: Kind) -> FormatError:
    if kind is Kind.ZIP:
        return FormatError("a zip within a folder is not opened; name the zip itself", code="nested_zip")
    if kind is Kind.EMPTY:
        return FormatError("the file is empty; fetch it again", code="empty_file")
    if kind is Kind.OTHER:
        return FormatError("the file holds no image that is read here: DICOM, NIfTI, NRRD, MHA, PNG, JPEG or TIFF")
    return FormatError(f"the file is {kind}, which is not read; convert it to NIfTI")


def _chosen(infos: list[SeriesInfo], series: str | int | None) -> SeriesInfo:
    if isinstance(series, int):
        if not 0 <= series < len(infos):
            raise SeriesError(f"series {series} was asked for; there are {len(infos)}, from 0", code="no_series")
        return infos[series]
    if series is not None:
        found = [info for info in infos if series in (info.key, info.series_uid)]
        if not found:
            raise SeriesError(f"there is no such series; there are:\n{_lines(infos)}", code="no_series")
    else:
        found = [info for info in infos if info.usable] or infos[:2]
        if len(infos) > 1 and not found[0].usable:
            raise SeriesError(f"none of the files can be read:\n{_lines(infos)}", code="no_series")
    if len(found) > 1:
        raise SeriesError(f"one volume is wanted and there are {len(found)}; choose one:\n{_lines(found)}")
    return found[0]


def _lines(infos: list[SeriesInfo]) -> str:
    lines = [f"  {info.key}: {info.error_message or _in_words(info)}" for info in infos[:_LISTED]]
    if len(infos) > _LISTED:
        lines.append(f"  and {len(infos) - _LISTED} more")
    return "\n".join(lines)


def _in_words(info: SeriesInfo) -> str:
    sides = " x ".join(str(side) for side in info.shape) if info.shape else "unknown size"
    return f"{info.modality or info.format} {info.part} {sides}".replace("  ", " ")
