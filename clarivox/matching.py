# SPDX-License-Identifier: Apache-2.0
"""One volume on the grid of another, slice by slice, for figures and pictures; never for what is written."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import GeometryError
from clarivox.volume import Axis, Channels, Volume

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue. Source: ITU-R BT.601."""
_ALIKE_VOXELS = 0.05
"""How far two grids may differ at their far corner and still count as one."""


def picture(volume: Volume, z: int) -> NDArray[np.float32]:
    """Values of one slice, shape (X, Y): the grey channel, the luma of colour, or the first of several volumes.

    What is no finite number becomes 0.
    """
    count = 3 if volume.channels is Channels.RGB else 1
    values = volume.values((slice(0, count), slice(None), slice(None), slice(z, z + 1)))[..., 0]
    if volume.array.dtype.kind == "f":
        np.nan_to_num(values, copy=False, nan=0, posinf=0, neginf=0)
    if volume.channels is Channels.RGB:
        luma: NDArray[np.float32] = np.tensordot(LUMA, values, axes=1)
        return luma
    grey: NDArray[np.float32] = values[0]
    return grey


def matched(volume: Volume, like: Volume, z: int) -> NDArray[np.float32]:
    """The slice of `volume` at index `z` of the grid of `like`, by linear interpolation; edges are repeated.

    Raises:
        GeometryError: the grids are turned against each other, or show other places (code different_grids).

    >>> coarse = Volume(np.arange(4.0).reshape(1, 4, 1, 1), np.diag([2.0, 1, 1, 1]))
    >>> fine = Volume(np.zeros((1, 8, 1, 1)), np.array([[1.0, 0, 0, -0.5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    >>> matched(coarse, fine, 0)[:, 0].tolist()
    [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]
    """
    if _alike(volume, like):
        return picture(volume, z)
    scale, shift = _mapping(volume, like)
    depth = volume.shape[3]
    place = float(np.clip(scale[2] * z + shift[2], 0, depth - 1))
    below = min(int(place), max(depth - 2, 0))
    slab = picture(volume, below)
    if place > below:
        slab = slab + np.float32(place - below) * (picture(volume, below + 1) - slab)
    for axis in (0, 1):
        slab = _along(slab, axis, np.arange(like.shape[axis + 1]) * scale[axis] + shift[axis])
    return slab


def _alike(volume: Volume, like: Volume) -> bool:
    if volume.shape[1:] != like.shape[1:]:
        return False
    if Axis.TIME in (volume.third_axis, like.third_axis) or volume.irregular is not None:
        return True
    # The origin and the far end of each axis, as columns of homogeneous indices.
    ends = np.vstack([np.diag([side - 1.0 for side in like.shape[1:]]), np.ones(3)])
    ends = np.column_stack([[0.0, 0, 0, 1], ends])
    return bool(np.abs(np.linalg.solve(like.affine, volume.affine @ ends) - ends).max() < _ALIKE_VOXELS)


def _mapping(volume: Volume, like: Volume) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Index of `volume` = scale * index of `like` + shift, along X, Y, Z."""
    mapping = np.asarray(np.linalg.solve(volume.affine, like.affine), np.float64)
    if Axis.TIME in (volume.third_axis, like.third_axis):
        mapping[2] = mapping[:, 2] = [0, 0, 1, 0]
    finer = _finer_picture(volume, like)
    if finer:
        mapping = np.diag([1 / finer, 1 / finer, 1.0, 1.0])
        mapping[:2, 3] = (1 / finer - 1) / 2
    scale: NDArray[np.float64] = np.diag(mapping)[:3].astype(np.float64)
    shift: NDArray[np.float64] = mapping[:3, 3]
    far = scale * (np.array(like.shape[1:]) - 1) + shift
    turned = bool(np.abs(mapping[:3, :3] - np.diag(scale)).max() > 1e-3 * np.abs(scale).min() or (scale <= 0).any())
    # Two pictures of other sizes have no common place: without a spacing, one would be taken for a corner of the other.
    beyond = finer == 0 or (shift < -1).any() or bool((far > np.array(volume.shape[1:])).any())
    if turned or beyond:
        raise GeometryError(
            f"the images must show one place in one orientation; found grids of {volume.shape[1:]} and "
            f"{like.shape[1:]} that {'are turned' if turned else 'lie apart'}; resample one of them",
            code="different_grids",
        )
    return scale, shift


def _finer_picture(volume: Volume, like: Volume) -> int | None:
    """How many times finer `like` is, 0 if it is not; None unless both are picture files, which have no spacing."""
    if not all(one.source and one.source.format == "image" for one in (volume, like)):
        return None
    (_, x, y, z), (_, wide, high, deep) = volume.shape, like.shape
    whole = wide % x == 0 and high % y == 0 and wide // x == high // y and z == deep
    return wide // x if whole else 0


def _along(values: NDArray[np.float32], axis: int, places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Linear interpolation at `places` along one axis of a picture."""
    side = values.shape[axis]
    clipped = np.clip(places, 0, side - 1)
    low = np.minimum(clipped.astype(np.intp), max(side - 2, 0))
    high = np.minimum(low + 1, side - 1)
    weight = (clipped - low).astype(np.float32)
    weight = weight[:, None] if axis == 0 else weight[None]
    first = values.take(low, axis)
    between: NDArray[np.float32] = first + weight * (values.take(high, axis) - first)
    return between
