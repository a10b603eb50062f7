# SPDX-License-Identifier: Apache-2.0
"""Which subjects a bundle was trained, selected and tested on.

A split is a JSON file beside the bundle's configuration: {part: {subject: [path, ...]}}, the parts being train,
validation and test, the paths below the folder of data sets. No subject stands in two parts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import clarivox.io
from clarivox.errors import BundleError, SeriesError
from clarivox.volume import Volume


@dataclass(frozen=True)
class Example:
    """One volume of a split."""

    subject: str
    name: str
    """The file's name without its suffix."""
    path: Path


def examples(dataset_dir: str | Path, split: str | Path, part: str) -> list[Example]:
    """The volumes of one part of a split, in the file's order.

    Args:
        dataset_dir: the folder that the split's paths are below.
        split: the JSON file.
        part: train, validation or test.

    Raises:
        BundleError: the file has no such part, or a subject stands in two parts.
        SeriesError: a file of the part is not there.
    """
    parts = json.loads(Path(split).read_text(encoding="utf-8"))
    if part not in parts:
        raise BundleError(f"the split has the parts {', '.join(parts)}; asked for {part}")
    subjects = [subject for content in parts.values() for subject in content]
    if len(subjects) != len(set(subjects)):
        raise BundleError("a subject stands in two parts of the split; it may stand in one only")
    found = [
        Example(subject, Path(name).name.split(".")[0], Path(dataset_dir) / name)
        for subject, names in parts[part].items()
        for name in names
    ]
    missing = [example.path.name for example in found if not example.path.exists()]
    if missing:
        raise SeriesError(
            f"{len(missing)} of {len(found)} files of the part {part} are not in the data folder, {missing[0]} among "
            "them; name the folder that the split's paths are below",
            code="no_series",
        )
    return found


def volumes(dataset_dir: str | Path, split: str | Path, part: str) -> Iterator[tuple[Example, Volume]]:
    """Reads the volumes of one part of a split, one after another."""
    for example in examples(dataset_dir, split, part):
        yield example, clarivox.io.read(example.path)


def by_patient(files: Mapping[str, Sequence[str]], seed: int = 0) -> dict[str, dict[str, list[str]]]:
    """Patients dealt out at random, 80 % to train, 10 % to validation and 10 % to test, one at least to each.

    Args:
        files: each patient's paths.
        seed: another one deals otherwise; the same gives the same.

    Raises:
        SeriesError: there are under three patients (code too_few_patients).

    >>> split = by_patient({f"p{n}": [f"{n}.nii"] for n in range(20)})
    >>> {part: len(subjects) for part, subjects in split.items()}
    {'train': 16, 'validation': 2, 'test': 2}
    """
    if len(files) < 3:
        raise SeriesError(
            f"a split by patient needs three patients or more, one each to train, select and test; found {len(files)}",
            code="too_few_patients",
        )
    order = sorted(files, key=lambda subject: hashlib.sha256(f"{seed} {subject}".encode()).digest())
    tenth = max(1, round(len(order) / 10))
    ends = {"test": order[:tenth], "validation": order[tenth : 2 * tenth], "train": order[2 * tenth :]}
    return {part: {s: list(files[s]) for s in sorted(ends[part])} for part in ("train", "validation", "test")}
