# SPDX-License-Identifier: Apache-2.0
"""DICOM files into volumes: stored numbers as they are, with the geometry checked and the headers kept."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import (
    FormatError,
    GeometryError,
    InputError,
    LimitError,
    RescaleError,
    TruncatedError,
)
from clarivox.io.dicom_frames import frame_items, frame_rescales, transformation
from clarivox.io.dicom_header import starts_like_dicom
from clarivox.io.dicom_instance import Instance, Plan
from clarivox.io.dicom_pixels import read_pixels
from clarivox.io.dicom_rescale import NO_PADDING, padding_of, unit_of
from clarivox.io.dicom_scan import DicomInfo, scan
from clarivox.io.dicom_source import DicomSource
from clarivox.io.limits import Limits
from clarivox.io.series import SeriesInfo
from clarivox.progress import Meter, Progress
from clarivox.volume import Channels, Fault, Unit, Volume

ERRORS: dict[str, type[InputError]] = {
    "truncated": TruncatedError,
    "truncated_pixel_data": TruncatedError,
    "bad_geometry": GeometryError,
    "duplicate_position": GeometryError,
    "bad_rescale": RescaleError,
    "deflate_bomb": LimitError,
    "file_too_large": LimitError,
    "header_too_large": LimitError,
    "too_many_voxels": LimitError,
    "too_many_frames": LimitError,
}
"""The class of an error that a scan wrote down by its code; FormatError for all others."""


def is_dicom(path: str | Path) -> bool:
    """Whether a file is DICOM: by its mark after the preamble, or, without one, by a plausible first element."""
    with Path(path).open("rb") as file:
        return starts_like_dicom(file.read(256))


def scan_dicom(paths: str | Path | Iterable[str | Path], limits: Limits | None = None) -> list[SeriesInfo]:
    """What the DICOM files among `paths` hold, from headers alone.

    A bad file does not end the scan: it is listed with its error. Below a folder, files that are not DICOM are passed
    over.

    Args:
        paths: a file, or a folder at any depth, or several of these.
        limits: ceilings on what the files may claim.

    Raises:
        LimitError: more files than the limits allow.
    """
    return list(scan(paths, limits or Limits()))


def read_dicom(info: SeriesInfo, *, allow_uneven: bool = False, progress: Progress | None = None) -> Volume:
    """The volume that `scan_dicom` described.

    Args:
        info: one of the scan's list; where it comes from elsewhere (JSON), its files are scanned again.
        allow_uneven: also read a series with missing or unevenly spaced slices; `Volume.irregular` then says so.
        progress: told after each frame; False ends the reading.

    Raises:
        FormatError, TruncatedError, DecodeError, LimitError: the files cannot be read; see the code.
        GeometryError: the slices make no regular grid.
        RescaleError: no usable rescale, or different ones at one place of a grid of volumes.
        CancelledError: `progress` asked to stop.
    """
    plan = _plan_of(info)
    irregular = plan.irregular
    if irregular is not None and irregular.fault is not Fault.TILTED and not allow_uneven:
        raise GeometryError(irregular.message, code=str(irregular.fault))
    slope, intercept = _rescale(plan)
    first = plan.instances[0]
    grey = plan.channels in (Channels.GREY, Channels.VOLUMES)
    array, notes = read_pixels(plan, Meter("read", plan.placement[..., 0].size, progress))
    return Volume(
        array=array,
        affine=plan.affine,
        unit=_unit(plan) if grey else Unit.RELATIVE,
        modality=first.modality,
        channels=plan.channels,
        third_axis=plan.third_axis,
        slope=slope,
        intercept=intercept,
        stored_range=first.format.stored_range,
        padding=_padding(plan) if grey else None,
        inverted=first.format.photometric == "MONOCHROME1",
        irregular=irregular,
        notes=(*plan.notes, *notes),
        source=_source(plan),
    )


def _plan_of(info: SeriesInfo) -> Plan:
    found: list[DicomInfo] = [info] if isinstance(info, DicomInfo) else scan(info.files, Limits())
    chosen = [one for one in found if one.key == info.key]
    if chosen and chosen[0].plan is not None:
        return chosen[0].plan
    code = chosen[0].error_code if chosen else "not_found"
    message = chosen[0].error_message if chosen else "the series is no longer there; scan again"
    raise ERRORS.get(code, FormatError)(message, code=code)


def _rescale(plan: Plan) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Slope and intercept of each slice, shape (Z,)."""
    if plan.channels not in (Channels.GREY, Channels.VOLUMES):
        depth = plan.placement.shape[1]
        return np.ones(depth), np.zeros(depth)
    known = [frame_rescales(instance) for instance in plan.instances]
    pairs = np.array([[known[number][frame] for number, frame in volume] for volume in plan.placement])
    if (pairs != pairs[:1]).any():
        raise RescaleError(
            "the volumes of this object have different rescale factors at the same slice; split it at the source",
            code="mixed_rescale",
        )
    return pairs[0, :, 0], pairs[0, :, 1]


def _padding(plan: Plan) -> NDArray[np.int64] | None:
    """First and last padding value of each slice, shape (Z, 2)."""
    known = [padding_of(instance.header.dataset, instance.format) for instance in plan.instances]
    if all(one == NO_PADDING for one in known):
        return None
    return np.array([known[number] for number in plan.placement[0, :, 0]], np.int64)


def _unit(plan: Plan) -> Unit:
    """The unit that all slices share; relative where they differ."""

    def unit(instance: Instance) -> set[Unit]:
        frames = frame_items(instance) if instance.grouped else [None]
        dataset = instance.header.dataset
        return {unit_of(dataset, instance.modality, transformation(instance, one)) for one in frames}

    units = set().union(*(unit(one) for one in plan.instances))
    return units.pop() if len(units) == 1 else Unit.RELATIVE


def _source(plan: Plan) -> DicomSource:
    return DicomSource(
        files=tuple(one.path for one in plan.instances),
        headers=tuple(one.header.dataset for one in plan.instances),
        placement=plan.placement,
        part=plan.part,
    )
