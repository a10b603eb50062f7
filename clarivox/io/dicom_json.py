# SPDX-License-Identifier: Apache-2.0
"""A DICOM header as the DICOM JSON model has it (PS3.18 annex F).

The instances of a series repeat most of their elements byte for byte, so the text of an element is kept under its bytes
and pydicom decodes each only once. Long binary values go elsewhere; the text names them by an address.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.valuerep import PersonName

from clarivox.io.dicom_values import PARSE_ERRORS, text
from clarivox.io.dicom_warnings import Quiet

HERE = "\0"
"""Stands in the text where the address of the instance goes. JSON text never holds a bare NUL."""

INLINE_BYTES = 1024
"""Binary values up to this length stand in the JSON."""

BINARY = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "UN"])
WHOLE = frozenset(["US", "SS", "UL", "SL", "UV", "SV"])
WIDTHS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
"""Bytes of one number of a binary value; such values are given in little-endian order."""

_CHARSET, _PADDING = 0x00080005, 0xFFFCFFFC
_KNOWN_AT_MOST, _KNOWN_BYTES = 20_000, 4096

Span = tuple[int, int]
Known = tuple[int, str | None, bytes, bool, str]


@dataclass(frozen=True)
class JsonHeader:
    """One header."""

    elements: dict[str, str]
    """The JSON text of each element under its eight hexadecimal digits, in the order of tags."""
    bulk: dict[str, Span]
    """Where the values lie that do not stand in the text, under the last part of their address."""

    def line(self) -> str:
        """The whole as one JSON object, on one line."""
        return "{" + ",".join(f'"{tag}":{body}' for tag, body in self.elements.items()) + "}"


@dataclass
class JsonWriter:
    """Writes headers.

    Args:
        keep: stores a binary value and says where.

    >>> from pydicom import Dataset
    >>> d = Dataset()
    >>> d.PatientName = "Doe^Jane"
    >>> JsonWriter(lambda value: (0, len(value))).header(d).line()
    '{"00100010":{"vr":"PN","Value":[{"Alphabetic":"Doe^Jane"}]}}'
    """

    keep: Callable[[bytes], Span]
    _known: dict[Known, str] = field(default_factory=dict)

    def header(self, dataset: Dataset, *, little: bool = True) -> JsonHeader:
        """A data set as it was read up to its pixels, without its file meta information.

        Values that break the rules of their type become null or an element without value; nothing is raised for them.

        Args:
            dataset: elements may be undecoded.
            little: whether the numbers of its binary values are in little-endian order, as the answer's are.
        """
        bulk: dict[str, Span] = {}
        with Quiet():
            return JsonHeader(dict(self._elements(dataset, "", little, bulk)), bulk)

    def _elements(self, dataset: Dataset, path: str, little: bool, bulk: dict[str, Span]) -> Iterator[tuple[str, str]]:
        charset = text(dataset, "SpecificCharacterSet")
        for tag in sorted(dataset.keys()):
            number = int(tag)
            key = f"{number:08X}"
            if number == _CHARSET:
                yield key, '{"vr":"CS","Value":["ISO_IR 192"]}'
            elif number & 0xFFFF and number != _PADDING:
                yield key, self._element(dataset, number, charset, path + key, little, bulk)

    def _element(self, dataset: Dataset, tag: int, charset: str, path: str, little: bool, bulk: dict[str, Span]) -> str:
        known = _known_as(dataset, tag, charset)
        if known is not None and known in self._known:
            return self._known[known]
        before = len(bulk)
        try:
            body = self._body(dataset[tag], path, little, bulk)
        except PARSE_ERRORS:
            body = json.dumps({"vr": _vr_in_file(dataset, tag)}, separators=(",", ":"))
        if known is not None and len(bulk) == before:
            if len(self._known) >= _KNOWN_AT_MOST:
                self._known.clear()
            self._known[known] = body
        return body

    def _body(self, element: DataElement, path: str, little: bool, bulk: dict[str, Span]) -> str:
        vr = str(element.VR).split(" or ")[-1]
        if vr == "SQ":
            items = [
                "{"
                + ",".join(f'"{t}":{body}' for t, body in self._elements(item, f"{path}.{number}.", little, bulk))
                + "}"
                for number, item in enumerate(element.value, 1)
            ]
            return f'{{"vr":"SQ","Value":[{",".join(items)}]}}' if items else '{"vr":"SQ"}'
        if vr in BINARY:
            data = bytes(element.value or b"")
            return self._binary(vr, data if little else swapped(data, WIDTHS.get(vr, 1)), path, bulk)
        values = [_value(vr, one) for one in _several(element.value)]
        return json.dumps({"vr": vr, "Value": values} if values else {"vr": vr}, separators=(",", ":"))

    def _binary(self, vr: str, data: bytes, path: str, bulk: dict[str, Span]) -> str:
        if not data:
            return f'{{"vr":"{vr}"}}'
        if len(data) <= INLINE_BYTES:
            return f'{{"vr":"{vr}","InlineBinary":"{base64.b64encode(data).decode()}"}}'
        bulk[path] = self.keep(data)
        return f'{{"vr":"{vr}","BulkDataURI":"{HERE}/bulkdata/{path}"}}'


def swapped(data: bytes, width: int) -> bytes:
    """Numbers in the other byte order; bytes after the last whole number stay.

    >>> swapped(b"abcde", 2)
    b'badce'
    """
    if width == 1:
        return data
    whole = len(data) - len(data) % width
    return np.frombuffer(data, f"u{width}", whole // width).byteswap().tobytes() + data[whole:]


def _known_as(dataset: Dataset, tag: int, charset: str) -> Known | None:
    """What decides the text of an element: its bytes and how they are read; None where more than that does."""
    try:
        raw = dataset.get_item(tag)
    except PARSE_ERRORS:
        return None
    if not isinstance(raw, RawDataElement) or not isinstance(raw.value, bytes) or len(raw.value) > _KNOWN_BYTES:
        return None
    if raw.VR in (None, "UN"):
        named = dictionary_VR(tag) if dictionary_has_tag(tag) else "unknown or private"
        if " or " in named:
            return None
    return tag, raw.VR, raw.value, raw.is_little_endian, charset


def _vr_in_file(dataset: Dataset, tag: int) -> str:
    """The VR of an element whose value cannot be read."""
    try:
        raw = dataset.get_item(tag)
    except PARSE_ERRORS:
        return "UN"
    found = str(getattr(raw, "VR", None) or "UN")
    return found if len(found) == 2 and found.isalpha() and found.isascii() else "UN"


def _several(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    if isinstance(value, (str, bytes, PersonName)) or not isinstance(value, Iterable):
        return [value]
    return list(value)


def _value(vr: str, value: Any) -> Any:
    """One value; null where it is empty, text where a number is none."""
    if value is None or value == "":
        return None
    if vr == "PN":
        name = value if isinstance(value, PersonName) else PersonName(str(value))
        groups = {"Alphabetic": name.alphabetic, "Ideographic": name.ideographic, "Phonetic": name.phonetic}
        return {group: str(one) for group, one in groups.items() if one} or None
    if vr == "AT":
        return f"{int(value):08X}"
    if vr in WHOLE:
        return int(value)
    if vr in ("IS", "DS", "FL", "FD"):
        return _number(value)
    return str(value).strip("\0")


def _number(value: Any) -> int | float | str:
    if isinstance(value, int):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else str(number)
