# SPDX-License-Identifier: Apache-2.0
"""What a DICOM volume keeps of its files, between the reader and the writer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset


@dataclass(frozen=True, eq=False)
class DicomSource:
    """The headers of the instances that a volume was read from.

    Attributes:
        files: the instances' paths, in the order of `headers`; they may be gone by the time of writing.
        headers: each instance's data set without its pixels, `file_meta` included; never changed by anyone.
        placement: for each (volume along C, slice along Z) the instance and the frame in it that the slice came from,
            shape (V, Z, 2); V is 1 unless the volume's channels are `Channels.VOLUMES`.
        part: what tells this volume from others of its series (a temporal phase, an echo), or "" where it is whole.
    """

    files: tuple[Path, ...]
    headers: tuple[Dataset, ...]
    placement: NDArray[np.int64]
    part: str = ""

    @property
    def format(self) -> str:
        """Always dicom."""
        return "dicom"

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID of the instances."""
        return str(self.headers[0].get("SeriesInstanceUID", ""))

    @property
    def patient(self) -> str:
        """Tells patients apart without naming them: a digest of PatientID, or "" where there is none."""
        found = str(self.headers[0].get("PatientID", "") or "")
        return hashlib.sha256(found.encode()).hexdigest()[:12] if found else ""
