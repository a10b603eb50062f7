# SPDX-License-Identifier: Apache-2.0
"""Reading NIfTI-1 and NIfTI-2 single files: stored numbers, axes as stored, and a header kept for the writer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from clarivox.errors import FormatError, GeometryError, LimitError, RescaleError, TruncatedError
from clarivox.io import gzip_file
from clarivox.io.limits import Limits
from clarivox.io.samples import check_bytes, range_of, read_samples
from clarivox.io.series import SeriesInfo
from clarivox.volume import Axis, Channels, Volume

HEADER_BYTES = 540
"""The longer of the two headers; enough bytes of a file to tell what it is."""

RGB24 = 128
"""NIfTI's datatype code of three interleaved bytes a voxel."""

DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
"""NIfTI's datatype codes of real numbers."""

MM_PER_UNIT = {1: 1000.0, 3: 0.001}
"""Metres and micrometres, by the spatial part of xyzt_units; everything else is taken as millimetres."""

_REFUSED = {
    1: "1-bit",
    32: "complex",
    1536: "128-bit floating point",
    1792: "complex",
    2048: "complex",
    2304: "RGBA",
}


@dataclass(frozen=True, eq=False)
class NiftiSource:
    """What a NIfTI volume keeps of its file, for the writer.

    Attributes:
        name: the file's name without .nii or .nii.gz.
        header: the header's bytes as they stand in the file.
        extensions: the bytes between the header and the voxels, as they stand in the file.
        version: 1 or 2.
        affine: the volume's affine as read; while a volume still has it, the header's geometry is written unchanged.
        shape: the volume's shape as read.
    """

    name: str
    header: bytes
    extensions: bytes
    version: int
    affine: NDArray[np.float64]
    shape: tuple[int, int, int, int]

    @property
    def format(self) -> str:
        """Always nifti."""
        return "nifti"

    def parsed(self) -> Any:
        """The header as nibabel's object; each call gives a new one."""
        kind = Nifti1Header if self.version == 1 else Nifti2Header
        return kind(self.header, check=False)


@dataclass(frozen=True, eq=False)
class Layout:
    """What a header says about the voxels that follow it; all of it checked."""

    source: NiftiSource
    dtype: np.dtype[Any]
    """As in the file, with its byte order."""
    channels: Channels
    third_axis: Axis
    slope: float
    intercept: float
    offset: int
    notes: tuple[str, ...]

    @property
    def data_bytes(self) -> int:
        """Length of the voxels in the unpacked file."""
        return math.prod(self.source.shape) * self.dtype.itemsize


def version_of(head: bytes) -> int:
    """1 or 2 for the first bytes of an unpacked NIfTI file, 0 for anything else.

    >>> version_of(b"not an image")
    0
    """
    if head[4:8] in (b"n+2\0", b"ni2\0"):
        return 2
    return 1 if head[344:348] in (b"n+1\0", b"ni1\0") else 0


def layout(path: Path, limits: Limits) -> Layout:
    """Read and check the header alone; nothing of the voxels' size is allocated.

    Raises:
        FormatError: a pair of files, five dimensions, or a kind of number that is not an intensity.
        GeometryError: the affine, a side or a spacing is unusable.
        RescaleError: the slope or intercept is infinite.
        LimitError: more voxels than the limits allow, or a packing ratio that only a bomb has.
        TruncatedError: the file cannot hold what its header promises.
    """
    with gzip_file.reading(path) as stream:
        found = _parsed(stream, path, limits)
    check_bytes(found.offset + found.data_bytes, path.stat().st_size, gzip_file.is_gzip(path), limits)
    limits.check_voxels(math.prod(found.source.shape))
    return found


def describe(path: Path, limits: Limits) -> SeriesInfo:
    """What the header says, for a list; raises as `layout`."""
    found = layout(path, limits)
    x, y, z = np.linalg.norm(found.source.affine[:3, :3], axis=0)
    return SeriesInfo(
        path.name,
        "nifti",
        kind=f"NIfTI-{found.source.version}",
        shape=found.source.shape,
        channels=str(found.channels),
        third_axis=str(found.third_axis),
        spacing_mm=(float(x), float(y), float(z)),
        dtype=found.dtype.name,
        encoding="gzip" if gzip_file.is_gzip(path) else "uncompressed",
        notes=found.notes,
    )


def load(path: Path, limits: Limits, tell: Callable[[float], None]) -> Volume:
    """Read one file.

    Args:
        path: a .nii or .nii.gz file, whatever its name.
        limits: what is too large.
        tell: called with the share of the voxels that is read.

    Raises:
        InputError: as `layout`, and where the voxels are cut short or damaged.
    """
    found = layout(path, limits)
    with gzip_file.reading(path) as stream:
        _skip(stream, found.offset)
        array = read_samples(stream, found.source.shape, found.dtype, found.channels is Channels.RGB, tell)
        notes = found.notes
        if gzip_file.left_over(stream):
            notes += ("bytes after the last voxel were ignored",)
    return volume_of(array, found, notes)


def volume_of(array: NDArray[Any], found: Layout, notes: tuple[str, ...]) -> Volume:
    """The volume that stored numbers and a header make."""
    return Volume(
        array,
        found.source.affine,
        channels=found.channels,
        third_axis=found.third_axis,
        slope=np.array([found.slope]),
        intercept=np.array([found.intercept]),
        stored_range=range_of(array.dtype),
        notes=notes,
        source=found.source,
    )


