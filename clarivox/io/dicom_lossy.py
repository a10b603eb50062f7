# SPDX-License-Identifier: Apache-2.0
"""The mark of lossy compression: once set it stays, and a file that lies in a lossy syntax gets it.

Source:
    DICOM PS3.3 C.7.6.1.1.5: Lossy Image Compression, Ratio and Method.
"""

from __future__ import annotations

from pathlib import Path

from pydicom import Dataset

from clarivox.io.dicom_derive import put
from clarivox.io.dicom_encode import Bytes, text

_ALWAYS = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.53": "ISO_10918_1",
    "1.2.840.10008.1.2.4.55": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
}
"""Syntaxes that lose something whatever the header says, and their methods."""

_MAYBE = {
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
    "1.2.840.10008.1.2.4.203": "ISO_15444_15",
}
"""Syntaxes that may be lossless too; the header decides."""


def lossy(header: Dataset, file: Path, frames: int) -> Bytes:
    """What is missing of the mark: flag, ratio and method.

    The ratio is estimated from the size of the source's file where the header does not say it. It stays absent where
    neither is there: a number would be invented.
    """
    syntax = str(header.file_meta.get("TransferSyntaxUID", "")) if hasattr(header, "file_meta") else ""
    flagged = header.get("LossyImageCompression") == "01"
    if not flagged and syntax not in _ALWAYS:
        return {}
    found: Bytes = {}
    put(found, text("LossyImageCompression", "01"))
    method = {**_ALWAYS, **_MAYBE}.get(syntax)
    if method and not header.get("LossyImageCompressionMethod"):
        put(found, text("LossyImageCompressionMethod", method))
    if method and not header.get("LossyImageCompressionRatio") and file.is_file():
        samples = header.Rows * header.Columns * int(header.get("SamplesPerPixel", 1)) * frames
        put(found, text("LossyImageCompressionRatio", f"{_ratio(samples * header.BitsAllocated / 8, file):.4g}"))
    return found


def _ratio(size: float, file: Path) -> float:
    return max(size / max(file.stat().st_size, 1), 1.0)
