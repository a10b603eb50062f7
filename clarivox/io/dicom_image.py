# SPDX-License-Identifier: Apache-2.0
"""How the pixels of one DICOM object are laid out, checked against the bytes that are there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom import Dataset

from clarivox.errors import FormatError, LimitError, TruncatedError
from clarivox.io.dicom_depth import UNDEFINED
from clarivox.io.dicom_header import Header, PixelElement
from clarivox.io.dicom_objects import NATIVE, check_syntax
from clarivox.io.dicom_values import decimals, integer, text
from clarivox.io.limits import Limits
from clarivox.volume import Channels

COLOURS = {
    "MONOCHROME1": Channels.GREY,
    "MONOCHROME2": Channels.GREY,
    "PALETTE COLOR": Channels.PALETTE,
    "RGB": Channels.RGB,
    "YBR_FULL": Channels.YBR,
    "YBR_FULL_422": Channels.YBR,
    "YBR_ICT": Channels.RGB,
    "YBR_RCT": Channels.RGB,
}
"""Photometric interpretation, and what the decoded channels hold: JPEG 2000 decoders undo its own colour transform."""

BOMB_FLOOR = 64 << 20
"""Bytes that a deflated file may always unpack to."""


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """The Image Pixel module of one object."""

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    signed: bool
    photometric: str
    planar: bool
    frames: int

    @property
    def channels(self) -> Channels:
        """What the axis C will hold."""
        return COLOURS[self.photometric]

    @property
    def dtype(self) -> np.dtype[np.integer]:
        """The type of the decoded numbers, native byte order."""
        return np.dtype(f"{'i' if self.signed else 'u'}{self.allocated // 8}")

    @property
    def stored_range(self) -> tuple[int, int]:
        """Smallest and largest number that the stored bits hold.

        >>> PixelFormat(1, 1, 1, 16, 12, True, "MONOCHROME2", False, 1).stored_range
        (-2048, 2047)
        """
        if self.signed:
            return -(1 << self.stored - 1), (1 << self.stored - 1) - 1
        return 0, (1 << self.stored) - 1

    @property
    def frame_bytes(self) -> int:
        """Bytes of one uncompressed frame in the file."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.rows * self.columns * samples * self.allocated // 8


def pixel_format(header: Header, limits: Limits) -> PixelFormat:
    """The layout of an object's pixels.

    Raises:
        FormatError: a layout or transfer syntax that is not read.
        LimitError: more samples or frames than the limits allow.
        TruncatedError: fewer bytes than the layout needs.
    """
    dataset = header.dataset
    if header.pixels is None or header.pixels.kind != "integer":
        raise FormatError("the pixels are floating point: the object cannot be enhanced", code="not_enhanceable")
    check_syntax(header.syntax)
    found = PixelFormat(
        rows=integer(dataset, "Rows"),
        columns=integer(dataset, "Columns"),
        samples=integer(dataset, "SamplesPerPixel", 1),
        allocated=integer(dataset, "BitsAllocated"),
        stored=integer(dataset, "BitsStored", integer(dataset, "BitsAllocated")),
        signed=integer(dataset, "PixelRepresentation") == 1,
        photometric=text(dataset, "PhotometricInterpretation"),
        planar=integer(dataset, "PlanarConfiguration") == 1,
        frames=_frames(dataset),
    )
    _check_layout(found, integer(dataset, "HighBit", found.stored - 1))
    _check_bytes(found, header, header.pixels, limits)  # first: a claim that the file does not keep is no large image
    limits.check_frames(found.frames)
    limits.check_voxels(found.rows * found.columns * found.samples * found.frames)
    return found


def _frames(dataset: Dataset) -> int:
    values = decimals(dataset, "NumberOfFrames")
    if not values:
        return 1
    if not 1 <= values[0] <= 1 << 40:
        raise FormatError("the number of frames is not a whole number above 0", code="bad_layout")
    return int(values[0])


def _check_layout(found: PixelFormat, high: int) -> None:
    if found.rows < 1 or found.columns < 1:
        raise FormatError(f"the image has {found.rows} rows and {found.columns} columns", code="bad_layout")
    if found.photometric not in COLOURS:
        raise FormatError("the photometric interpretation is not one that is read", code="bad_layout")
    grey = found.channels in (Channels.GREY, Channels.PALETTE)
    if found.samples != (1 if grey else 3):
        raise FormatError(f"{found.samples} samples a pixel do not go with {found.photometric}", code="bad_layout")
    if found.allocated not in (8, 16, 32) or not 1 <= found.stored <= found.allocated or high != found.stored - 1:
        raise FormatError(
            f"{found.stored} bits stored of {found.allocated}, the highest being bit {high}, is not a layout we read",
            code="bad_layout",
        )
    if found.photometric == "YBR_FULL_422" and (found.columns % 2 or found.allocated != 8):
        raise FormatError("4:2:2 colour needs an even number of columns and 8 bits", code="bad_layout")


def _check_bytes(found: PixelFormat, header: Header, pixels: PixelElement, limits: Limits) -> None:
    needed = found.frame_bytes * found.frames
    if header.syntax not in NATIVE:
        if pixels.length != UNDEFINED:
            raise FormatError("compressed pixels are not in fragments", code="bad_layout")
        return
    if pixels.length == UNDEFINED:
        raise FormatError("uncompressed pixels are in fragments", code="bad_layout")
    if header.deflated_at:
        if needed > max(BOMB_FLOOR, limits.ratio * header.size):
            raise LimitError(f"the file unpacks to over {limits.ratio} times its size", code="deflate_bomb")
        there = pixels.length
    else:
        there = min(pixels.length, header.size - pixels.offset)
    if there < needed:
        raise TruncatedError(
            f"the pixels need {needed} bytes; the file has {there}; send it again", code="truncated_pixel_data"
        )
