# SPDX-License-Identifier: Apache-2.0
"""The volumes of a folder as MONAI's data list, for the bundles' configurations."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from clarivox.errors import SeriesError
from clarivox.io.dispatch import scan

_SUFFIX = re.compile(r"(\.nii\.gz|\.[A-Za-z][A-Za-z0-9]{1,4})$")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Reference:
    """One volume that can be read later, and the name that its result gets."""

    paths: tuple[str, ...]
    """What to read: the volume's files, or the zip that they are in."""
    series: str
    """Which of the volumes there, where there are several."""
    name: str
    """Made of file and folder names alone, different for each volume of a list."""


def volumes(dataset_dir: Path | str, key: str = "image") -> list[dict[str, Reference]]:
    """Every usable volume below a folder, in a stable order.

    Args:
        dataset_dir: holds NIfTI files, DICOM series, pictures or a mixture; or is one file.
        key: the name in each item.

    Raises:
        SeriesError: there is no file, or none that can be read (code empty_folder).
    """
    root = Path(dataset_dir)
    infos = scan(root)
    usable = [info for info in infos if info.usable]
    if not usable:
        raise SeriesError(
            f"none of the {len(infos)} files in {root.name!r} can be read; the first: {infos[0].error_message}",
            code="empty_folder",
        )
    names = _unique([_stem(root, [Path(file) for file in info.files]) for info in usable])
    packed = root.is_file()
    return [
        {key: Reference((str(root),) if packed else info.files, info.key, name)}
        for info, name in zip(usable, names, strict=True)
    ]


def _stem(root: Path, files: list[Path]) -> str:
    """A file's name below the root; for a DICOM series the folder that its files share."""
    place = files[0] if len(files) == 1 else Path(*_shared([file.parent.parts for file in files]))
    inside = place.is_relative_to(root) and place != root
    name = "_".join(place.relative_to(root).parts) if inside else root.resolve().name
    return _UNSAFE.sub("_", _SUFFIX.sub("", name)).strip("._") or "image"


def _shared(parts: list[tuple[str, ...]]) -> tuple[str, ...]:
    shared: list[str] = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return tuple(shared)


def _unique(names: list[str]) -> list[str]:
    """Names told apart by a number where two are equal, whatever the case of their letters.

    >>> _unique(["a", "A", "b"])
    ['a', 'A_2', 'b']
    """
    taken: set[str] = set()
    unique = []
    for name in names:
        candidate, number = name, 1
        while candidate.lower() in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken.add(candidate.lower())
        unique.append(candidate)
    return unique
