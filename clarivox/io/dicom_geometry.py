# SPDX-License-Identifier: Apache-2.0
"""From slice positions to one grid, or to the reason why there is none.

Slices are sorted by their position along the normal of the image plane, never by instance number. DICOM's LPS
millimetres become RAS by turning the first two axes round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import GeometryError
from clarivox.volume import Fault, Irregularity

COSINE_TOLERANCE = 1e-4
"""Direction cosines are written with about six decimals."""

SAME_MM = 1e-3
"""Positions closer than this are the same."""

SHARE = 0.01
"""Gaps may differ from the spacing by this share of it."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in order, and their grid.

    Attributes:
        order: indices of the given slices from the first to the last along Z.
        affine: index to millimetres in RAS; see `Irregularity` for what it holds of an irregular stack.
        irregular: how the slices depart from a regular grid, or None.
    """

    order: tuple[int, ...]
    affine: NDArray[np.float64]
    irregular: Irregularity | None = None


def checked_orientation(values: tuple[float, ...]) -> Vector:
    """Row direction and column direction as unit vectors, shape (2, 3).

    Raises:
        GeometryError: not six finite numbers that make two orthogonal unit vectors.
    """
    directions = np.array(values, np.float64)
    if directions.shape == (6,) and np.isfinite(directions).all():
        directions = directions.reshape(2, 3)
        lengths = np.linalg.norm(directions, axis=1)
        if (np.abs(lengths - 1) <= 10 * COSINE_TOLERANCE).all():
            directions /= lengths[:, None]
            if abs(directions[0] @ directions[1]) <= 10 * COSINE_TOLERANCE:
                return directions
    raise GeometryError("the image orientation is not two orthogonal unit vectors; correct it at the source")


def checked_spacing(values: tuple[float, ...]) -> tuple[float, float]:
    """Millimetres between rows and between columns.

    Raises:
        GeometryError: not two finite numbers above 0.
    """
    if len(values) != 2 or not all(np.isfinite(one) and 0 < one < 1e6 for one in values):
        raise GeometryError("the pixel spacing is not two lengths above 0 mm; correct it at the source")
    return values[0], values[1]


def stack(positions: Vector, orientation: Vector, spacing: tuple[float, float], step_mm: float = 1.0) -> Stack:
    """Order slices along their normal and say what grid they make.

    Args:
        positions: centre of each slice's first pixel in LPS millimetres, shape (N, 3).
        orientation: row and column direction, shape (2, 3).
        spacing: millimetres between rows, and between columns.
        step_mm: the third side of a voxel where there is only one slice.

    Raises:
        GeometryError: a position is not finite, or two slices lie at one position (code duplicate_position).

    >>> slices = np.array([[0, 0, 4.0], [0, 0, 0.0], [0, 0, 2.0]])
    >>> made = stack(slices, np.eye(3)[:2], (0.5, 0.5))
    >>> made.order, float(made.affine[2, 2]), made.irregular is None
    ((1, 2, 0), 2.0, True)
    """
    if not np.isfinite(positions).all() or np.abs(positions).max() > 1e7:
        raise GeometryError("a slice position is not a finite length in mm; correct it at the source")
    normal = np.cross(orientation[0], orientation[1])
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    sorted_positions, gaps = positions[order], np.diff(along[order])
    _refuse_duplicates(gaps)
    if len(order) == 1:
        return Stack((0,), affine(positions[0], orientation, spacing, normal * step_mm))
    irregular = _uneven(gaps)
    step = (sorted_positions[-1] - sorted_positions[0]) / len(gaps)
    if irregular is not None:
        step = normal * float(np.median(gaps))
    elif (sideways := float(np.linalg.norm(step - normal * (step @ normal)))) > max(SAME_MM, SHARE * (step @ normal)):
        irregular = _tilt(sorted_positions, step, sideways, float(step @ normal))
    return Stack(tuple(int(one) for one in order), affine(sorted_positions[0], orientation, spacing, step), irregular)


def affine(origin: Vector, orientation: Vector, spacing: tuple[float, float], step: Vector) -> NDArray[np.float64]:
    """Index (x, y, z, 1) to RAS millimetres, from LPS vectors.

    Args:
        origin: centre of the first voxel.
        orientation: row direction (along X) and column direction (along Y).
        spacing: between rows (along Y), and between columns (along X).
        step: from a slice to the next.

    >>> affine(np.zeros(3), np.eye(3)[:2], (2.0, 1.0), np.array([0, 0, 5.0])).diagonal().tolist()
    [-1.0, -2.0, 5.0, 1.0]
    """
    matrix = np.eye(4)
    columns = np.stack([orientation[0] * spacing[1], orientation[1] * spacing[0], step, origin], axis=1)
    matrix[:3, :] = LPS_TO_RAS @ columns
    return matrix + 0.0


def listed(numbers: NDArray[np.intp] | list[int]) -> str:
    """Slice numbers for a message, counted from 1 and cut short.

    >>> listed([0, 4, 7])
    '1, 5, 8'
    """
    shown = [str(int(one) + 1) for one in numbers[:8]]
    return ", ".join(shown) + (f" and {len(numbers) - 8} more" if len(numbers) > 8 else "")


def _refuse_duplicates(gaps: NDArray[np.float64]) -> None:
    same = np.flatnonzero(gaps < SAME_MM)
    if same.size:
        pairs = np.unique(np.concatenate([same, same + 1]))
        raise GeometryError(
            f"each slice must have its own position; slices {listed(pairs)} (in order along the normal) share theirs "
            "and nothing in their headers tells them apart; send one of them",
            code="duplicate_position",
        )


def _uneven(gaps: NDArray[np.float64]) -> Irregularity | None:
    spacing = float(np.median(gaps))
    tolerance = max(SAME_MM, SHARE * spacing)
    off = np.flatnonzero(np.abs(gaps - spacing) > tolerance)
    if not off.size:
        return None
    spacing = float(np.median(gaps[np.abs(gaps - gaps.min()) <= max(SAME_MM, SHARE * gaps.min())]))
    steps = gaps / spacing
    whole = (np.abs(steps - np.rint(steps)) * spacing <= tolerance).all()
    if whole and np.median(np.rint(steps)) <= 1.5:
        off = np.flatnonzero(np.rint(steps) > 1)
        count = int((np.rint(steps) - 1).sum())
        message = (
            f"slices must be evenly spaced; {count} missing after slice {listed(off)} of {len(gaps) + 1}: gaps of "
            f"{gaps.max():.4g} mm where {spacing:.4g} mm is the rule; send the missing slices, or use a 2D bundle "
            "with --allow-uneven"
        )
        return Irregularity(Fault.MISSING, message, tuple(int(one) for one in off))
    message = (
        f"slices must be evenly spaced; found gaps of {gaps.min():.4g} to {gaps.max():.4g} mm, off after slice "
        f"{listed(off)} of {len(gaps) + 1}; use a 2D bundle with --allow-uneven"
    )
    return Irregularity(Fault.UNEVEN, message, tuple(int(one) for one in off))


def _tilt(positions: Vector, step: Vector, sideways: float, forward: float) -> Irregularity:
    straight = positions[0] + np.arange(len(positions))[:, None] * step
    off = np.flatnonzero(np.linalg.norm(positions - straight, axis=1) > max(SAME_MM, 2 * SHARE * forward))
    if off.size:
        message = f"slices must lie on one line; found slices {listed(off)} shifted sideways; use a 2D bundle with "
        return Irregularity(Fault.UNEVEN, message + "--allow-uneven", tuple(int(one) for one in off))
    angle = np.degrees(np.arctan2(sideways, forward))
    message = f"the slices are stacked at an angle of {angle:.2f} degrees to their normal (gantry tilt)"
    return Irregularity(Fault.TILTED, message, tuple(range(len(positions))))
