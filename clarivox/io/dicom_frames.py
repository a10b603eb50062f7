# SPDX-License-Identifier: Apache-2.0
"""Multi-frame objects: which frame lies where.

Enhanced objects place each frame by functional groups; a full grid of volumes and slices is recognised. Clips have
frames in time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from clarivox.errors import FormatError, GeometryError
from clarivox.io.dicom_geometry import SAME_MM, Vector, checked_orientation, checked_spacing, stack
from clarivox.io.dicom_instance import Instance, Plan
from clarivox.io.dicom_rescale import rescale
from clarivox.io.dicom_values import decimals, integers, item, items
from clarivox.volume import Axis, Channels, Fault, Irregularity


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What functional groups say of one frame."""

    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    thickness: float
    index: tuple[int, ...]
    """DimensionIndexValues."""


def group_item(dataset: Dataset, frame: Dataset | None, keyword: str) -> Dataset | None:
    """A functional group's item: the frame's own, or the one that all frames share."""
    own = item(frame, keyword) if frame is not None else None
    if own is not None:
        return own
    shared = item(dataset, "SharedFunctionalGroupsSequence")
    return item(shared, keyword) if shared is not None else None


def frame_items(instance: Instance) -> list[Dataset | None]:
    """Each frame's own functional groups; None for all where the object has none.

    Raises:
        FormatError: not one item a frame.
    """
    count = instance.format.frames
    if not instance.grouped:
        return [None] * count
    found = items(instance.header.dataset, "PerFrameFunctionalGroupsSequence")
    if len(found) != count:
        raise FormatError(
            f"the object has {count} frames and functional groups for {len(found)}", code="damaged_functional_groups"
        )
    return list(found)


def frame_rescales(instance: Instance) -> list[tuple[float, float]]:
    """Slope and intercept of each frame.

    Raises:
        RescaleError: a slope or intercept that cannot be used.
    """
    dataset = instance.header.dataset
    if not instance.grouped:
        return [rescale(dataset, instance.format)] * instance.format.frames
    return [rescale(transformation(instance, frame), instance.format) for frame in frame_items(instance)]


def transformation(instance: Instance, frame: Dataset | None) -> Dataset:
    """Where a frame's rescale stands: its Pixel Value Transformation item, or the data set."""
    dataset = instance.header.dataset
    found = group_item(dataset, frame, "PixelValueTransformationSequence")
    return dataset if found is None else found


def multiframe_plan(instance: Instance, *, clip: bool) -> Plan:
    """The plan of one multi-frame object.

    Args:
        instance: an object of several frames, or one with functional groups.
        clip: whether its class has frames in time unless they are placed.

    Raises:
        GeometryError: frames without a usable place or spacing.
    """
    placed = instance.grouped and group_item(instance.header.dataset, frame_items(instance)[0], "PlanePositionSequence")
    if placed:
        return _enhanced_plan(instance)
    return _clip_plan(instance, clip)


def _clip_plan(instance: Instance, clip: bool) -> Plan:
    count = instance.format.frames
    spacing = instance.spacing
    if spacing is None and instance.grouped:
        measures = group_item(instance.header.dataset, frame_items(instance)[0], "PixelMeasuresSequence")
        values = decimals(measures, "PixelSpacing") if measures is not None else ()
        spacing = checked_spacing(values) if values else None
    notes = () if spacing else ("pixel spacing is unknown; 1 mm is used",)
    rows, columns = spacing or (1.0, 1.0)
    irregular = None
    if not clip and count > 1:
        irregular = Irregularity(
            Fault.UNRELATED, "the frames have no positions; use a 2D bundle with --allow-uneven", tuple(range(count))
        )
    return Plan(
        instances=(instance,),
        placement=_placement([range(count)]),
        affine=np.diag([-columns, -rows, 1.0, 1.0]),
        channels=instance.format.channels,
        third_axis=Axis.TIME if clip and count > 1 else Axis.SPACE,
        irregular=irregular,
        notes=notes,
    )


