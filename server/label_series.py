# SPDX-License-Identifier: Apache-2.0
"""DICOM series for MONAI Label's viewers: which one a job made, and which files one consists of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clarivox.server.auth import Caller
from clarivox.server.job import FileRef
from clarivox.server.label_parts import Labels


def series_facts(labels: Labels, results: Sequence[FileRef]) -> dict[str, Any]:
    """What OHIF wants to know of the series that a job made; nothing for other formats."""
    return {}


def series_files(labels: Labels, caller: Caller, uid: str) -> tuple[FileRef, ...]:
    """The stored files of a series that the caller may see."""
    return ()
