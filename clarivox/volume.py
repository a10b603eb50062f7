# SPDX-License-Identifier: Apache-2.0
"""Voxels with their place in the patient.

The one convention, said here and nowhere else: `Volume.array` has the axes (C, X, Y, Z); X is the column of a slice, Y
its row, Z the slice or, in a clip, the frame. `Volume.affine` takes the index (x, y, z, 1) to millimetres in RAS
(right, anterior, superior). In memory X runs fastest, then Y, Z, C, so a slice is one contiguous block.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import GeometryError, RescaleError

Index = tuple[slice, slice, slice, slice]
"""A box of voxels: one slice object with step 1 for each of C, X, Y, Z."""

EVERYTHING: Index = (slice(None),) * 4
"""The index of the whole volume."""


class Unit(StrEnum):
    """What a voxel's value means."""

    HU = "HU"
    """Hounsfield units of CT."""
    BQML = "Bq/ml"
    """Activity concentration of PET."""
    RELATIVE = "relative"
    """A scale without physical meaning: MR, ultrasound, radiographs, photographs."""


class Channels(StrEnum):
    """What the axis C holds."""

    GREY = "grey"
    """One channel."""
    RGB = "rgb"
    """Red, green, blue."""
    YBR = "ybr"
    """Luma, blue and red difference, full range (DICOM's YBR_FULL)."""
    PALETTE = "palette"
    """One channel of indices into a colour table; the numbers are not intensities."""
    VOLUMES = "volumes"
    """Independent volumes on one grid: time points, echoes, diffusion directions."""


class Axis(StrEnum):
    """What the axis Z runs along."""

    SPACE = "space"
    """Slices, with the affine's third column between them."""
    TIME = "time"
    """Frames of a clip; the affine's third column is a placeholder of 1 mm."""


class Fault(StrEnum):
    """Why slices do not lie on a regular grid."""

    MISSING = "missing_slices"
    """Gaps are whole multiples of the spacing: slices are absent."""
    UNEVEN = "uneven_spacing"
    """Gaps differ in another way."""
    TILTED = "gantry_tilt"
    """Evenly spaced, but stacked at an angle to the slice normal; the affine carries the shear."""
    UNRELATED = "unrelated_frames"
    """Frames of one object with no common stack."""


@dataclass(frozen=True)
class Irregularity:
    """How a series departs from a regular grid, and where.

    For every fault but `Fault.TILTED` the affine holds for the first slice only: nothing that reads positions along Z
    from it may be used.
    """

    fault: Fault
    message: str
    slices: tuple[int, ...] = ()
    """Indices along Z at which the fault shows."""


