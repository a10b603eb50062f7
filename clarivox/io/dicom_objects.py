# SPDX-License-Identifier: Apache-2.0
"""Which DICOM objects are images that can be enhanced, and which transfer syntaxes are read."""

from __future__ import annotations

from clarivox.errors import FormatError

STORAGE = "1.2.840.10008.5.1.4.1.1."
"""The root of the storage classes."""

IMAGES = {
    "1": ("CR image", "CR"),
    "1.1": ("DX image", "DX"),
    "1.1.1": ("DX image for processing", "DX"),
    "1.2": ("mammogram", "MG"),
    "1.2.1": ("mammogram for processing", "MG"),
    "1.3": ("intra-oral X-ray", "IO"),
    "1.3.1": ("intra-oral X-ray for processing", "IO"),
    "2": ("CT image", "CT"),
    "2.1": ("enhanced CT image", "CT"),
    "2.2": ("legacy converted enhanced CT image", "CT"),
    "3": ("ultrasound clip (retired class)", "US"),
    "3.1": ("ultrasound clip", "US"),
    "4": ("MR image", "MR"),
    "4.1": ("enhanced MR image", "MR"),
    "4.3": ("enhanced MR colour image", "MR"),
    "4.4": ("legacy converted enhanced MR image", "MR"),
    "6": ("ultrasound image (retired class)", "US"),
    "6.1": ("ultrasound image", "US"),
    "7": ("secondary capture", "OT"),
    "7.2": ("multi-frame grey secondary capture, 8 bit", "OT"),
    "7.3": ("multi-frame grey secondary capture, 16 bit", "OT"),
    "7.4": ("multi-frame colour secondary capture", "OT"),
    "12.1": ("X-ray angiogram", "XA"),
    "12.1.1": ("enhanced X-ray angiogram", "XA"),
    "12.2": ("X-ray fluoroscopy", "RF"),
    "12.2.1": ("enhanced X-ray fluoroscopy", "RF"),
    "13.1.1": ("3D X-ray angiogram", "XA"),
    "13.1.3": ("breast tomosynthesis", "MG"),
    "128": ("PET image", "PT"),
    "128.1": ("legacy converted enhanced PET image", "PT"),
    "130": ("enhanced PET image", "PT"),
}
"""Class below `STORAGE`: what it is in words, and the modality where the file does not say."""

CLIPS = frozenset({"3", "3.1", "12.1", "12.2", "12.1.1", "12.2.1", "7", "7.2", "7.3", "7.4"})
"""Classes whose frames follow one another in time unless functional groups place them in space."""

OTHERS = (
    ("66.4", "a segmentation"),
    ("66", "registration or fiducial data"),
    ("30", "a parametric map"),
    ("481.2", "a radiotherapy dose"),
    ("481", "a radiotherapy object"),
    ("88.59", "a key object selection"),
    ("88", "a structured report"),
    ("11", "a presentation state"),
    ("104", "an encapsulated document"),
    ("9", "a waveform"),
    ("20", "a nuclear medicine image"),
    ("77", "a visible light image or video"),
    ("4.2", "MR spectroscopy"),
    ("7.1", "a 1-bit secondary capture"),
)
"""Class (or its first part) below `STORAGE` and what it is; the narrower first."""

DIRECTORY = "1.2.840.10008.1.3.10"
"""A DICOMDIR: never followed, for it may name any file."""

SYNTAXES = {
    "1.2.840.10008.1.2": "implicit VR little-endian",
    "1.2.840.10008.1.2.1": "explicit VR little-endian",
    "1.2.840.10008.1.2.2": "explicit VR big-endian",
    "1.2.840.10008.1.2.1.99": "deflated",
    "1.2.840.10008.1.2.5": "RLE",
    "1.2.840.10008.1.2.4.50": "JPEG baseline",
    "1.2.840.10008.1.2.4.51": "JPEG extended",
    "1.2.840.10008.1.2.4.57": "JPEG lossless",
    "1.2.840.10008.1.2.4.70": "JPEG lossless, first-order prediction",
    "1.2.840.10008.1.2.4.80": "JPEG-LS lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS near-lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "HTJ2K lossless",
    "1.2.840.10008.1.2.4.202": "HTJ2K lossless RPCL",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
}
"""Transfer syntaxes that are read, in words."""

NATIVE = frozenset(list(SYNTAXES)[:4])
"""Those whose pixels are not compressed (deflation is undone before)."""


def class_of(sop_class: str) -> str:
    """The class below `STORAGE`; "" for any other UID.

    >>> class_of("1.2.840.10008.5.1.4.1.1.4.1")
    '4.1'
    """
    return sop_class.removeprefix(STORAGE) if sop_class.startswith(STORAGE) else ""


def check_enhanceable(sop_class: str, has_pixels: bool) -> None:
    """Raise FormatError where an object is no image, or none whose voxels may be changed."""
    found = class_of(sop_class)
    if found in IMAGES and has_pixels:
        return
    if found in IMAGES or not sop_class:
        raise FormatError("the object has no pixels", code="no_pixels")
    what = next((words for root, words in OTHERS if found == root or found.startswith(root + ".")), "no image")
    raise FormatError(f"the object is {what}: it cannot be enhanced", code="not_enhanceable")


def check_syntax(syntax: str) -> None:
    """Raise FormatError where the pixels are encoded in a way that is not read."""
    if syntax not in SYNTAXES:
        known = syntax if syntax.replace(".", "").isdigit() and len(syntax) <= 64 else "unknown"
        raise FormatError(
            f"transfer syntax {known} is not read; convert the file to explicit VR little-endian",
            code="unsupported_transfer_syntax",
        )
