# SPDX-License-Identifier: Apache-2.0
"""What stored numbers mean: slope, intercept, unit, padding."""

from __future__ import annotations

import math
import struct

from pydicom import Dataset
from pydicom.dataelem import RawDataElement

from clarivox.errors import RescaleError
from clarivox.io.dicom_image import PixelFormat
from clarivox.io.dicom_values import decimals, text
from clarivox.volume import Unit

LARGEST = 1e30
"""Values above this leave the range of single precision."""

NO_PADDING = (0, -1)
"""First and last padding value of a slice without padding."""

PADDING_TAGS = (0x00280120, 0x00280121)
"""Pixel Padding Value, Pixel Padding Range Limit."""


def rescale(dataset: Dataset, found: PixelFormat) -> tuple[float, float]:
    """Slope and intercept of a data set or of a frame's Pixel Value Transformation item; 1 and 0 where it has none.

    Raises:
        RescaleError: the slope is 0, or either is not a number that single precision can hold.
    """
    slope, intercept = decimals(dataset, "RescaleSlope"), decimals(dataset, "RescaleIntercept")
    pair = slope[0] if slope else 1.0, intercept[0] if intercept else 0.0
    largest = max(abs(end) for end in found.stored_range)
    finite = all(math.isfinite(one) for one in pair)
    if not finite or pair[0] == 0 or abs(pair[0]) * largest + abs(pair[1]) > LARGEST or abs(pair[0]) < 1 / LARGEST:
        raise RescaleError("the rescale slope or intercept is 0, not a number, or too large; correct it at the source")
    return pair


def unit_of(dataset: Dataset, modality: str, transformation: Dataset) -> Unit:
    """What a value means after rescaling.

    Args:
        dataset: the instance.
        modality: CT and PT have units of their own.
        transformation: where the rescale stands: the instance, or a frame's Pixel Value Transformation item.
    """
    if "ModalityLUTSequence" in dataset:
        return Unit.RELATIVE
    if modality == "CT" and "RescaleIntercept" in transformation:
        return Unit.HU if text(transformation, "RescaleType") in ("", "HU") else Unit.RELATIVE
    if modality == "PT" and text(dataset, "Units") == "BQML":
        return Unit.BQML
    return Unit.RELATIVE


def padding_of(dataset: Dataset, found: PixelFormat) -> tuple[int, int]:
    """First and last stored value that mark "no image here"; `NO_PADDING` where there is none.

    The element's VR may be wrong in a file; the bytes are read as the pixels are.
    """
    ends = [_stored(dataset, tag, found) for tag in PADDING_TAGS]
    if ends[0] is None:
        return NO_PADDING
    other = ends[0] if ends[1] is None else ends[1]
    return min(ends[0], other), max(ends[0], other)


def _stored(dataset: Dataset, tag: int, found: PixelFormat) -> int | None:
    element = dataset.get_item(tag)
    if element is None or element.value in (None, b""):
        return None
    if not isinstance(element, RawDataElement):
        value = int(element.value)
    elif len(element.value) in (2, 4):
        little = "<" if element.is_little_endian else ">"
        value = struct.unpack(little + ("H" if len(element.value) == 2 else "I"), element.value)[0]
    else:
        return None
    bits = found.allocated
    value &= (1 << bits) - 1
    return value - (1 << bits) if found.signed and value >> (bits - 1) else value
