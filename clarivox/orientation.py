# SPDX-License-Identifier: Apache-2.0
"""How a slice lies on a screen: the patient's right on the viewer's left, front or head up; and what its edges are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clarivox.volume import Axis, Fault, Volume

_POSITIVE, _NEGATIVE = "RAH", "LPF"
"""Right, anterior, head; left, posterior, feet: the ends of the axes of `Volume.affine`."""
_FREE_ORDER = ("nifti", "nrrd")
"""Formats whose axes may run any way; the rows of DICOM and of pictures are meant to be shown as they are stored."""
_PLACED = ("", "CT", "MR", "PT", "NM")
"""Modalities whose axes are those of the patient; a projection and an ultrasound clip have none."""


@dataclass(frozen=True)
class View:
    """How the slices of a volume are turned for the screen.

    Attributes:
        swapped: rows become columns, before anything is flipped.
        flip_x, flip_y: left and right, top and bottom change places.
        edges: letters for left, right, top and bottom, or "" where the place in the patient is unknown.
    """

    swapped: bool = False
    flip_x: bool = False
    flip_y: bool = False
    edges: str = ""

    def turned(self, levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A picture (Y, X) or (Y, X, 3) as it is shown."""
        shown = levels.swapaxes(0, 1) if self.swapped else levels
        return shown[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]


def view(volume: Volume) -> View:
    """How a volume's slices are shown.

    >>> view(Volume(np.zeros((1, 2, 2, 2)), np.diag([-1.0, -1, 1, 1]))).edges
    'RLAP'
    """
    format_ = volume.source.format if volume.source else ""
    known = volume.modality in _PLACED and format_ != "image" and volume.third_axis is Axis.SPACE
    if not known or (volume.irregular is not None and volume.irregular.fault is Fault.UNRELATED):
        return View()
    x, y = (int(np.abs(volume.affine[:3, axis]).argmax()) for axis in (0, 1))
    if x == y:
        return View()
    grows_x, grows_y = volume.affine[x, 0] > 0, volume.affine[y, 1] > 0
    if format_ not in _FREE_ORDER:
        return View(edges=_ends(x, bool(grows_x)) + _ends(y, bool(grows_y)))
    swapped = x > y
    if swapped:
        x, y, grows_x, grows_y = y, x, grows_y, grows_x
    return View(swapped, bool(grows_x), bool(grows_y), _ends(x, False) + _ends(y, False))


def _ends(axis: int, grows: bool) -> str:
    """Letters at the start and at the end of an axis that grows, or falls, towards right, anterior or head."""
    start, end = _NEGATIVE[axis], _POSITIVE[axis]
    return start + end if grows else end + start