def _enhanced_plan(instance: Instance) -> Plan:
    frames = [_frame(instance, one) for one in frame_items(instance)]
    first = frames[0]
    orientation, spacing = checked_orientation(first.orientation), checked_spacing(first.spacing)
    positions = _positions(frames)
    if not _one_stack(frames):
        return _unrelated(instance, positions[0], orientation, spacing, "the frames have several orientations")
    along = positions @ np.cross(orientation[0], orientation[1])
    order, starts = _places(along)
    counts = np.diff(np.append(starts, len(along)))
    if (counts != counts[0]).any():
        return _unrelated(instance, positions[0], orientation, spacing, "the frames are no full grid of volumes")
    at_place = [sorted(order[start : start + counts[0]], key=lambda f: _rank(frames, f)) for start in starts]
    grid = np.array(at_place, np.int64).T
    made = stack(positions[grid[0]], orientation, spacing, first.thickness)
    grid = grid[:, list(made.order)]
    volumes = int(counts[0])
    if volumes > 1 and instance.format.samples > 1:
        return _unrelated(instance, positions[0], orientation, spacing, "colour frames share positions")
    return Plan(
        instances=(instance,),
        placement=_placement(grid),
        affine=made.affine,
        channels=Channels.VOLUMES if volumes > 1 else instance.format.channels,
        irregular=made.irregular,
        notes=(f"{volumes} volumes at the same positions are kept as channels",) if volumes > 1 else (),
    )


def _frame(instance: Instance, own: Dataset | None) -> Frame:
    def value(sequence: str, keyword: str) -> tuple[float, ...]:
        found = group_item(instance.header.dataset, own, sequence)
        return decimals(found, keyword) if found is not None else ()

    content = item(own, "FrameContentSequence") if own is not None else None
    between = value("PixelMeasuresSequence", "SpacingBetweenSlices")
    thickness = [one for one in (*between, *value("PixelMeasuresSequence", "SliceThickness")) if 0 < one < 1e6]
    return Frame(
        position=value("PlanePositionSequence", "ImagePositionPatient"),
        orientation=value("PlaneOrientationSequence", "ImageOrientationPatient"),
        spacing=value("PixelMeasuresSequence", "PixelSpacing"),
        thickness=thickness[0] if thickness else 1.0,
        index=tuple(integers(content, "DimensionIndexValues")) if content is not None else (),
    )


def _positions(frames: list[Frame]) -> Vector:
    if any(len(frame.position) != 3 for frame in frames):
        raise GeometryError("a frame has no position in the patient; correct it at the source")
    positions = np.array([frame.position for frame in frames])
    if not np.isfinite(positions).all():
        raise GeometryError("a frame's position is not a number; correct it at the source")
    return positions


def _one_stack(frames: list[Frame]) -> bool:
    known = np.array(frames[0].orientation)
    return all(
        frame.spacing == frames[0].spacing
        and len(frame.orientation) == 6
        and np.abs(np.array(frame.orientation) - known).max() <= 1e-4
        for frame in frames
    )


def _places(along: NDArray[np.float64]) -> tuple[list[int], NDArray[np.intp]]:
    """Frames sorted along the normal, and where each new position begins among them."""
    order = np.argsort(along, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(along[order]) >= SAME_MM]))
    return [int(one) for one in order], starts


def _rank(frames: list[Frame], number: int) -> tuple[tuple[int, ...], int]:
    """Order of the frames at one position: by their dimension indices, then as stored."""
    return frames[number].index, number


def _unrelated(instance: Instance, origin: Vector, orientation: Vector, spacing: tuple[float, float], why: str) -> Plan:
    made = stack(origin[None], orientation, spacing)
    count = instance.format.frames
    message = f"{why}; use a 2D bundle with --allow-uneven"
    return Plan(
        instances=(instance,),
        placement=_placement([range(count)]),
        affine=made.affine,
        channels=instance.format.channels,
        irregular=Irregularity(Fault.UNRELATED, message, tuple(range(count))),
    )


def _placement(grid: NDArray[np.int64] | list[range]) -> NDArray[np.int64]:
    """(instance 0, frame) for each volume and slice."""
    frames = np.array([list(row) for row in grid], np.int64)
    return np.stack([np.zeros_like(frames), frames], axis=-1)
