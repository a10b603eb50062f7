# SPDX-License-Identifier: Apache-2.0
"""How large an input may be before it is refused."""

from __future__ import annotations

from dataclasses import dataclass

from clarivox.errors import LimitError

GIB = 1 << 30
"""Bytes in a gibibyte."""


@dataclass(frozen=True)
class Limits:
    """Ceilings on what one input may claim; each is checked before the memory or the disk is taken.

    >>> Limits(voxels=10).check_voxels(11)
    Traceback (most recent call last):
    ...
    clarivox.errors.LimitError: the image has 11 samples; at most 10 are read
    """

    voxels: int = 1 << 31
    """Samples of one volume, over all channels."""
    frames: int = 20_000
    """Frames or files of one volume."""
    file_bytes: int = 2 * GIB
    """Size of one DICOM file."""
    header_bytes: int = 64 << 20
    """A DICOM file without its pixels."""
    sequence_depth: int = 64
    """Sequences within sequences."""
    unpacked_bytes: int = 16 * GIB
    """All files of an archive, or one compressed stream, after unpacking."""
    ratio: int = 200
    """Unpacked size for each packed byte."""
    entries: int = 50_000
    """Files in an archive or a folder."""
    path_chars: int = 1024
    """Length of a name in an archive."""

    def check_voxels(self, count: int) -> None:
        """Raise LimitError where an image would have more than `voxels` samples."""
        if count > self.voxels:
            raise LimitError(f"the image has {count} samples; at most {self.voxels} are read", code="too_many_voxels")

    def check_frames(self, count: int) -> None:
        """Raise LimitError where an image would have more than `frames` frames."""
        if count > self.frames:
            raise LimitError(f"the image has {count} frames; at most {self.frames} are read", code="too_many_frames")
