# SPDX-License-Identifier: Apache-2.0
"""DICOM series for MONAI Label's viewers: which one a job made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clarivox.server.job import FileRef, Role
from clarivox.server.label_parts import Labels
from clarivox.server.series_files import sources_of

_FACTS = {
    "PatientID": "00100020",
    "Modality": "00080060",
    "StudyDate": "00080020",
    "StudyTime": "00080030",
}


def series_facts(labels: Labels, results: Sequence[FileRef]) -> dict[str, Any]:
    """What OHIF wants to know of the series that a job made; nothing for other formats."""
    made = {one.sha256 for one in results if one.role == Role.RESULT}
    index = next((one for one in results if one.role == Role.INDEX), None)
    if index is None:
        return {}
    for series in labels.parts.dicom.of_index(index.sha256):
        if made & set(sources_of(series)):
            few = {name: series.few.get(tag, {}).get("Value", [None])[0] for name, tag in _FACTS.items()}
            found = {"StudyInstanceUID": series.study, "SeriesInstanceUID": series.uid} | few
            return {name: value for name, value in found.items() if isinstance(value, str)}
    return {}
