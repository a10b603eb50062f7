# SPDX-License-Identifier: Apache-2.0
"""From a volume's affine (RAS) to DICOM's words for a plane (LPS), and numbers as decimal strings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.valuerep import format_number_as_ds

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Plane:
    """One slice's place, in DICOM's order and signs.

    Attributes:
        position: centre of the first pixel, mm LPS.
        orientation: unit vectors along a row (X grows) and down a column (Y grows), six numbers.
        spacing: millimetres between rows, then between columns.
    """

    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, float]


def plane(affine: NDArray[np.float64], z: float) -> Plane:
    """The place of the slice with index `z` along the third axis.

    >>> plane(np.diag([2.0, 3.0, 4.0, 1.0]), 2)
    Plane(position=(0.0, 0.0, 8.0), orientation=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0), spacing=(3.0, 2.0))
    """
    lps = _LPS @ affine
    size = np.linalg.norm(lps[:3, :2], axis=0)
    axes = (lps[:3, :2] / size).T.ravel() + 0.0
    position = (lps @ (0.0, 0.0, z, 1.0))[:3] + 0.0
    return Plane(tuple(position.tolist()), tuple(axes.tolist()), (float(size[1]), float(size[0])))


def shifted(
    position: NDArray[np.float64], orientation: NDArray[np.float64], rows_mm: float, columns_mm: float
) -> NDArray[np.float64]:
    """`position` moved within the plane: `columns_mm` along a row, `rows_mm` down a column."""
    return position + orientation[:3] * columns_mm + orientation[3:] * rows_mm


def decimal(value: float) -> str:
    """The decimal string (VR DS, at most 16 characters) nearest to `value`.

    >>> decimal(0.1), decimal(-1024.0), decimal(1 / 3)
    ('0.1', '-1024', '0.33333333333333')
    """
    number = float(value)
    text = format_number_as_ds(number)
    return text[:-2] if text.endswith(".0") else str(text)


def decimals(values: tuple[float, ...] | NDArray[np.float64]) -> list[str]:
    """`decimal` of each."""
    return [decimal(value) for value in values]
