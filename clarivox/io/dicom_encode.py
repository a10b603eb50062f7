# SPDX-License-Identifier: Apache-2.0
"""Data elements as bytes of Explicit VR Little Endian, without decoding what need not be decoded.

A source's element keeps its value byte for byte: only the header in front of it is rewritten, numbers of a big-endian
source are turned round, and sequences are walked for what has to be left out. An element whose bytes are the same in
the next instance is not encoded again.

Source:
    DICOM PS3.5 chapter 7: data elements, value representations, nesting. PS3.10 chapter 7: file meta information.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from pydicom import Dataset
from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.uid import ExplicitVRBigEndian

Element: TypeAlias = DataElement | RawDataElement
Bytes: TypeAlias = dict[int, bytes]
"""Encoded elements by tag."""

_LONG = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
_SWAPPED = {"US": 2, "SS": 2, "OW": 2, "AT": 2, "UL": 4, "SL": 4, "FL": 4, "OF": 4, "OL": 4}
_SWAPPED |= dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8)
_SIGNED_AS_PIXELS = frozenset([0x00280120, 0x00280121])
"""Pixel Padding Value and Range Limit: their VR follows Pixel Representation whatever the source's header says."""


def element(tag: int, vr: str, value: bytes) -> bytes:
    """One element with its value padded to even length.

    >>> element(0x00080060, "CS", b"CT")
    b'\\x08\\x00`\\x00CS\\x02\\x00CT'
    """
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB", "UN") else b" "
    if vr in _LONG:
        return struct.pack("<HH2s2xL", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value
    if len(value) > 0xFFFF:
        return struct.pack("<HH2s2xL", tag >> 16, tag & 0xFFFF, b"UN", len(value)) + value
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


@lru_cache(maxsize=512)
def tag_and_vr(keyword: str) -> tuple[int, str]:
    """A keyword's tag and VR in the data dictionary.

    >>> tag_and_vr("Modality")
    (524384, 'CS')
    """
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return tag, dictionary_VR(tag)


def text(keyword: str, *values: str) -> bytes:
    """An element of ASCII text.

    >>> text("Modality", "CT")
    b'\\x08\\x00`\\x00CS\\x02\\x00CT'
    """
    tag, vr = tag_and_vr(keyword)
    return element(tag, vr, "\\".join(values).encode("ascii", "replace"))


def number(keyword: str, value: int) -> bytes:
    """An element of one unsigned 16-bit number."""
    tag, _ = tag_and_vr(keyword)
    return element(tag, "US", struct.pack("<H", value))


def item(elements: Iterable[bytes]) -> bytes:
    """A sequence item of encoded elements, which must come in the order of their tags."""
    content = b"".join(elements)
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(content)) + content


def sequence(keyword: str, *items: bytes) -> bytes:
    """A sequence of encoded items."""
    tag, _ = tag_and_vr(keyword)
    return element(tag, "SQ", b"".join(items))


def in_order(elements: Bytes) -> bytes:
    """Encoded elements one after another by tag."""
    return b"".join(elements[tag] for tag in sorted(elements))


def preamble_and_meta(sop_class: str, instance: str, syntax: str, implementation: str, name: str) -> bytes:
    """Everything in front of the data set, the preamble zeroed."""
    meta = element(0x00020001, "OB", b"\0\1")
    for keyword, value in (
        ("MediaStorageSOPClassUID", sop_class),
        ("MediaStorageSOPInstanceUID", instance),
        ("TransferSyntaxUID", syntax),
        ("ImplementationClassUID", implementation),
        ("ImplementationVersionName", name),
    ):
        meta += text(keyword, value)
    return bytes(128) + b"DICM" + element(0x00020000, "UL", struct.pack("<L", len(meta))) + meta


