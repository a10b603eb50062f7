# SPDX-License-Identifier: Apache-2.0
"""What a file is, decided by what it holds; its name decides nothing."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

from clarivox.errors import FormatError

_HEAD_BYTES = 4096
_UNPACKED_BYTES = 540
_GZIP = b"\x1f\x8b"
_META_IMAGE = re.compile(rb"\s*(?:Comment|ObjectType|ObjectSubType|TransformType|NDims|Name|ID)\s*=", re.IGNORECASE)


class Kind(StrEnum):
    """What a file is."""

    DICOM = "dicom"
    NIFTI = "nifti"
    NRRD = "nrrd"
    MHA = "mha"
    PNG = "png"
    JPEG = "jpeg"
    TIFF = "tiff"
    ZIP = "zip"
    EMPTY = "empty file"
    MGH = "FreeSurfer MGH or MGZ"
    MINC = "MINC"
    ANALYZE = "Analyze 7.5"
    OTHER = "no image format that is known here"


PICTURES = (Kind.PNG, Kind.JPEG, Kind.TIFF)
"""Formats without spacing."""

READABLE = (Kind.DICOM, Kind.NIFTI, Kind.NRRD, Kind.MHA, *PICTURES)
"""Formats that one file of which can be read."""

_MARKS = (
    (b"\x89PNG\r\n\x1a\n", Kind.PNG),
    (b"\xff\xd8\xff", Kind.JPEG),
    (b"II*\0", Kind.TIFF),
    (b"MM\0*", Kind.TIFF),
    (b"II+\0", Kind.TIFF),
    (b"MM\0+", Kind.TIFF),
    (b"NRRD0", Kind.NRRD),
    (b"PK\x03\x04", Kind.ZIP),
    (b"PK\x05\x06", Kind.ZIP),
    (b"CDF\x01", Kind.MINC),
    (b"CDF\x02", Kind.MINC),
    (b"\x89HDF\r\n\x1a\n", Kind.MINC),
)


def kind_of(path: Path) -> Kind:
    """What a file is.

    Raises:
        FormatError: there is no such file, or it cannot be opened (code not_found).
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError as error:
        raise FormatError(f"{path.name!r} is not there or may not be read", code="not_found") from error
    if not head:
        return Kind.EMPTY
    if head[128:132] == b"DICM":
        return Kind.DICOM
    for mark, kind in _MARKS:
        if head.startswith(mark):
            return kind
    if head.startswith(_GZIP):
        return _packed(path)
    found = _header_of(head)
    return _dicom_or_other(path) if found is Kind.OTHER else found


def _packed(path: Path) -> Kind:
    from clarivox.io import gzip_file

    found = _header_of(gzip_file.head(path, _UNPACKED_BYTES))
    return found if found in (Kind.NIFTI, Kind.MGH, Kind.ANALYZE) else Kind.OTHER


def _header_of(head: bytes) -> Kind:
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0"):
        return Kind.NIFTI
    if head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c") and len(head) >= 348:
        return Kind.ANALYZE
    if head[:4] == b"\0\0\0\x01" and len(head) >= 284:
        return Kind.MGH
    return Kind.MHA if _META_IMAGE.match(head) else Kind.OTHER


def _dicom_or_other(path: Path) -> Kind:
    """DICOM without a preamble has no mark; its reader looks for a plausible first element."""
    from clarivox.io.dicom_read import is_dicom

    return Kind.DICOM if is_dicom(path) else Kind.OTHER
