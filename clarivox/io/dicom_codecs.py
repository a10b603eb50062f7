# SPDX-License-Identifier: Apache-2.0
"""One compressed frame into stored numbers, by the permissively licensed plugins."""

from __future__ import annotations

from io import BytesIO
from struct import pack
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from clarivox.errors import DecodeError
from clarivox.io.dicom_codestream import END, codestream
from clarivox.io.dicom_image import PixelFormat
from clarivox.io.dicom_jpeg import checked
from clarivox.io.dicom_values import PARSE_ERRORS

RLE = "1.2.840.10008.1.2.5"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"

PLUGINS = {
    RLE: "pylibjpeg",
    JPEG_BASELINE: "pillow",
    JPEG_EXTENDED: "pillow",
    "1.2.840.10008.1.2.4.57": "gdcm",
    "1.2.840.10008.1.2.4.70": "gdcm",
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg",
    "1.2.840.10008.1.2.4.201": "pylibjpeg",
    "1.2.840.10008.1.2.4.202": "pylibjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg",
}
"""pydicom's name of the plugin that decodes a transfer syntax; one each, so that results depend on no machine."""

BY_GDCM = frozenset(syntax for syntax, plugin in PLUGINS.items() if plugin == "gdcm")

DAMAGED = "the compressed pixels cannot be decoded; the file may be damaged"

ENDS_EARLY = "a compressed frame lacks its end marker; its last pixels may be wrong"


def decode(data: bytes, syntax: str, found: PixelFormat) -> tuple[NDArray[Any], str]:
    """Decode one frame.

    Args:
        data: the frame's fragments, joined.
        syntax: transfer syntax UID.
        found: the layout that the header claims; the frame must agree.

    Returns:
        Numbers of shape (rows, columns) or (rows, columns, 3), and a note or "".

    Raises:
        DecodeError: the frame's own size differs from the header's, or it cannot be decoded.
    """
    note = ""
    if syntax != RLE:
        stream = codestream(data)
        if (stream.rows, stream.columns, stream.components) != (found.rows, found.columns, found.samples):
            raise DecodeError(
                f"a frame of {stream.columns} x {stream.rows} x {stream.components} lies where the header claims "
                f"{found.columns} x {found.rows} x {found.samples}",
                code="codestream_mismatch",
            )
        note = "" if stream.complete else ENDS_EARLY
        if not stream.complete and PLUGINS[syntax] == "pyjpegls":
            data += END  # CharLS looks seconds long for an end that is not there
    try:
        if syntax in BY_GDCM or (syntax == JPEG_EXTENDED and found.stored > 8):
            data = checked(data)
        if syntax == JPEG_EXTENDED and found.stored > 8:
            return _extended(data, found), note
        if syntax in (JPEG_BASELINE, JPEG_EXTENDED) and found.photometric.startswith("YBR"):
            return _jpeg_ybr(data, found), note
        return _by_pydicom(data, syntax, found), note
    except PARSE_ERRORS as error:
        raise DecodeError(DAMAGED) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of pylibjpeg-rle: it cannot be imported
            raise
        raise DecodeError(DAMAGED) from error


def _by_pydicom(data: bytes, syntax: str, found: PixelFormat) -> NDArray[Any]:
    decoder = get_decoder(UID(syntax))
    plugin = PLUGINS[syntax]
    if plugin not in decoder.available_plugins:
        if syntax != RLE:
            raise DecodeError(f"the plugin for this compression ({plugin}) is not installed", code="codec_missing")
        plugin = "pydicom"
    padded = data + b"\0" * (len(data) % 2)
    items = pack("<LLLL", 0xE000FFFE, 0, 0xE000FFFE, len(padded)) + padded + pack("<LL", 0xE0DDFFFE, 0)
    array, _ = decoder.as_array(
        items,
        index=0,
        raw=True,
        decoding_plugin=plugin,
        rows=found.rows,
        columns=found.columns,
        samples_per_pixel=found.samples,
        bits_allocated=found.allocated,
        bits_stored=found.stored,
        number_of_frames=1,
        photometric_interpretation=found.photometric,
        pixel_representation=int(found.signed),
        planar_configuration=int(found.planar),
        pixel_keyword="PixelData",
    )
    return np.asarray(array)


def _jpeg_ybr(data: bytes, found: PixelFormat) -> NDArray[Any]:
    """Luma and chroma at full size. pydicom's own call gives RGB, still named YBR, where an Adobe marker is present."""
    from PIL import Image

    with Image.open(BytesIO(data), formats=("JPEG",)) as image:
        image.draft("YCbCr", image.size)
        if image.mode != "YCbCr":
            raise DecodeError("a colour frame holds no colour", code="codestream_mismatch")
        return np.asarray(image)


def _extended(data: bytes, found: PixelFormat) -> NDArray[Any]:
    """JPEG extended with 12 bits: GDCM decodes it, though pydicom does not ask it to."""
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(data)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((found.columns, found.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(JPEG_EXTENDED)))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, found.stored, found.stored - 1, int(found.signed)))
    numbers = np.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), found.dtype)
    return numbers.reshape(found.rows, found.columns)
