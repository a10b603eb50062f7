# SPDX-License-Identifier: Apache-2.0
"""What a client accepts, as DICOMweb says it: types with a type and a transfer syntax inside (PS3.18 8.7)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clarivox.errors import InputError

PLAIN = "application/octet-stream"
DICOM = "application/dicom"
JSON = "application/dicom+json"
RELATED = "multipart/related"

LITTLE = "1.2.840.10008.1.2.1"
"""Explicit little-endian: what pixels are in that are not compressed."""

IMAGE_TYPES = {
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.4.92": "image/jpx",
    "1.2.840.10008.1.2.4.93": "image/jpx",
    "1.2.840.10008.1.2.4.110": "image/jxl",
    "1.2.840.10008.1.2.4.111": "image/jxl",
    "1.2.840.10008.1.2.4.112": "image/jxl",
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc",
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}
"""Transfer syntax and the type of a compressed frame."""

_NATIVE = frozenset({"1.2.840.10008.1.2", LITTLE, "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"})
_PART = re.compile(r'((?:[^,"]|"(?:[^"\\]|\\.)*")+)')
_PIECE = re.compile(r'((?:[^;"]|"(?:[^"\\]|\\.)*")+)')


@dataclass(frozen=True)
class Accepted:
    """One type that a client takes.

    Attributes:
        related: as a part of multipart/related; else as the whole body.
        type: of the part, or of the body; may end in /*.
        syntax: the transfer syntax wanted, * for any, "" where none is named.
        weight: how much it is liked.
    """

    related: bool
    type: str
    syntax: str
    weight: float

    def takes(self, type_: str) -> bool:
        """Whether a type is among those that it takes."""
        return self.type in ("*/*", type_) or (self.type.endswith("/*") and type_.startswith(self.type[:-1]))


def accepted(header: str) -> list[Accepted]:
    """The types of an Accept header, the best liked first; parameters may be quoted or not.

    >>> accepted("multipart/related; type=image/jls; transfer-syntax=*")[0].type
    'image/jls'
    """
    found = [one for one in map(_accepted, _PART.findall(header or "*/*")) if one.weight > 0]
    return sorted(found, key=lambda one: -one.weight)


def _accepted(part: str) -> Accepted:
    first, *rest = [piece.strip() for piece in _PIECE.findall(part)] or [""]
    given = {name.strip().lower(): _unquoted(value.strip()) for name, _, value in (one.partition("=") for one in rest)}
    related = first.lower() == RELATED
    type_ = given.get("type", "*/*").lower() if related else first.lower()
    return Accepted(related, type_, given.get("transfer-syntax", ""), _weight(given.get("q", "1")))


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


def _weight(text: str) -> float:
    return min(float(text), 1.0) if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{0,9})?", text) else 1.0


def json_type(header: str) -> str:
    """The type of JSON that is taken.

    Raises:
        InputError: none is; code not_acceptable.
    """
    for one in accepted(header):
        for type_ in (JSON, "application/json"):
            if not one.related and one.takes(type_):
                return type_
    raise refused("metadata and searches are given as application/dicom+json")


def dicom_form(header: str, syntaxes: Iterable[str], *, single: bool) -> bool:
    """Whether whole files go as parts of multipart/related (True) or, one file, as the body (False).

    Args:
        header: Accept.
        syntaxes: the transfer syntaxes that the files are in; they are given as they are.
        single: whether there is one file only.

    Raises:
        InputError: neither is taken, or another transfer syntax is wanted; code not_acceptable.
    """
    stored = set(syntaxes)
    for one in accepted(header):
        if one.takes(DICOM) and (one.syntax in ("", "*") or stored == {one.syntax}):
            if one.related or one.type == "*/*":
                return True
            if single:
                return False
    raise refused(
        f'files are given as multipart/related; type="{DICOM}" in the transfer syntax that they are stored in; '
        "ask for transfer-syntax=*"
    )


def frame_form(header: str, syntax: str, frames: int) -> tuple[bool, str, str]:
    """How frames are given: as parts of multipart/related or not, their type, and their transfer syntax.

    Args:
        header: Accept.
        syntax: that the instance is stored in.
        frames: how many are asked for.

    Raises:
        InputError: they cannot be given so; code not_acceptable.
    """
    native = syntax in _NATIVE
    type_ = PLAIN if native else IMAGE_TYPES.get(syntax, PLAIN)
    ours = LITTLE if native else syntax
    for one in accepted(header):
        named = one.syntax in ("*", syntax) or (native and one.syntax in _NATIVE)
        fits = one.takes(type_) and (one.syntax == "" or named)
        if fits or (one.type == PLAIN and named):
            if one.related or one.type == "*/*":
                return True, type_, ours
            if frames == 1:
                return False, type_, ours
    raise refused(
        f"these frames are stored as {type_} in transfer syntax {ours} and are not converted; "
        'ask for multipart/related; type="application/octet-stream"; transfer-syntax=*'
    )


def bulk_form(header: str) -> bool:
    """Whether a binary value goes as a part of multipart/related (True) or as the body (False).

    Raises:
        InputError: neither is taken; code not_acceptable.
    """
    for one in accepted(header):
        if one.takes(PLAIN):
            return one.related
    raise refused(f"binary values are given as {PLAIN}")


def refused(message: str) -> InputError:
    """What is told where an answer cannot be given in a form that was asked for."""
    return InputError(message, code="not_acceptable")


def content_type(type_: str, boundary: str, syntaxes: Sequence[str] = ()) -> str:
    """The Content-Type of multipart/related.

    >>> content_type("image/jls", "b1")
    'multipart/related; type="image/jls"; boundary=b1'
    """
    syntax = f"; transfer-syntax={syntaxes[0]}" if len(set(syntaxes)) == 1 else ""
    return f'{RELATED}; type="{type_}"{syntax}; boundary={boundary}'