def _parsed(stream: BinaryIO, path: Path, limits: Limits) -> Layout:
    head = stream.read(HEADER_BYTES)
    version = version_of(head)
    if version == 0:
        raise FormatError("not a NIfTI file: the header's mark is missing")
    length = 348 if version == 1 else 540
    kind = Nifti1Header if version == 1 else Nifti2Header
    try:
        header = kind(head[:length], check=False)
    except (WrapStructError, HeaderDataError, ValueError) as error:
        raise FormatError("the NIfTI header is cut short or damaged") from error
    if bytes(header["magic"])[:2] == b"ni":
        raise FormatError("a NIfTI pair (.hdr with .img) is not read; save it as one .nii file", code="detached_data")
    offset = _offset(header, length, limits)
    rest = head[length:] + stream.read(max(0, offset - len(head)))
    dtype, coloured = _dtype(header)
    notes: list[str] = []
    shape, third_axis = _shape(header, coloured)
    source = NiftiSource(
        name=name_of(path),
        header=head[:length],
        extensions=rest[: offset - length],
        version=version,
        affine=_affine(header, shape, notes),
        shape=shape,
    )
    slope, intercept = (1.0, 0.0) if coloured else scale_of(header)
    if not coloured and float(header["scl_inter"]) not in (0.0, intercept) and slope == 1:
        notes.append("the header has an intercept without a slope; stored numbers are taken as values")
    channels = Channels.RGB if coloured else Channels.VOLUMES if shape[0] > 1 else Channels.GREY
    return Layout(source, dtype, channels, third_axis, slope, intercept, offset, tuple(notes))


def name_of(path: Path) -> str:
    """A file's name without .nii or .nii.gz.

    >>> name_of(Path("scan.1.nii.gz")), name_of(Path("scan"))
    ('scan.1', 'scan')
    """
    name = path.name
    for suffix in (".gz", ".nii"):
        name = name.removesuffix(suffix)
    return name or "image"


def _offset(header: Any, length: int, limits: Limits) -> int:
    offset = float(header["vox_offset"])
    if offset == 0:
        return length + 4
    if not math.isfinite(offset) or offset < length or offset != int(offset):
        raise FormatError(f"the voxels are said to begin at byte {offset:g}, inside the header or nowhere")
    if offset > limits.header_bytes:
        raise LimitError(f"{offset:g} bytes of header extensions; the limit is {limits.header_bytes}")
    return int(offset)


def _dtype(header: Any) -> tuple[np.dtype[Any], bool]:
    code = int(header["datatype"])
    if code == RGB24:
        return np.dtype(np.uint8), True
    if code not in DTYPES:
        what = _REFUSED.get(code, f"datatype code {code}")
        raise FormatError(f"voxels are {what}; save them as integers or as 32-bit floating point", code="bad_datatype")
    return np.dtype(header.endianness + DTYPES[code]), False


def _shape(header: Any, coloured: bool) -> tuple[tuple[int, int, int, int], Axis]:
    count = int(header["dim"][0])
    if not 1 <= count <= 7:
        raise FormatError(f"the header says {count} dimensions; 1 to 7 are possible")
    sides = [int(side) for side in header["dim"][1 : count + 1]] + [1] * (7 - count)
    if min(sides) < 1:
        raise GeometryError(f"sides of {sides} voxels; each must be at least 1")
    if max(sides[4:]) > 1:
        raise FormatError(f"{sides} has more than four dimensions; split it into 4D files", code="five_dimensions")
    x, y, z, t = sides[:4]
    timed = int(header["xyzt_units"]) & 0x38 in (8, 16, 24)
    if t > 1 and z == 1 and (coloured or timed):
        return (3 if coloured else 1, x, y, t), Axis.TIME
    if coloured and t > 1:
        raise FormatError("colour volumes over time are not read; split them into 3D files", code="five_dimensions")
    return (3 if coloured else t, x, y, z), Axis.SPACE


def scale_of(header: Any) -> tuple[float, float]:
    """Slope and intercept of a header; a slope of 0 or NaN means that there are none.

    Raises:
        RescaleError: one of them is not finite.
    """
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or math.isnan(slope):
        return 1.0, 0.0
    if not math.isfinite(slope) or not math.isfinite(intercept):
        raise RescaleError(f"slope {slope} and intercept {intercept} must be finite; mend scl_slope and scl_inter")
    return slope, intercept


def _affine(header: Any, shape: tuple[int, int, int, int], notes: list[str]) -> NDArray[np.float64]:
    try:
        if int(header["sform_code"]) > 0:
            affine = np.asarray(header.get_sform(), np.float64)
        elif int(header["qform_code"]) > 0:
            affine = np.asarray(header.get_qform(), np.float64)
        else:
            affine = np.asarray(header.get_base_affine(), np.float64)
            notes.append("the file gives no place in the patient (sform and qform codes 0): spacing alone is used")
    except (HeaderDataError, ValueError) as error:
        raise GeometryError("the rotation or a voxel size in the header is not usable; mend qform or sform") from error
    affine = affine.copy()
    affine[:3] *= MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    if shape[3] == 1 and np.isfinite(affine).all() and not affine[:3, 2].any():
        across = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = across / (np.linalg.norm(across) or 1.0)
        notes.append("the only slice has no thickness in the header: 1 mm is assumed")
    return _checked(affine)


def _checked(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(affine).all():
        raise GeometryError("the affine holds numbers that are not finite; mend sform or qform")
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    if not sides.all() or abs(np.linalg.det(affine[:3, :3] / sides)) < 1e-6:
        raise GeometryError(
            "the affine is singular: a voxel size is 0 or two axes are parallel; mend pixdim, sform or qform",
            code="singular_affine",
        )
    return affine


def _skip(stream: BinaryIO, count: int) -> None:
    while count > 0:
        block = stream.read(min(count, 1 << 20))
        if not block:
            raise TruncatedError("the file ends inside its header; fetch it again")
        count -= len(block)