@dataclass(frozen=True)
class Provenance:
    """How an enhanced volume came to be: what the derived headers and the evidence page say."""

    bundle: str
    version: str
    digest: str
    """SHA-256 of the weights, or of the configuration where a bundle has no weights; hexadecimal."""
    task: str
    """One of denoise, despeckle, superres, identity."""
    options: dict[str, Any] = field(default_factory=dict)
    """The bundle's own options as run."""
    strength: float = 1.0
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Output voxels for each input voxel along X, Y, Z."""
    device: str = "cpu"
    engine: str = "torch"
    """What ran the network: torch or openvino, which rounds otherwise."""
    seconds: float = 0.0
    windows: int = 0
    redundancy: float = 1.0
    """Voxels computed for each voxel of the volume."""
    clipped_voxels: int = 0
    """Results that did not fit the stored range."""
    forced: bool = False
    """The bundle does not declare this modality; the caller insisted."""
    may_invent: bool = False
    """The bundle was trained to look real: texture in the result may not be in the source."""
    notes: tuple[str, ...] = ()
    """Everything a reader must know: fallbacks, smaller windows, masked regions, clipped voxels."""
    steps_back: tuple[str, ...] = ()
    """Those of the notes that tell what was done otherwise than asked: memory, device, engine."""


class Source(Protocol):
    """Where a volume came from: the headers that a writer needs. Each format in `clarivox.io` has its own."""

    @property
    def format(self) -> str:
        """One of dicom, nifti, nrrd, image."""


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels with their place in the patient, as stored, and how stored numbers become values.

    Attributes:
        array: stored values in the source's dtype, shape (C, X, Y, Z), X fastest in memory.
        affine: index to millimetres in RAS, shape (4, 4), float64.
        unit: what `values` returns.
        modality: DICOM's modality (CT, MR, PT, US, CR, DX, MG, XA, RF, OT), or "" where the source does not say.
        channels: what the axis C holds.
        third_axis: what the axis Z runs along.
        slope, intercept: value = slope * stored + intercept, one pair for each index along Z, shape (Z,), float64.
        stored_range: smallest and largest number that the source's bits can hold, or None for floating point.
        padding: stored values that mark "no image here", first and last inclusive, shape (Z, 2), int64; a slice
            without padding has first > last. None where no slice has any.
        inverted: True where larger values are shown darker (MONOCHROME1).
        irregular: how the slices depart from a regular grid, or None.
        notes: what reading had to decide, for the user to see.
        source: headers for the writer, or None for a volume made in memory.
        provenance: how the volume was enhanced, or None for an original.

    Raises:
        GeometryError: the shape is not (C, X, Y, Z), a side is 0, or the affine is not finite and invertible.
        RescaleError: a slope is 0, or a slope or intercept is not finite.

    >>> v = Volume(np.zeros((1, 4, 3, 2), np.int16), np.diag([2.0, 2.0, 5.0, 1.0]), unit=Unit.HU)
    >>> v.shape, v.spacing_mm
    ((1, 4, 3, 2), (2.0, 2.0, 5.0))
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    unit: Unit = Unit.RELATIVE
    modality: str = ""
    channels: Channels = Channels.GREY
    third_axis: Axis = Axis.SPACE
    slope: NDArray[np.float64] = field(default_factory=lambda: np.ones(1))
    intercept: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    stored_range: tuple[int, int] | None = None
    padding: NDArray[np.int64] | None = None
    inverted: bool = False
    irregular: Irregularity | None = None
    notes: tuple[str, ...] = ()
    source: Source | None = None
    provenance: Provenance | None = None

    def __post_init__(self) -> None:
        if self.array.ndim != 4 or 0 in self.array.shape:
            raise GeometryError(f"a volume has the shape (C, X, Y, Z) without empty sides; found {self.array.shape}")
        affine = np.asarray(self.affine, np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise GeometryError("the affine must be 4 x 4, finite and invertible; voxels have no usable size or place")
        depth = self.array.shape[3]
        slope = np.broadcast_to(np.asarray(self.slope, np.float64), (depth,))
        intercept = np.broadcast_to(np.asarray(self.intercept, np.float64), (depth,))
        if not np.isfinite(slope).all() or not np.isfinite(intercept).all() or (slope == 0).any():
            raise RescaleError("rescale slopes must be finite and not 0, and intercepts finite")
        for name, value in (("affine", affine), ("slope", slope), ("intercept", intercept)):
            object.__setattr__(self, name, value)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, X, Y, Z) in voxels."""
        c, x, y, z = self.array.shape
        return c, x, y, z

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along X, Y, Z; along Z meaningless in a clip or an irregular series."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def frames(self) -> NDArray[Any]:
        """The stored values as pictures: a view of shape (C, Z, Y, X), C-contiguous where memory is as said above."""
        return self.array.transpose(0, 3, 2, 1)

    def values(self, index: Index = EVERYTHING) -> NDArray[np.float32]:
        """Values in `unit`, float32, of one box; a new array of the box's shape with X fastest in memory.

        >>> v = Volume(np.full((1, 2, 2, 2), 24, np.int16), np.eye(4), intercept=np.array([-1024.0, -1000.0]))
        >>> v.values()[0, 0, 0]
        array([-1000.,  -976.], dtype=float32)
        """
        stored = self.array[index]
        values = np.array(stored, dtype=np.float32, order="K")
        slope, intercept = self.slope[index[3]], self.intercept[index[3]]
        if (slope != 1).any():
            values *= slope.astype(np.float32)
        if (intercept != 0).any():
            values += intercept.astype(np.float32)
        return values

    def padding_mask(self, index: Index = EVERYTHING) -> NDArray[np.bool_] | None:
        """True where a voxel of one box is padding; None where the volume has no padding."""
        if self.padding is None:
            return None
        stored, limits = self.array[index], self.padding[index[3]]
        mask: NDArray[np.bool_] = (stored >= limits[:, 0]) & (stored <= limits[:, 1])
        return mask

    def _repr_html_(self) -> str:
        """Pictures, where a notebook shows the volume."""
        from clarivox.shown import html

        return html(self)

    def replace(self, **changes: Any) -> Volume:
        """A copy with some attributes changed; arrays that are not named are shared."""
        return replace(self, **changes)


def blank_like(shape: tuple[int, int, int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An uninitialised array of shape (C, X, Y, Z) with X fastest in memory.

    >>> blank_like((1, 4, 3, 2), np.dtype(np.int16)).transpose(0, 3, 2, 1).flags.c_contiguous
    True
    """
    c, x, y, z = shape
    return np.empty((c, z, y, x), dtype).transpose(0, 3, 2, 1)
