# SPDX-License-Identifier: Apache-2.0
"""Reading PNG, JPEG and TIFF pictures: numbers as stored, no spacing, never more than the header was checked for."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from clarivox.errors import CapacityError, DecodeError, FormatError, LimitError, TruncatedError
from clarivox.io.limits import Limits
from clarivox.io.samples import range_of
from clarivox.io.series import SeriesInfo
from clarivox.io.sniff import Kind, kind_of
from clarivox.volume import Axis, Channels, Volume, blank_like

NO_SPACING = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Columns run to the patient's left and rows to the back, 1 mm each: DICOM's identity orientation."""

_READERS: dict[Kind, Any] = {Kind.PNG: PngImageFile, Kind.JPEG: JpegImageFile, Kind.TIFF: TiffImageFile}
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
)
_GREY = {"L": "u1", "I;16": "u2", "I;16B": "u2", "I;16L": "u2", "I": "i4", "F": "f4", "1": "u1"}
_ORIENTATION, _BITS, _SAMPLE_FORMAT, _PHOTOMETRIC = 274, 258, 339, 262
_SIGNED = 2


@dataclass(frozen=True, eq=False)
class ImageSource:
    """What a picture keeps of its file, for the writer.

    Attributes:
        name: the file's name without its ending.
        kind: png, jpeg or tiff.
        lossy: the file was compressed with loss.
        palette: red, green, blue of each index, shape (N, 3), or None.
        file_bytes: length of the file, for the ratio of a lossy compression.
    """

    name: str
    kind: str
    lossy: bool = False
    palette: NDArray[np.uint8] | None = None
    file_bytes: int = 0

    @property
    def format(self) -> str:
        """Always image."""
        return "image"

    @property
    def written_as(self) -> str:
        """The format of a result: tiff for TIFF, png for all else, since JPEG would lose more."""
        return "tiff" if self.kind == "tiff" else "png"


@dataclass
class _Found:
    """What the headers say."""

    source: ImageSource
    shape: tuple[int, int, int, int]
    channels: Channels
    dtype: np.dtype[Any]
    mode: str
    """Pillow's name of the kind of pixel; every page has the same."""
    inverted: bool = False
    notes: list[str] = field(default_factory=list)


def describe(path: Path, limits: Limits) -> SeriesInfo:
    """What the header says, for a list; raises as `load`."""
    with _opened(path, limits) as (picture, found):
        compression = str(picture.info.get("compression", "")) or found.source.kind
    return SeriesInfo(
        path.name,
        "image",
        kind=found.source.kind.upper(),
        shape=found.shape,
        channels=str(found.channels),
        third_axis=str(Axis.TIME if found.shape[3] > 1 else Axis.SPACE),
        spacing_mm=None,
        dtype=found.dtype.name,
        encoding=compression,
        lossy=found.source.lossy,
        notes=tuple(found.notes),
    )


def load(path: Path, limits: Limits, tell: Callable[[float], None]) -> Volume:
    """Read one picture, or all pages of a TIFF as the frames of a clip.

    Args:
        path: a PNG, JPEG or TIFF file, whatever its name.
        limits: what is too large.
        tell: called with the share of the pages that is read.

    Raises:
        FormatError: a kind of pixel that would be changed by reading: 16-bit colour, CMYK, transparency in use.
        LimitError: more pixels or pages than the limits allow.
        TruncatedError, DecodeError: the file is cut short or damaged.
    """
    with _opened(path, limits) as (picture, found):
        array = blank_like(found.shape, found.dtype)
        frames = array.transpose(0, 3, 2, 1)
        pages = found.shape[3]
        for page in range(pages):
            if pages > 1:
                picture.seek(page)
            pixels = _pixels(picture, found)
            if pixels.shape[:2] != frames.shape[2:]:
                raise FormatError("the pages of the TIFF differ in size or kind; save each as its own file")
            frames[:, page] = pixels.reshape(*frames.shape[2:], found.shape[0]).transpose(2, 0, 1)
            tell((page + 1) / pages)
    return Volume(
        array,
        NO_SPACING,
        channels=found.channels,
        third_axis=Axis.TIME if pages > 1 else Axis.SPACE,
        stored_range=range_of(found.dtype),
        inverted=found.inverted,
        notes=tuple(found.notes),
        source=found.source,
    )


@contextmanager
def _opened(path: Path, limits: Limits) -> Iterator[tuple[Any, _Found]]:
    """The picture with its headers checked; only the reader that the file's mark names is ever tried."""
    kind = kind_of(path)
    try:
        with path.open("rb") as stream, _READERS[kind](stream) as picture:
            found = _checked(picture, path, kind, limits)
            yield picture, found
    except MemoryError as error:
        raise CapacityError("the picture does not fit into memory; read it on a larger machine") from error
    except Image.DecompressionBombError as error:
        raise LimitError("a page of the TIFF is too large; save it as a file of its own") from error
    except _DAMAGE as error:
        if "truncated" in str(error).lower():
            raise TruncatedError(f"the {kind.upper()} file ends too early; fetch it again") from error
        raise DecodeError(f"the {kind.upper()} file is damaged, or packed in a way that is not read") from error


