# SPDX-License-Identifier: Apache-2.0
"""Writing PNG and TIFF pictures: stored numbers where the format has them, or 8 bits of a window; no metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clarivox.errors import OptionError, OutputError
from clarivox.io import atomic
from clarivox.io.carried import rgb_of
from clarivox.io.image import ImageSource
from clarivox.io.written import Written
from clarivox.volume import Channels, Volume

_ENDINGS = {"png": (".png",), "tiff": (".tif", ".tiff")}
_SAMPLE_FORMAT, _SIGNED = 339, 2
_BIG_TIFF_BYTES = 3 << 30


@dataclass(frozen=True)
class _Plan:
    """How stored numbers become pixels."""

    offset: int = 0
    """Added to stored numbers, in 16 bits."""
    window: tuple[float, float] | None = None
    signed: bool = False
    notes: tuple[str, ...] = ()


def save(
    volume: Volume,
    path: Path,
    *,
    as_: str,
    overwrite: bool = False,
    window: tuple[float, float] | None = None,
    tell: Callable[[float], None] = lambda share: None,
) -> Written:
    """Write pictures without any metadata.

    One slice becomes a file. Several become a TIFF of several pages, or a folder of PNG files. Unsigned numbers of 8
    and 16 bits are written as stored; signed ones are written to PNG in 16 bits with an offset, which the notes name.

    Args:
        volume: any volume; padding and place are lost.
        path: a file, or a folder for PNG of more than one slice.
        as_: png or tiff.
        overwrite: replace what is there.
        window: values shown as black and white, for 8-bit pictures.
        tell: called with the share that is written.

    Raises:
        OutputError: the name has another ending, the file exists, or numbers do not fit (code needs_window).
        OptionError: the window is empty or not finite, or the volume is coloured.
    """
    plan = _planned(volume, as_, window)
    several = volume.shape[3] > 1 or (volume.channels is Channels.VOLUMES and volume.shape[0] > 1)
    if as_ == "png" and several:
        if path.suffix.lower() == ".png":
            raise OutputError(
                f"{volume.shape[3]} slices become a folder of PNG files; found the file name {path.name!r}",
                code="bad_name",
            )
        return _save_folder(volume, path, plan, overwrite, tell)
    if not path.name.lower().endswith(_ENDINGS[as_]):
        raise OutputError(f"the file's name ends with {_ENDINGS[as_][0]}; found {path.name!r}", code="bad_name")
    pages = (page for _, page in _pages(volume, plan, tell))
    with atomic.file(path, overwrite) as temporary:
        first = next(pages)
        if as_ == "png":
            first.save(temporary, "PNG")
        else:
            tags = {_SAMPLE_FORMAT: _SIGNED} if plan.signed else {}
            large = volume.array.nbytes > _BIG_TIFF_BYTES
            first.save(temporary, "TIFF", save_all=True, append_images=pages, tiffinfo=tags, big_tiff=large)
    return Written((path,), as_, plan.notes)


def _save_folder(volume: Volume, path: Path, plan: _Plan, overwrite: bool, tell: Callable[[float], None]) -> Written:
    names = []
    with atomic.folder(path, overwrite, own="*.png") as temporary:
        for name, page in _pages(volume, plan, tell):
            page.save(temporary / name, "PNG")
            names.append(name)
    return Written(tuple(path / name for name in names), "png", plan.notes)


def _planned(volume: Volume, as_: str, window: tuple[float, float] | None) -> _Plan:
    notes = ["place, spacing and the meaning of the values are not in the picture"]
    if volume.channels is Channels.YBR:
        notes.append("luma and colour difference were converted to RGB, rounded to 8 bits")
    if volume.channels is Channels.PALETTE and _palette(volume) is None:
        raise OutputError("indices into a colour table cannot be written so; write DICOM", code="palette")
    if window is not None:
        return _windowed(volume, window, notes)
    if volume.inverted:
        notes.append("larger values mean darker (MONOCHROME1); the picture shows them brighter")
    dtype = volume.array.dtype
    if dtype in (np.uint8, np.uint16) or (as_ == "tiff" and dtype in (np.int16, np.int32, np.float32)):
        return _Plan(signed=as_ == "tiff" and dtype == np.int16, notes=tuple(notes))
    if dtype in (np.int8, np.int16):
        offset = -int((volume.stored_range or (np.iinfo(dtype).min, 0))[0])
        notes.append(f"stored value = pixel - {offset}")
        return _Plan(offset=offset, notes=tuple(notes))
    raise OutputError(f"{as_} has no pixels of {dtype}; give a window (black, white)", code="needs_window")


def _windowed(volume: Volume, window: tuple[float, float], notes: list[str]) -> _Plan:
    low, high = window
    if volume.channels not in (Channels.GREY, Channels.VOLUMES):
        raise OptionError("a window is for grey values; the volume is coloured")
    if not (np.isfinite([low, high]).all() and high > low):
        raise OptionError(f"a window is (black, white), finite and white above black; found ({low:g}, {high:g})")
    notes.append(f"8 bits: black is {low:g} {volume.unit}, white is {high:g} {volume.unit}")
    return _Plan(window=window, notes=tuple(notes))


def _pages(volume: Volume, plan: _Plan, tell: Callable[[float], None]) -> Iterator[tuple[str, Any]]:
    """Each slice as a file name and pillow's picture."""
    channels, _, _, depth = volume.shape
    stacks = range(channels) if volume.channels is Channels.VOLUMES else range(1)
    for stack in stacks:
        for z in range(depth):
            part = slice(stack, stack + 1) if volume.channels is Channels.VOLUMES else slice(None)
            pixels = _pixels(volume, plan, part, z)
            start = f"volume_{stack:04d}_" if len(stacks) > 1 else ""
            yield f"{start}slice_{z:05d}.png", _picture(volume, pixels)
            tell((stack * depth + z + 1) / (len(stacks) * depth))


def _pixels(volume: Volume, plan: _Plan, part: slice, z: int) -> NDArray[Any]:
    """One slice, shape (Y, X) or (Y, X, 3)."""
    box = (part, slice(None), slice(None), slice(z, z + 1))
    if plan.window is not None:
        low, high = plan.window
        share = np.nan_to_num((volume.values(box)[0, :, :, 0].T - low) / (high - low), posinf=1.0, neginf=0.0)
        shown = np.clip(1 - share if volume.inverted else share, 0, 1)
        bytes_: NDArray[Any] = np.rint(shown * 255).astype(np.uint8)
        return bytes_
    stored = volume.array[box][..., 0]
    if volume.channels is Channels.YBR:
        stored = rgb_of(stored)
    if volume.channels in (Channels.RGB, Channels.YBR):
        if stored.dtype != np.uint8:
            raise OutputError(f"colour of {stored.dtype} does not fit a picture; write DICOM", code="bad_dtype")
        return np.ascontiguousarray(stored.transpose(2, 1, 0))
    grey = np.ascontiguousarray(stored[0].T)
    if plan.offset:
        return (grey.astype(np.int32) + plan.offset).astype(np.uint16)
    as_bits: NDArray[Any] = grey.view(np.uint16) if plan.signed else grey
    return as_bits


def _picture(volume: Volume, pixels: NDArray[Any]) -> Any:
    picture = Image.fromarray(pixels)
    table = _palette(volume)
    if volume.channels is Channels.PALETTE and table is not None:
        picture.putpalette(table.ravel().tolist(), "RGB")
    return picture


def _palette(volume: Volume) -> NDArray[np.uint8] | None:
    return volume.source.palette if isinstance(volume.source, ImageSource) else None
