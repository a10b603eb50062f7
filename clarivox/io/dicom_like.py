# SPDX-License-Identifier: Apache-2.0
"""A volume of another format put under a DICOM series' headers: its axes turned, its values requantised."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import GeometryError, OutputError
from clarivox.volume import Fault, Volume, blank_like

TOLERANCE = 0.1
"""How far corresponding voxel centres may lie apart, in voxels of the series."""


def like_series(volume: Volume, series: Volume) -> tuple[Volume, tuple[str, ...]]:
    """`volume` with the source, the stored numbers and the axes of `series`; and what the user should know.

    Values are divided by the series' own rescale, rounded and clipped to its stored range. Padding of the series
    stays padding.

    Args:
        volume: real values on the grid of `series`; axes may be in another order and direction, as NIfTI's often are.
        series: read from DICOM.

    Raises:
        GeometryError: the grids differ (code grid_differs), or the series has no regular grid.
        OutputError: the voxels are of another kind, colour for grey.
    """
    if series.irregular is not None and series.irregular.fault is not Fault.TILTED:
        raise GeometryError(
            f"a series to be like needs a regular grid; {series.irregular.message}", code=str(series.irregular.fault)
        )
    if (volume.channels, volume.shape[0]) != (series.channels, series.shape[0]):
        raise OutputError(
            f"{volume.shape[0]} {volume.channels} channels cannot be written like {series.shape[0]} {series.channels}",
            code="not_in_this_kind",
        )
    turned = _turned(volume, series)
    out = blank_like(series.shape, series.array.dtype)
    clipped = 0
    for z in range(series.shape[3]):
        stored, outside = _stored(turned, series, z)
        out[..., z : z + 1] = stored
        clipped += outside
    notes = (f"{clipped} voxels did not fit the series' stored range and were clipped",) if clipped else ()
    return series.replace(array=out, provenance=volume.provenance), notes


def _turned(volume: Volume, series: Volume) -> Volume:
    """The volume with the axes of the series; a view."""
    step = np.linalg.inv(series.affine) @ volume.affine
    order = np.abs(step[:3, :3]).argmax(axis=0)
    if sorted(order) != [0, 1, 2]:
        raise _differs("axes at an angle")
    array: NDArray[Any] = volume.array.transpose(0, *(1 + int(np.flatnonzero(order == axis)[0]) for axis in range(3)))
    affine = volume.affine[:, [*np.argsort(order), 3]].copy()
    slope, intercept = volume.slope, volume.intercept
    if order[2] != 2 and ((slope != slope[0]).any() or (intercept != intercept[0]).any()):
        raise _differs("slices along another axis, with a rescale that changes from slice to slice")
    for axis in range(3):
        if step[axis, int(np.flatnonzero(order == axis)[0])] < 0:
            array = np.flip(array, axis + 1)
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis + 1] - 1)
            affine[:3, axis] *= -1
            if axis == 2 and order[2] == 2:
                slope, intercept = slope[::-1], intercept[::-1]
    _check_grid(array.shape[1:], affine, series)
    depth = array.shape[3]
    if order[2] != 2:
        slope, intercept = np.full(depth, slope[0]), np.full(depth, intercept[0])
    return volume.replace(array=array, affine=affine, slope=slope, intercept=intercept, padding=None, irregular=None)


def _check_grid(sides: tuple[int, ...], affine: NDArray[np.float64], series: Volume) -> None:
    if sides != series.shape[1:]:
        raise _differs(f"{' x '.join(map(str, sides))} voxels for {' x '.join(map(str, series.shape[1:]))}")
    ends = np.array(np.meshgrid(*((0, side - 1) for side in sides), [1.0])).reshape(4, -1)
    apart = np.abs((affine - series.affine) @ ends)[:3].max()
    allowed = TOLERANCE * min(series.spacing_mm)
    if apart > allowed:
        raise _differs(f"voxel centres up to {apart:.3g} mm apart, over {allowed:.3g} mm")


def _differs(how: str) -> GeometryError:
    return GeometryError(
        f"the volume must lie on the grid of the series to be like; found {how}; resample it first", code="grid_differs"
    )


def _stored(volume: Volume, series: Volume, z: int) -> tuple[NDArray[Any], int]:
    """One slice as stored numbers of the series, shape (C, X, Y, 1), and how many were clipped."""
    box = (slice(None), slice(None), slice(None), slice(z, z + 1))
    values = volume.array[box].astype(np.float64) * volume.slope[z] + volume.intercept[z]
    numbers = np.rint((values - series.intercept[z]) / series.slope[z])
    bits = np.iinfo(series.array.dtype)
    low, high = series.stored_range or (int(bits.min), int(bits.max))
    inside = np.clip(np.nan_to_num(numbers, nan=low, posinf=high, neginf=low), low, high)
    mask = series.padding_mask(box)
    changed = inside != numbers
    if mask is not None:
        inside = np.where(mask, series.array[box], inside)
        changed &= ~mask
    return inside.astype(series.array.dtype), int(np.count_nonzero(changed))
