# SPDX-License-Identifier: Apache-2.0
"""Frames as the bytes of Pixel Data: uncompressed, or JPEG-LS lossless."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from clarivox.errors import LimitError, OptionError
from clarivox.io.dicom_encode import element

COMPRESSIONS = (None, "jpegls")
"""What can be asked for."""

_LONGEST = 0xFFFFFFFE
_TAG = 0x7FE00010


@dataclass(frozen=True)
class Packed:
    """Pixel Data of one instance."""

    syntax: str
    """The transfer syntax that it is in."""
    pieces: Iterable[bytes | memoryview]
    """The whole element, in pieces."""


def packed(frames: list[NDArray[Any]], compress: str | None, bits_stored: int) -> Packed:
    """The element Pixel Data.

    Args:
        frames: each of shape (Y, X), or for colour (Y, X, 3); uncompressed also (3, Y, X), plane after plane.
        compress: None or jpegls. A frame of noise that would grow leaves its instance uncompressed.
        bits_stored: for the compressed stream's header.

    Raises:
        LimitError: over 4 GiB, which an uncompressed element cannot hold.
        OptionError: JPEG-LS does not take this depth.
    """
    if compress is not None:
        try:
            return Packed(str(JPEGLSLossless), _encapsulated([_jpegls(frame, bits_stored) for frame in frames]))
        except RuntimeError:  # pydicom's for every failure; here only: more bytes out than the encoder sets aside
            pass
    size = sum(frame.nbytes for frame in frames)
    if size > _LONGEST:
        raise LimitError(f"{size / 2**30:.1f} GiB do not fit one DICOM object, which holds 4; compress, or split")
    return Packed(str(ExplicitVRLittleEndian), _plain(frames, size))


def _encapsulated(encoded: list[bytes]) -> list[bytes]:
    start = struct.pack("<HH2s2xL", _TAG >> 16, _TAG & 0xFFFF, b"OB", 0xFFFFFFFF)
    return [start, encapsulate(encoded), struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)]


def _plain(frames: list[NDArray[Any]], size: int) -> Iterator[bytes | memoryview]:
    vr = "OB" if frames[0].dtype.itemsize == 1 else "OW"
    yield element(_TAG, vr, b"")[:-4] + struct.pack("<L", size + size % 2)
    for frame in frames:
        little = np.ascontiguousarray(frame, frame.dtype.newbyteorder("<"))
        yield little.data.cast("B")
    yield bytes(size % 2)


def _jpegls(frame: NDArray[Any], bits_stored: int) -> bytes:
    if frame.dtype.itemsize > 2:
        raise OptionError(f"JPEG-LS takes 8 or 16 bits; found {frame.dtype}; write uncompressed")
    colour = frame.ndim == 3
    encoded: bytes = get_encoder(JPEGLSLossless).encode(
        np.ascontiguousarray(frame),
        encoding_plugin="pyjpegls",
        rows=frame.shape[0],
        columns=frame.shape[1],
        number_of_frames=1,
        samples_per_pixel=3 if colour else 1,
        bits_allocated=frame.dtype.itemsize * 8,
        bits_stored=bits_stored,
        pixel_representation=int(frame.dtype.kind == "i"),
        photometric_interpretation="RGB" if colour else "MONOCHROME2",
        planar_configuration=0,
    )
    return encoded
