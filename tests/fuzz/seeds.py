# SPDX-License-Identifier: Apache-2.0
"""Thirty valid files of every kind that is read, all small, none from outside the packages that are installed."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from tests import toys

DICOM_SAMPLES = (
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "JPEG2000.dcm",
    "JPGExtended.dcm",
    "JPEGLSNearLossless_16.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_rle_2frame.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "image_dfl.dcm",
    "nested_priv_SQ.dcm",
    "rtdose_1frame.dcm",
    "test-SR.dcm",
    "US1_J2KR.dcm",
    "examples_jpeg2k.dcm",
    "emri_small_jpeg_ls_lossless.dcm",
    "693_J2KI.dcm",
    "SC_jpeg_no_color_transform.dcm",
    "examples_palette.dcm",
    "liver_1frame.dcm",
)
"""Among pydicom's own test files; those that an installation lacks are passed over."""

LARGEST = 400_000
"""Bytes of a seed."""


def seeds() -> dict[str, bytes]:
    """Name with suffix, and bytes."""
    return {**_made(), **_samples()}


def _samples() -> dict[str, bytes]:
    from pydicom import data

    folder = Path(data.__file__).parent / "test_files"
    found = {name: folder / name for name in DICOM_SAMPLES}
    return {name: path.read_bytes() for name, path in found.items() if path.exists() and path.stat().st_size <= LARGEST}


def _made() -> dict[str, bytes]:
    """Files written here: a toy series in a zip, an enhanced object, NIfTI, NRRD, MetaImage, pictures."""
    made = {"toy_series.zip": _zip(), "toy_slice": _dicom(toys.ct_slice(0)), "toy_enhanced": _dicom(toys.enhanced_mr())}
    numbers = toys.pixels(0)
    made |= _nifti(numbers)
    body = numbers.astype("<i2").tobytes()
    header = "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 32 24 1\nencoding: raw\n"
    header += "endian: little\nspace directions: (1,0,0) (0,1,0) (0,0,2)\nspace origin: (0,0,0)\n\n"
    made["toy.nrrd"] = header.encode() + body
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
    )
    header += "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 1 1 2\nDimSize = 32 24 1\n"
    made["toy.mha"] = f"{header}ElementType = MET_SHORT\nElementDataFile = LOCAL\n".encode() + body
    return made | _pictures(numbers)


def _dicom(dataset: object) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)  # type: ignore[attr-defined]
    return buffer.getvalue()


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(zipfile.ZipInfo(f"study/{number}"), _dicom(toys.ct_slice(number)))
    return buffer.getvalue()


def _nifti(numbers: np.ndarray) -> dict[str, bytes]:
    import nibabel

    found = {}
    volume = np.stack([numbers, numbers + 1], axis=-1)
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in (("toy.nii", nibabel.Nifti1Image), ("toy2.nii", nibabel.Nifti2Image)):
            kind(volume, np.eye(4)).to_filename(Path(folder, name))
            found[name] = Path(folder, name).read_bytes()
        nibabel.Nifti1Image(volume[..., None].astype(np.float32), np.eye(4)).to_filename(Path(folder, "toy.nii.gz"))
        found["toy.nii.gz"] = Path(folder, "toy.nii.gz").read_bytes()
    return found


def _pictures(numbers: np.ndarray) -> dict[str, bytes]:
    from PIL import Image

    grey = Image.fromarray((numbers // 5).astype(np.uint8))
    found = {}
    for name, kind, picture in (
        ("grey.png", "PNG", grey),
        ("deep.png", "PNG", Image.fromarray(numbers.astype(np.uint16))),
        ("colour.jpg", "JPEG", grey.convert("RGB")),
        ("grey.tif", "TIFF", grey),
    ):
        buffer = io.BytesIO()
        picture.save(buffer, kind)
        found[name] = buffer.getvalue()
    return found
