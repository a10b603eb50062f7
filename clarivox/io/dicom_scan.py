# SPDX-License-Identifier: Apache-2.0
"""What DICOM files hold, from their headers: volumes that can be read, and objects that cannot, with the reason."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from clarivox.errors import ClarivoxError, FormatError, LimitError
from clarivox.io.dicom_frames import frame_items, frame_rescales, multiframe_plan, transformation
from clarivox.io.dicom_geometry import stack
from clarivox.io.dicom_instance import Instance, Plan, read_instance
from clarivox.io.dicom_objects import CLIPS, IMAGES, SYNTAXES, class_of
from clarivox.io.dicom_parts import Group, like_images, phases
from clarivox.io.dicom_rescale import unit_of
from clarivox.io.dicom_values import decimals, text, words
from clarivox.io.dicom_warnings import Quiet
from clarivox.io.limits import Limits
from clarivox.io.series import SeriesInfo
from clarivox.volume import Axis, Channels

LOOSE = frozenset({"CR", "DX", "MG", "IO", "US", "XA", "RF"})
"""Modalities whose single images are pictures of their own even where they have positions."""


SCOUT = "a scout view inside a series of slices is left out; send it as a series of its own to enhance it"


@dataclass
class DicomInfo(SeriesInfo):
    """A series as `read_dicom` takes it: with the plan that the scan made, which no JSON form shows."""

    def __post_init__(self) -> None:
        self.plan: Plan | None = None


@dataclass
class _Scan:
    """Collects the outcome of one scan."""

    limits: Limits
    found: list[DicomInfo] = field(default_factory=list)

    def refuse(self, error: ClarivoxError, files: Iterable[Path], group: Group | None = None, part: str = "") -> None:
        """List files that give no volume."""
        info = _described(group, part) if group else DicomInfo(key="", format="dicom")
        self.found.append(
            replace(
                info,
                files=tuple(str(one) for one in files),
                usable=False,
                error_code=error.code,
                error_message=str(error),
            )
        )

    def accept(self, plan: Plan, part: str) -> None:
        """List a volume."""
        instance = plan.instances[0]
        info = _described(list(plan.instances), part)
        spacing = np.linalg.norm(plan.affine[:3, :3], axis=0)
        info = replace(
            info,
            shape=plan.shape,
            channels=str(plan.channels),
            third_axis=str(plan.third_axis),
            spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
            unit=str(_unit(instance)),
            irregular=str(plan.irregular.fault) if plan.irregular else "",
            irregular_message=plan.irregular.message if plan.irregular else "",
            notes=plan.notes,
        )
        info.plan = replace(plan, part=part)
        self.found.append(info)


def walk(paths: str | Path | Iterable[str | Path]) -> Iterator[Path]:
    """Every file among the paths and below them, in order of name; links to folders are not followed."""
    if isinstance(paths, (str, Path)):
        paths = [paths]
    for path in map(Path, paths):
        if not path.is_dir():
            yield path
            continue
        for folder, folders, names in os.walk(path):
            folders.sort()
            yield from (Path(folder, name) for name in sorted(names) if Path(folder, name).is_file())


def scan(paths: str | Path | Iterable[str | Path], limits: Limits) -> list[DicomInfo]:
    """See `clarivox.io.dicom_read.scan_dicom`."""
    outcome = _Scan(limits)
    series: dict[str, Group] = {}
    paths = [Path(paths)] if isinstance(paths, (str, Path)) else [Path(one) for one in paths]
    named = set(paths)
    for count, path in enumerate(walk(paths)):
        if count >= limits.entries:
            raise LimitError(f"the folder has over {limits.entries} files", code="too_many_files")
        try:
            instance = read_instance(path, limits)
        except ClarivoxError as error:
            if error.code not in ("not_dicom", "dicomdir", "not_readable") or path in named:
                outcome.refuse(error, [path])
            continue
        series.setdefault(instance.series_uid or str(path), []).append(instance)
    for group in series.values():
        _list_series(group, outcome)
    return _with_keys(outcome.found)


def _list_series(members: Group, outcome: _Scan) -> None:
    members, copies = _without_copies(members)
    singles = [one for one in members if not _alone(one)]
    several = len(members) > 1
    for instance in members:
        if _alone(instance):
            part = f"image {_number(instance)}" if several else ""
            _list_volume([instance], part, outcome, copies)
    slices = [one for one in singles if not one.localizer] or singles
    if len(slices) < len(singles):
        scouts = [one for one in singles if one.localizer]
        outcome.refuse(FormatError(SCOUT, code="localizer"), [one.path for one in scouts], scouts, "localizer")
    if slices:
        for name, like in like_images(slices):
            for phase, group in phases(like):
                part = ", ".join(word for word in (name, phase) if word)
                _list_volume(group, part or ("single frames" if len(singles) != len(members) else ""), outcome, copies)


def _list_volume(group: Group, part: str, outcome: _Scan, copies: int) -> None:
    try:
        outcome.limits.check_frames(len(group))
        plan = _plan(group)
        outcome.limits.check_voxels(int(np.prod(plan.shape)))
        if plan.channels in (Channels.GREY, Channels.VOLUMES):
            for one in plan.instances:
                frame_rescales(one)
    except ClarivoxError as error:
        outcome.refuse(error, [one.path for one in group], group, part)
        return
    notes = list(dict.fromkeys([*plan.notes, *(note for one in plan.instances for note in one.notes)]))
    if copies:
        notes.append(f"{copies} files were copies of others and are left out")
    outcome.accept(replace(plan, notes=tuple(notes)), part)


def _plan(group: Group) -> Plan:
    first = group[0]
    if first.format.frames > 1 or first.grouped:
        return multiframe_plan(first, clip=class_of(first.sop_class) in CLIPS)
    if first.position is None or first.orientation is None:
        return _picture(first)
    notes = [] if first.spacing else ["pixel spacing is unknown; 1 mm is used"]
    positions = np.array([one.position for one in group])
    made = stack(positions, first.orientation, first.spacing or (1.0, 1.0), _step(first))
    if made.irregular is not None and made.irregular.fault == "gantry_tilt":
        notes.append(made.irregular.message)
    return Plan(
        instances=tuple(group[index] for index in made.order),
        placement=np.array([[[z, 0] for z in range(len(group))]], np.int64),
        affine=made.affine,
        channels=first.format.channels,
        irregular=made.irregular,
        notes=tuple(notes),
    )


def _picture(instance: Instance) -> Plan:
    rows, columns = instance.spacing or (1.0, 1.0)
    notes = () if instance.spacing else ("pixel spacing is unknown; 1 mm is used",)
    return Plan(
        instances=(instance,),
        placement=np.zeros((1, 1, 2), np.int64),
        affine=np.diag([-columns, -rows, 1.0, 1.0]),
        channels=instance.format.channels,
        third_axis=Axis.SPACE,
        notes=notes,
    )


def _step(instance: Instance) -> float:
    """The third side of a single slice's voxels."""
    dataset = instance.header.dataset
    lengths = (*decimals(dataset, "SpacingBetweenSlices"), *decimals(dataset, "SliceThickness"))
    return next((one for one in lengths if 0 < one < 1e6), 1.0)


