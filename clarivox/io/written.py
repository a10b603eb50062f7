# SPDX-License-Identifier: Apache-2.0
"""What a writer gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Written:
    """The files of one written volume.

    >>> Written((Path("scan.nii.gz"),), "nifti").files[0].name
    'scan.nii.gz'
    """

    files: tuple[Path, ...]
    """In the order of the slices; one for a format that keeps the whole volume in a file."""
    format: str
    """One of dicom, nifti, nrrd, mha, png, tiff."""
    notes: tuple[str, ...] = ()
    """What writing had to decide, for the user to see."""
