# SPDX-License-Identifier: Apache-2.0
"""In the limited child: write down what the DICOM files of a job hold, for the routes of DICOMweb."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from clarivox.io.dicom_index import Source, write_index
from clarivox.io.limits import Limits
from clarivox.progress import Step
from clarivox.volume import Volume

NAME = "index.bin"
"""The index in the folder of the job, and as a file of the job."""


def index(_kept: list[Volume], order: dict[str, Any], _tell: Callable[[Step], None]) -> dict[str, Any]:
    """Write the index of the DICOM files among stored ones.

    Args:
        order: sources, pairs of SHA-256 and path of the stored inputs and results; limits.

    Returns:
        instances, how many were found; and path of the index below the folder, "" where there are none.

    Raises:
        LimitError: more files than the limits allow.
        CapacityError: the disk is full.
    """
    sources = [Source(sha256, Path(path)) for sha256, path in order["sources"]]
    found = write_index(sources, Path.cwd() / NAME, Limits(**order["limits"]))
    return {"instances": found, "path": NAME if found else ""}
