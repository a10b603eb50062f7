# SPDX-License-Identifier: Apache-2.0
"""The text headers of NRRD and MetaImage, parsed by us before anything else looks at the file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import FormatError, GeometryError, TruncatedError

LARGEST_HEADER = 1 << 20
"""Bytes of text before the voxels at most."""

_VECTOR = re.compile(r"\(([^()]*)\)|\bnone\b", re.IGNORECASE)


@dataclass(frozen=True)
class Line:
    """One line of a header: `name` is the field's name in lower case without blanks, or "" where it is no field."""

    name: str
    value: str
    text: str
    """The line as it stands in the file, without its end."""


@dataclass(frozen=True)
class TextHeader:
    """A header's lines, and where the voxels begin."""

    lines: tuple[Line, ...]
    offset: int

    def get(self, *names: str) -> str:
        """The value of the first of these fields that is there, or ""."""
        for name in names:
            for line in self.lines:
                if line.name == name:
                    return line.value
        return ""

    def numbers(self, *names: str) -> list[float]:
        """The value as numbers.

        Raises:
            FormatError: something in it is not a number.
        """
        return _floats(self.get(*names), names[0])


def nrrd_header(path: Path) -> TextHeader:
    """The header of an attached NRRD file.

    Raises:
        FormatError: the voxels are in another file (code detached_data), or a line is no header line.
        TruncatedError: the header has no end.
    """
    with path.open("rb") as stream:
        head = stream.read(LARGEST_HEADER)
    end = re.search(rb"\r?\n\r?\n", head)
    text = head[: end.start()] if end else head
    lines = [_nrrd_line(line) for line in _text(text).splitlines()[1:]]
    if any(line.name == "datafile" for line in lines):
        raise _detached("NRRD")
    if end is None:
        raise TruncatedError("the NRRD header has no end; fetch the file again, or save it as one attached file")
    return TextHeader(tuple(lines), end.end())


def _nrrd_line(text: str) -> Line:
    if text.startswith("#"):
        return Line("", "", text)
    name, colon, value = text.partition(":")
    if not colon:
        raise FormatError("a line of the NRRD header is neither a field, a key nor a comment")
    if value.startswith("="):
        return Line("", "", text)
    return Line("".join(name.lower().split()), value.strip(), text)


def meta_header(path: Path) -> TextHeader:
    """The header of an attached MetaImage file (.mha).

    Raises:
        FormatError: the voxels are in another file or in several (code detached_data), or a line is no header line.
        TruncatedError: the header has no end.
    """
    with path.open("rb") as stream:
        head = stream.read(LARGEST_HEADER)
    lines: list[Line] = []
    start = 0
    while (stop := head.find(b"\n", start)) >= 0:
        text = _text(head[start:stop]).rstrip("\r")
        start = stop + 1
        name, equals, value = text.partition("=")
        if not equals:
            raise FormatError("a line of the MetaImage header is not of the form name = value")
        lines.append(Line("".join(name.lower().split()), value.strip(), text))
        if lines[-1].name == "elementdatafile":
            if lines[-1].value.upper() != "LOCAL":
                raise _detached("MetaImage")
            return TextHeader(tuple(lines), start)
    raise TruncatedError("the MetaImage header has no end; fetch the file again")


def _detached(format_: str) -> FormatError:
    return FormatError(
        f"a {format_} header that points at other files is not read; save it as one attached file",
        code="detached_data",
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _floats(value: str, name: str) -> list[float]:
    try:
        return [float(part) for part in value.replace(",", " ").split()]
    except ValueError:
        raise FormatError(f"the header's field {name!r} holds something that is not a number") from None


def vectors(value: str, name: str) -> list[list[float] | None]:
    """A field of vectors in parentheses; None for each `none`.

    >>> vectors("none (1,0,0) (0,2,0)", "space directions")
    [None, [1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    """
    return [None if found[1] is None else _floats(found[1], name) for found in _VECTOR.finditer(value)]


def affine_of(
    columns: NDArray[np.float64], origin: NDArray[np.float64], to_ras: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Index to millimetres in RAS, from the step of each axis and the first voxel's place.

    Args:
        columns: one column an axis, shape (3, 3), in the file's space.
        origin: shape (3,), in the file's space.
        to_ras: what each coordinate of the file's space is multiplied with, shape (3,).

    Raises:
        GeometryError: a step is 0 or not finite, or axes are parallel.
    """
    affine = np.eye(4)
    affine[:3, :3] = columns * to_ras[:, None]
    affine[:3, 3] = origin * to_ras
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not sides.all():
        raise GeometryError("a spacing or direction is 0 or not finite; mend the header")
    if abs(np.linalg.det(affine[:3, :3] / sides)) < 1e-6:
        raise GeometryError("two axes are parallel; mend the directions in the header", code="singular_affine")
    return affine


def with_third_axis(columns: list[list[float]]) -> NDArray[np.float64]:
    """Steps of two or three axes as columns of shape (3, 3); a missing third axis is 1 mm across the first two."""
    full = np.zeros((3, 3))
    for axis, step in enumerate(columns):
        full[: len(step), axis] = step
    if len(columns) == 2:
        across = np.cross(full[:, 0], full[:, 1])
        full[:, 2] = across / (np.linalg.norm(across) or 1.0)
    return full
