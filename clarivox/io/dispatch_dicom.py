# SPDX-License-Identifier: Apache-2.0
"""Writing any volume as DICOM: its own series derived, another format under a series' headers, a picture anew."""

from __future__ import annotations

from pathlib import Path

from clarivox.errors import OutputError
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
    raise OutputError("DICOM is not written yet")