def _alone(instance: Instance) -> bool:
    """Whether an object is a volume of its own, whatever else its series holds."""
    return instance.format.frames > 1 or instance.grouped or instance.position is None or instance.modality in LOOSE


def _without_copies(members: Group) -> tuple[Group, int]:
    """Instances without those that repeat another, byte for byte, under the same UID."""
    first: dict[str, Instance] = {}
    kept: Group = []
    for instance in members:
        other = first.setdefault(instance.uid, instance)
        if other is instance or not instance.uid or not _same_pixels(instance, other):
            kept.append(instance)
    return kept, len(members) - len(kept)


def _same_pixels(one: Instance, other: Instance) -> bool:
    if one.format != other.format or one.header.syntax != other.header.syntax:
        return False
    if one.header.pixels is None or other.header.pixels is None:
        return False
    with one.path.open("rb") as first, other.path.open("rb") as second:
        first.seek(one.header.deflated_at or one.header.pixels.offset)
        second.seek(other.header.deflated_at or other.header.pixels.offset)
        while chunk := first.read(1 << 20):
            if chunk != second.read(1 << 20):
                return False
        return not second.read(1)


def _described(group: Group, part: str) -> DicomInfo:
    first = group[0]
    dataset = first.header.dataset
    with Quiet():
        description = str(dataset.get("SeriesDescription", "") or "")
    syntaxes = sorted({SYNTAXES[one.header.syntax] for one in group})
    return DicomInfo(
        key="",
        format="dicom",
        files=tuple(str(one.path) for one in group),
        modality=first.modality,
        kind=IMAGES[class_of(first.sop_class)][0],
        series_uid=first.series_uid,
        part=part,
        description=description,
        channels=str(first.format.channels),
        dtype=first.format.dtype.name,
        encoding=", ".join(syntaxes),
        lossy=any(text(one.header.dataset, "LossyImageCompression") == "01" for one in group),
    )


def _unit(instance: Instance) -> str:
    if instance.format.channels not in (Channels.GREY, Channels.VOLUMES):
        return "relative"
    place = transformation(instance, frame_items(instance)[0])
    return str(unit_of(instance.header.dataset, instance.modality, place))


def _number(instance: Instance) -> str:
    number = words(instance.header.dataset, "InstanceNumber")
    return number[0] if number and number[0].isdigit() and len(number[0]) <= 12 else "without number"


def _with_keys(found: list[DicomInfo]) -> list[DicomInfo]:
    """Keys that are unique within the scan: the series, its part, and a count where both repeat."""
    seen: dict[str, int] = {}
    for info in found:
        key = info.series_uid or Path(info.files[0]).name
        key = f"{key}/{info.part}" if info.part else key
        seen[key] = seen.get(key, 0) + 1
        info.key = key if seen[key] == 1 else f"{key}/{seen[key]}"
    return found