@dataclass
class Encoder:
    """Encodes a source's data sets.

    Attributes:
        dropped: tells from a tag whether an element is left out, at any depth.
        keep_private: private creators whose elements are kept.
    """

    dropped: Callable[[int], bool]
    keep_private: frozenset[str] = frozenset()
    dropped_private: int = 0
    """Private elements left out so far."""
    _last: dict[int, tuple[Any, bytes]] = field(default_factory=dict)
    _signed: bool = False
    _big: bool = False
    _encodings: list[str] = field(default_factory=list)

    def dataset(self, header: Dataset) -> Bytes:
        """The elements of an instance's header that are kept, encoded, by tag."""
        self._signed = header.get("PixelRepresentation", 0) == 1
        meta = getattr(header, "file_meta", None) or {}
        self._big = meta.get("TransferSyntaxUID") == ExplicitVRBigEndian
        charset = header.get("SpecificCharacterSet") or "ISO_IR 6"
        self._encodings = convert_encodings(charset)
        encoded: Bytes = {}
        for one in self._kept(header):
            tag = int(one.tag)
            key = _key(one)
            known = self._last.get(tag)
            if known is None or key is None or known[0] != key:
                known = (key, self.encode(one, header))
                self._last[tag] = known
            encoded[tag] = known[1]
        return encoded

    def encode(self, one: Element, parent: Dataset) -> bytes:
        """One element, with whatever it nests."""
        tag = int(one.tag)
        if isinstance(one, RawDataElement):
            vr = self._vr(one, parent)
            if vr != "SQ":
                value = one.value or b""
                return element(tag, vr, value if one.is_little_endian else _turned(value, vr))
            # PS3.5 6.2.2: what stands in UN is implicit VR, whatever the file around it
            raw = one._replace(VR="SQ", is_implicit_VR=one.is_implicit_VR or one.VR == "UN")
            one = convert_raw_data_element(raw, encoding=self._encodings, ds=parent)
        if one.VR == "SQ":
            return element(tag, "SQ", b"".join(item([in_order(self.nested(inner))]) for inner in one.value or []))
        return self._written(one)

    def value(self, keyword: str, value: Any) -> bytes:
        """An element by keyword; text in the character set of the data set that was encoded last."""
        tag, vr = tag_and_vr(keyword)
        return self._written(DataElement(tag, vr, value))

    def nested(self, inner: Dataset) -> Bytes:
        """The elements of a sequence item that are kept, encoded, by tag."""
        return {int(one.tag): self.encode(one, inner) for one in self._kept(inner)}

    def _kept(self, header: Dataset) -> Iterable[Element]:
        creators: dict[tuple[int, int], bool] = {}
        every = header.values()
        for one in sorted(every, key=lambda each: int(each.tag)) if self.keep_private else every:
            tag = int(one.tag)
            group, number_ = tag >> 16, tag & 0xFFFF
            if self.dropped(tag) or number_ == 0:
                continue
            if group % 2:
                block = (group, number_ if number_ < 0x100 else number_ >> 8)
                if number_ < 0x100:
                    creators[block] = _creator(one) in self.keep_private
                if not creators.get(block, False):
                    self.dropped_private += number_ >= 0x100
                    continue
            yield one

    def _vr(self, one: RawDataElement, parent: Dataset) -> str:
        tag = int(one.tag)
        vr: str | None = one.VR
        if vr in (None, "UN"):
            try:
                known = dictionary_VR(tag)
            except KeyError:
                known = "UN"
            vr = known if vr is None or known == "SQ" else vr
        if tag in _SIGNED_AS_PIXELS or vr == "US or SS":
            return "SS" if self._signed else "US"
        if vr in ("US or OW", "US or SS or OW"):
            return "US" if _one_entry(parent) else "OW"
        return "OW" if vr == "OB or OW" else str(vr)

    def _written(self, one: DataElement) -> bytes:
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        if int(one.tag) in _SIGNED_AS_PIXELS or one.VR == "US or SS":
            one = DataElement(one.tag, "SS" if self._signed else "US", one.value)
        if self._big and one.VR in _LONG and isinstance(one.value, bytes):  # pydicom leaves such words as they lay
            one = DataElement(one.tag, one.VR, _turned(one.value, one.VR))
        write_data_element(buffer, one, self._encodings)
        return bytes(buffer.getvalue())


def _key(one: Element) -> Any:
    """What two elements with the same encoding have in common; None where that cannot be told cheaply."""
    if isinstance(one, RawDataElement):
        return one.VR, one.value, one.is_little_endian
    return None if one.VR == "SQ" else (one.VR, repr(one.value))


def _creator(one: Element) -> str:
    value = one.value
    return value.decode("ascii", "replace").strip(" \0") if isinstance(value, bytes) else str(value or "").strip()


def _one_entry(parent: Dataset) -> bool:
    descriptor = parent.get("LUTDescriptor")
    return bool(descriptor) and descriptor[0] == 1


def _turned(value: bytes, vr: str) -> bytes:
    """A big-endian value with its numbers turned round."""
    size = _SWAPPED.get(vr)
    if size is None or len(value) % size:
        return value
    return np.frombuffer(value, f">u{size}").astype(f"<u{size}").tobytes()
