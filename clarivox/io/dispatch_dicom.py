# SPDX-License-Identifier: Apache-2.0
"""Writing any volume as DICOM: its own series derived, another format under a series' headers, a picture anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from clarivox.errors import OptionError, OutputError
from clarivox.io.written import Written
from clarivox.progress import Progress
from clarivox.volume import Volume


def write_dicom(
    volume: Volume,
    folder: Path,
    *,
    like: Path | str | Volume | None = None,
    overwrite: bool = False,
    compress: str | None = None,
    keep_private: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> Written:
    """Write a DICOM series; see `clarivox.io.write`."""
    from clarivox.io.dicom_write import write_series
    from clarivox.io.dispatch import told

    tell = told("write", progress)
    format_ = volume.source.format if volume.source is not None else ""
    if like is None and format_ == "image":
        from clarivox.io.dicom_capture import write_capture

        return write_capture(volume, folder, overwrite=overwrite, compress=compress, tell=tell)
    notes: tuple[str, ...] = ()
    if like is not None:
        if format_ == "dicom":
            raise OptionError("a series to be like is for volumes of other formats; this one has DICOM headers")
        volume, notes = _under(volume, like)
    written = write_series(volume, folder, overwrite=overwrite, compress=compress, keep_private=keep_private, tell=tell)
    return replace(written, notes=(*notes, *written.notes))


def _under(volume: Volume, like: Path | str | Volume) -> tuple[Volume, tuple[str, ...]]:
    from clarivox.io.dicom_like import like_series
    from clarivox.io.dispatch import read

    series = like if isinstance(like, Volume) else read(like)
    if series.source is None or series.source.format != "dicom":
        raise OutputError("the series to be like is no DICOM; name a DICOM file or folder", code="needs_like")
    return like_series(volume, series)
