# SPDX-License-Identifier: Apache-2.0
"""The images of one series, divided into those that make one volume each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from clarivox.io.dicom_geometry import COSINE_TOLERANCE, SAME_MM
from clarivox.io.dicom_instance import Instance
from clarivox.io.dicom_values import text

KEYS: tuple[tuple[str, str], ...] = (
    ("TemporalPositionIdentifier", "time point"),
    ("EchoNumbers", "echo"),
    ("DiffusionBValue", "b-value"),
    ("NominalPercentageOfCardiacPhase", "cardiac phase"),
    ("TriggerTime", "trigger time"),
    ("EchoTime", "echo time"),
    ("ImageType", "image type"),
    ("AcquisitionNumber", "acquisition"),
    ("FrameReferenceTime", "frame time"),
    ("AcquisitionTime", "acquisition time"),
    ("ContentTime", "content time"),
    ("DiffusionGradientOrientation", "gradient"),
)
"""What may tell volumes at the same positions apart, the most telling first, and its name for the user."""

Group = list[Instance]


def like_images(instances: Sequence[Instance]) -> list[tuple[str, Group]]:
    """Groups of one size, kind and orientation, each with a name.

    Phases at the same positions are still together: see `phases`.
    """
    groups: dict[tuple[object, ...], Group] = {}
    for instance in instances:
        found = instance.format
        key = (
            instance.sop_class,
            (found.rows, found.columns, found.samples, found.dtype, found.stored, found.photometric),
            _orientation_key(instance, groups),
            instance.spacing and tuple(round(one, 5) for one in instance.spacing),
        )
        groups.setdefault(key, []).append(instance)
    if len(groups) == 1:
        return [("", next(iter(groups.values())))]
    return [(f"geometry {number}", group) for number, group in enumerate(groups.values(), 1)]


def _orientation_key(instance: Instance, groups: dict[tuple[object, ...], Group]) -> object:
    """The orientation of an earlier group that this instance shares within tolerance, or its own."""
    if instance.orientation is None:
        return None
    for key, group in groups.items():
        known = group[0].orientation
        if known is not None and np.abs(known - instance.orientation).max() <= COSINE_TOLERANCE:
            return key[2]
    return tuple(instance.orientation.ravel().tolist())


def phases(group: Group) -> list[tuple[str, Group]]:
    """Volumes at the same positions, told apart by the header; one unnamed group where nothing tells them apart."""
    most = _crowd(group)
    if most == 1:
        return [("", group)]
    tellers = [(keyword, name) for keyword, name in KEYS if len({_value(one, keyword) for one in group}) > 1]
    for count in (1, 2):
        for chosen in combinations(tellers, count):
            parts = _divided(group, [keyword for keyword, _ in chosen])
            if len(parts) <= 4 * most and all(_crowd(part) == 1 for part in parts.values()) and _full(parts, most):
                names = _numbered([name for _, name in chosen], list(parts))
                return list(zip(names, parts.values(), strict=True))
    return [("", group)]


def _full(parts: dict[tuple[str, ...], Group], most: int) -> bool:
    """Whether the parts are volumes and not single slices: as many as lie at one position, or of several slices."""
    return len(parts) == most or all(len(part) > 1 for part in parts.values())


def _value(instance: Instance, keyword: str) -> str:
    return text(instance.header.dataset, keyword)


def _divided(group: Group, keywords: list[str]) -> dict[tuple[str, ...], Group]:
    parts: dict[tuple[str, ...], Group] = {}
    for instance in group:
        parts.setdefault(tuple(_value(instance, keyword) for keyword in keywords), []).append(instance)
    return dict(sorted(parts.items(), key=lambda pair: [_numeric(one) for one in pair[0]]))


def _numeric(word: str) -> tuple[float, str]:
    try:
        return float(word), ""
    except ValueError:
        return float("inf"), word


def _numbered(names: list[str], keys: list[tuple[str, ...]]) -> list[str]:
    """One name for each key, such as "echo 2, b-value 1": a count, not the value, which may be a time of day."""
    known = [list(dict.fromkeys(key[axis] for key in keys)) for axis in range(len(names))]
    return [
        ", ".join(f"{name} {values.index(word) + 1}" for name, values, word in zip(names, known, key, strict=True))
        for key in keys
    ]


def _crowd(group: Group) -> int:
    """The largest number of slices at one position along the normal."""
    first = group[0].orientation
    if first is None or any(one.position is None for one in group):
        return 1
    normal = np.cross(first[0], first[1])
    along = np.sort([one.position @ normal for one in group if one.position is not None])
    if not np.isfinite(along).all():
        return 1
    starts = np.flatnonzero(np.concatenate([[True], np.diff(along) >= SAME_MM]))
    return int(np.diff(np.append(starts, len(along))).max())
