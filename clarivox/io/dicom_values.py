# SPDX-License-Identifier: Apache-2.0
"""Values of DICOM elements, straight from their bytes.

pydicom decodes and validates an element when it is asked for it, which costs ten times as much as reading the bytes,
and warns with the value in the text. The reader needs some thirty plain values of each file, and no such warnings.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable

from pydicom import Dataset
from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.errors import InvalidDicomError

PARSE_ERRORS = (
    ArithmeticError,
    AttributeError,
    BufferError,
    EOFError,
    InvalidDicomError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom and its decoders raise on damaged bytes."""

SHORT_FORMATS = {2: {True: "h", False: "H"}, 4: {True: "i", False: "I"}}
"""struct codes by bytes a number and signedness."""


def _element(dataset: Dataset, keyword: str) -> RawDataElement | DataElement | None:
    tag = tag_for_keyword(keyword)
    try:
        return None if tag is None else dataset.get_item(tag)
    except PARSE_ERRORS:
        return None  # pydicom decodes an empty element even when asked for its bytes, and may not know its type


def text(dataset: Dataset, keyword: str) -> str:
    r"""The element as text, backslashes between several values; "" where it is absent or empty.

    >>> d = Dataset()
    >>> d.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    >>> text(d, "ImageType"), text(d, "Modality")
    ('ORIGINAL\\PRIMARY\\AXIAL', '')
    """
    element = _element(dataset, keyword)
    if element is None or element.value is None:
        return ""
    value = element.value
    if isinstance(value, bytes):
        return value.decode("latin-1").strip(" \0")
    if isinstance(value, str) or not isinstance(value, Iterable):
        return str(value).strip(" \0")
    return "\\".join(str(one) for one in value)


def words(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """The values of a text element, each without surrounding blanks.

    >>> d = Dataset()
    >>> d.ImageType = ["DERIVED", "SECONDARY"]
    >>> words(d, "ImageType")
    ('DERIVED', 'SECONDARY')
    """
    whole = text(dataset, keyword)
    return tuple(one.strip() for one in whole.split("\\")) if whole else ()


def decimals(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """The values of a decimal or integer string (DS, IS), or of a floating point element; nan for what is no number.

    >>> d = Dataset()
    >>> d.PixelSpacing = [0.5, 0.75]
    >>> decimals(d, "PixelSpacing"), decimals(d, "SliceThickness")
    ((0.5, 0.75), ())
    """
    element = _element(dataset, keyword)
    if isinstance(element, RawDataElement) and element.value and (vr := _vr(element)) in ("FD", "FL"):
        return _packed(element, "d" if vr == "FD" else "f")
    return tuple(_decimal(one) for one in words(dataset, keyword))


def integers(dataset: Dataset, keyword: str, *, signed: bool = False) -> tuple[int, ...]:
    """The values of a binary integer element (US, SS, UL, SL), read as signed or not whatever its VR says.

    >>> d = Dataset()
    >>> d.Rows = 512
    >>> integers(d, "Rows"), integers(d, "Columns")
    ((512,), ())
    """
    element = _element(dataset, keyword)
    if element is None or element.value is None or element.value == b"":
        return ()
    value = element.value
    if not isinstance(value, bytes):
        values = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
        return tuple(_resigned(int(one), signed) for one in values)
    wide = isinstance(element, RawDataElement) and _vr(element) in ("UL", "SL") and len(value) % 4 == 0
    return tuple(int(one) for one in _packed(element, SHORT_FORMATS[4 if wide else 2][signed]))


def integer(dataset: Dataset, keyword: str, default: int = 0) -> int:
    """The first value of a binary integer element, or `default`."""
    values = integers(dataset, keyword)
    return values[0] if values else default


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; empty where it is absent or is none."""
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in dataset:
        return []
    try:
        value = dataset[tag].value
    except PARSE_ERRORS:
        return []
    return [one for one in value if isinstance(one, Dataset)] if isinstance(value, Iterable) else []


def item(dataset: Dataset, keyword: str) -> Dataset | None:
    """The first item of a sequence, or None."""
    found = items(dataset, keyword)
    return found[0] if found else None


def _vr(element: RawDataElement) -> str:
    """The VR in the file or, where the file says none (implicit VR), in the data dictionary."""
    return element.VR or (dictionary_VR(element.tag) if dictionary_has_tag(element.tag) else "UN")


def _packed(element: RawDataElement | DataElement, code: str) -> tuple[float, ...]:
    value: bytes = element.value
    little = not isinstance(element, RawDataElement) or element.is_little_endian
    size = struct.calcsize(code)
    count = len(value) // size
    return struct.unpack(f"{'<' if little else '>'}{count}{code}", value[: count * size])


def _decimal(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan


def _resigned(value: int, signed: bool) -> int:
    if signed and 0x8000 <= value <= 0xFFFF:
        return value - 0x10000
    return value + 0x10000 if not signed and -0x8000 <= value < 0 else value
