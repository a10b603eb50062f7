# SPDX-License-Identifier: Apache-2.0
"""Writing NIfTI: numbers in the source's type, its header and codes kept, free text left out unless asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from numpy.typing import NDArray

from clarivox.errors import OutputError
from clarivox.io import atomic, carried, gzip_file
from clarivox.io.carried import Carried
from clarivox.io.nifti import DTYPES, MM_PER_UNIT, RGB24, NiftiSource, scale_of
from clarivox.io.written import Written
from clarivox.volume import Axis, Channels, Fault, Volume

_CODES = {np.dtype(name): code for code, name in DTYPES.items()}
_FREE_TEXT = ("descrip", "aux_file", "intent_name", "db_name", "data_type")
_LARGEST_SIDE = 32767
_MM_AND_SECONDS = 2 | 8
_SCANNER, _ALIGNED = 1, 2
_NO_EXTENSION = bytes(4)


def save(
    volume: Volume,
    path: Path,
    *,
    overwrite: bool = False,
    keep_text: bool = False,
    level: int = 3,
    tell: Callable[[float], None] = lambda share: None,
) -> Written:
    """Write one file; gzip where the name ends with .gz. No second copy of the volume is made.

    Args:
        volume: any volume but palette indices and unevenly spaced slices.
        path: ends with .nii or .nii.gz.
        overwrite: replace a file that is there.
        keep_text: keep the source's description, names and header extensions, which may name the patient.
        level: of compression, 0 to 3.
        tell: called with the share that is written.

    Raises:
        OutputError: the name has another ending, the file exists, or the numbers have no NIfTI type.
        GeometryError: the slices are not one grid.
    """
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise OutputError(f"a NIfTI file's name ends with .nii or .nii.gz; found {path.name!r}", code="bad_name")
    carried.check_not_palette(volume)
    carried.check_regular(volume, allowed=(Fault.TILTED,))
    numbers = carried.with_one_scale(volume)
    coloured = volume.channels in (Channels.RGB, Channels.YBR)
    if numbers.dtype.newbyteorder("=") not in _CODES or (coloured and numbers.dtype != np.uint8):
        raise OutputError(f"NIfTI has no voxels of {volume.shape[0]} x {numbers.dtype}; write DICOM", code="bad_dtype")
    header, extensions = _header(volume, numbers, coloured, keep_text)
    file_dtype = np.dtype(np.uint8) if coloured else numbers.dtype.newbyteorder(header.endianness)
    source_blocks = carried.interleaved if coloured else carried.blocks

    def content() -> Iterator[NDArray[Any] | bytes]:
        yield header.binaryblock + extensions
        for block in source_blocks(volume, numbers, tell):
            yield block.astype(file_dtype, copy=False)

    with atomic.file(path, overwrite) as temporary:
        gzip_file.write(temporary, content(), path.name.lower().endswith(".gz"), level)
    return Written((path,), "nifti", _notes(volume, numbers, keep_text))


def _header(volume: Volume, numbers: Carried, coloured: bool, keep_text: bool) -> tuple[Any, bytes]:
    """nibabel's header and the bytes between it and the voxels."""
    source = volume.source
    own = source if isinstance(source, NiftiSource) else None
    header = own.parsed() if own else _new_header(volume)
    if own is None or volume.shape != own.shape:
        _set_shape(header, volume, coloured)
    header["datatype"] = RGB24 if coloured else _CODES[numbers.dtype.newbyteorder("=")]
    header["bitpix"] = 24 if coloured else 8 * numbers.dtype.itemsize
    if own is None or scale_of(header) != (numbers.slope, numbers.intercept):
        header["scl_slope"], header["scl_inter"] = numbers.slope, numbers.intercept
    if own is None or not np.array_equal(volume.affine, own.affine):
        _set_affine(header, volume)
    if own is None or volume.provenance is not None:
        header["cal_min"] = header["cal_max"] = 0
    extensions = own.extensions if own and keep_text and own.extensions else _NO_EXTENSION
    if not keep_text:
        for name in _FREE_TEXT:
            if name in header.keys():  # noqa: SIM118 - nibabel's header does not iterate over its keys
                header[name] = b""
    header["vox_offset"] = len(header.binaryblock) + len(extensions)
    return header, extensions


def _new_header(volume: Volume) -> Any:
    """An empty little-endian header; NIfTI-2 where a side does not fit NIfTI-1."""
    large = max(volume.shape) > _LARGEST_SIDE
    header = (Nifti2Header if large else Nifti1Header)(endianness="<")
    header["magic"] = b"n+2" if large else b"n+1"
    header["xyzt_units"] = _MM_AND_SECONDS
    code = _SCANNER if volume.source is not None and volume.source.format == "dicom" else _ALIGNED
    header["sform_code"] = header["qform_code"] = code
    header["pixdim"][4:] = 1
    return header


def _set_shape(header: Any, volume: Volume, coloured: bool) -> None:
    channels, x, y, z = volume.shape
    sides = [x, y, 1, z] if volume.third_axis is Axis.TIME else [x, y, z, 1 if coloured else channels]
    if volume.third_axis is Axis.TIME and not coloured and channels > 1:
        raise OutputError("several clips in one NIfTI file would need five dimensions; write DICOM", code="bad_shape")
    if max(sides) > _LARGEST_SIDE and len(header.binaryblock) == 348:
        raise OutputError(f"sides of {sides} voxels do not fit NIfTI-1; write NRRD", code="bad_shape")
    count = 4 if sides[3] > 1 else max(3, min(4, int(header["dim"][0])))
    header["dim"] = [count, *sides, 1, 1, 1]


def _set_affine(header: Any, volume: Volume) -> None:
    """Both forms from the volume, under the codes that the header has; a shear cannot be said as a quaternion."""
    affine = volume.affine.copy()
    affine[:3] /= MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if sform == qform == 0:
        sform = _ALIGNED
    sheared = not _orthogonal(affine)
    if sheared and sform == 0:
        sform = qform
    header.set_sform(affine, code=sform)
    header.set_qform(affine, code=0 if sheared else qform, strip_shears=True)


def _orthogonal(affine: NDArray[np.float64]) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.allclose(axes.T @ axes, np.eye(3), atol=1e-5))


def _notes(volume: Volume, numbers: Carried, keep_text: bool) -> tuple[str, ...]:
    notes = list(numbers.notes)
    if volume.channels is Channels.YBR:
        notes.append("luma and colour difference were converted to RGB, rounded to 8 bits")
    if volume.third_axis is Axis.TIME:
        notes.append("frames are written along the fourth dimension")
    if volume.inverted:
        notes.append("larger values mean darker (MONOCHROME1); NIfTI cannot say so")
    if volume.source is not None and volume.source.format == "nifti" and not keep_text:
        notes.append("description, names and header extensions of the source were left out")
    return tuple(notes)