def _checked(picture: Any, path: Path, kind: Kind, limits: Limits) -> _Found:
    width, height = picture.size
    pages = int(getattr(picture, "n_frames", 1)) if kind is Kind.TIFF else 1
    limits.check_frames(pages)
    limits.check_voxels(width * height * pages * len(picture.getbands()))
    notes = ["the picture has no spacing: 1 mm is a placeholder"]
    tags = getattr(picture, "tag_v2", {})
    _check_depth(picture, kind, tags)
    channels, dtype, palette = _kind_of_pixels(picture, tags)
    if dtype == np.int32 and kind is Kind.PNG:
        dtype = np.dtype(np.uint16)
    if _raw_mode(picture) in ("L;2", "L;4"):
        notes.append("grey of 2 or 4 bits is read stretched to 0..255")
    turned = _orientation(picture, kind)
    if turned in range(2, 9):
        notes.append(f"turned upright as the file's orientation mark {turned} says")
        if turned >= 5 and kind is not Kind.TIFF:
            width, height = height, width
    if kind is Kind.JPEG:
        notes.append("JPEG: the pixels were compressed with loss; results are written as PNG")
    if "transparency" in picture.info or picture.mode in ("RGBA", "LA"):
        notes.append("a transparency channel in which every pixel is opaque was left out")
    if picture.mode == "1":
        notes.append("a picture of one bit is read as 0 and 255")
    if pages > 1:
        notes.append(f"{pages} pages are read as the frames of a clip")
    inverted = tags.get(_PHOTOMETRIC) == 0 and dtype.itemsize > 1
    source = ImageSource(path.stem, str(kind), kind is Kind.JPEG, palette, path.stat().st_size)
    shape = (3 if channels is Channels.RGB else 1, width, height, pages)
    return _Found(source, shape, channels, dtype, picture.mode, inverted, notes)


def _check_depth(picture: Any, kind: Kind, tags: Any) -> None:
    """Refuse what pillow would change on the way in without saying so."""
    raw = _raw_mode(picture)
    bits = tags.get(_BITS, (8,))
    deep_tiff = kind is Kind.TIFF and max(bits) > 8
    if picture.mode in ("RGB", "RGBA", "LA") and ("16" in raw or deep_tiff):
        raise FormatError("16-bit colour is not read; save it as 16-bit grey or 8-bit colour", code="bad_datatype")
    if kind is Kind.TIFF and max(bits) == 32 and picture.mode == "I" and _SIGNED not in tags.get(_SAMPLE_FORMAT, ()):
        raise FormatError("32-bit unsigned TIFF is not read; save it as 16-bit or as float", code="bad_datatype")


def _orientation(picture: Any, kind: Kind) -> int:
    """The mark in the headers; for PNG pillow would decode the whole picture to look behind it too."""
    if kind is Kind.PNG and "exif" not in picture.info:
        return 1
    return int(picture.getexif().get(_ORIENTATION, 1))


def _raw_mode(picture: Any) -> str:
    """Pillow's name of how the pixels lie in the file."""
    arguments = picture.tile[0][3] if picture.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _kind_of_pixels(picture: Any, tags: Any) -> tuple[Channels, np.dtype[Any], NDArray[np.uint8] | None]:
    if picture.mode == "P":
        table = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
        return Channels.PALETTE, np.dtype(np.uint8), table
    if picture.mode in ("RGB", "RGBA", "LA"):
        return Channels.GREY if picture.mode == "LA" else Channels.RGB, np.dtype(np.uint8), None
    if picture.mode not in _GREY:
        raise FormatError(f"pixels of kind {picture.mode} are not read; save them as grey or RGB", code="bad_datatype")
    signed16 = picture.mode == "I" and 16 in tags.get(_BITS, ())
    return Channels.GREY, np.dtype("i2" if signed16 else _GREY[picture.mode]), None


def _pixels(picture: Any, found: _Found) -> NDArray[Any]:
    """One page, shape (Y, X) or (Y, X, 3), in the stored type."""
    mode = picture.mode
    if mode != found.mode:
        raise FormatError("the pages of the TIFF differ in size or kind; save each as its own file")
    page: Any = ImageOps.exif_transpose(picture) if found.source.kind != "tiff" else picture
    if "transparency" in picture.info or mode in ("RGBA", "LA"):
        if page.convert("RGBA").getextrema()[3][0] != 255:
            raise FormatError("the picture has transparent pixels; save it without transparency", code="transparent")
        page = page.convert({"RGBA": "RGB", "LA": "L"}.get(mode, mode)) if mode in ("RGBA", "LA") else page
    if mode == "1":
        page = page.convert("L")
    pixels: NDArray[Any] = np.asarray(page)
    return pixels.astype(found.dtype, copy=False)
