# SPDX-License-Identifier: Apache-2.0
"""A data set made ready for training: plain .nii files that can be mapped into memory, without names, and an index.

    OUT/index.jsonl        one line about the set, then one for each volume
    OUT/volumes/p1a2b3c4d5_1.nii
    OUT/salt               read by nobody but the owner; delete it once no more scans are to be added

A patient is a salted digest of the DICOM PatientID; for other files, of a folder's or a file's name. A run that was
stopped goes on where it was.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import clarivox.io
from clarivox.errors import ClarivoxError, FormatError, ModalityError, OptionError, SeriesError
from clarivox.io import atomic
from clarivox.io.dispatch import read_listed
from clarivox.io.nifti_write import save
from clarivox.io.series import SeriesInfo
from clarivox.progress import Meter, Progress
from clarivox.restore import refined_affine
from clarivox.volume import Channels, Unit, Volume

INDEX = "index.jsonl"
LARGEST_FOLDER = 40
"""Files above which a folder is taken for a collection, not for a patient."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Rec. ITU-R BT.601."""


@dataclass(frozen=True)
class Entry:
    """One volume of a prepared set."""

    path: str
    """Below the set's folder."""
    subject: str
    source: str
    """Salted digest of where it came from."""
    modality: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]


@dataclass
class Outcome:
    """What became of the files of a folder."""

    entries: list[Entry] = field(default_factory=list)
    already: int = 0
    """How many of them an earlier run had made."""
    unreadable: list[tuple[str, str, str]] = field(default_factory=list)
    """Name below the folder, code and message of each."""
    other_modality: Counter[str] = field(default_factory=Counter)


def is_prepared(folder: Path) -> bool:
    """Whether a folder is a prepared set."""
    return (folder / INDEX).is_file()


def entries_of(folder: Path) -> list[Entry]:
    """The volumes of a prepared set; a last line that a kill cut short is passed over."""
    found = []
    for line in (folder / INDEX).read_text(encoding="utf-8").splitlines()[1:]:
        try:
            content = json.loads(line)
        except json.JSONDecodeError:
            continue
        content |= {key: tuple(content[key]) for key in ("shape", "spacing_mm")}
        found.append(Entry(**content))
    return found


def files_by_subject(folder: Path) -> dict[str, list[str]]:
    """Paths below a prepared set's folder, by patient."""
    found: dict[str, list[str]] = {}
    for entry in entries_of(folder):
        found.setdefault(entry.subject, []).append(entry.path)
    return found


def preprocess(
    source: Path,
    out: Path,
    modalities: Sequence[str] = (),
    spacing_mm: Sequence[float] | None = None,
    progress: Progress | None = None,
    patients: Path | None = None,
) -> Outcome:
    """Reads every volume of a folder or zip once and writes it into a prepared set.

    Args:
        source: what to read.
        out: the set's folder; one that was begun with the same settings is gone on with.
        modalities: DICOM modalities that are taken; all where empty. A file that does not say is taken.
        spacing_mm: voxel size to bring volumes to, along X, Y, Z; None keeps each volume's own.
        progress: called after each volume; returning False stops, to be gone on with.
        patients: a CSV file with a line `file,patient` for each file that is not DICOM, paths below `source`; where
            there is none, `subject_rule` guesses from names.

    Raises:
        SeriesError: there is no image in the folder (code empty_folder).
        ModalityError: every image is of another modality.
        OptionError: the set was begun with other settings (code other_settings).
        CancelledError: `progress` returned False.
        CapacityError: the disk is full; what was written stays.
    """
    images = [info for info in clarivox.io.scan(source) if info.format]
    if not images:
        raise SeriesError(
            f"there is no image in {source.name!r}; name a folder that holds DICOM, NIfTI, NRRD or pictures",
            code="empty_folder",
        )
    taken = [info for info in images if not modalities or not info.modality or info.modality in modalities]
    other = Counter(info.modality for info in images if info not in taken)
    if not taken:
        raise ModalityError(
            f"every image of {source.name!r} is of another modality: {_counted(other)}; wanted {', '.join(modalities)}"
        )
    salt = _begin(out, {"clarivox": 1, "modalities": list(modalities), "spacing_mm": spacing_mm and list(spacing_mm)})
    outcome = Outcome(entries_of(out), other_modality=other)
    known = {entry.source for entry in outcome.entries}
    names = [_name(source, info) for info in taken]
    rule = subject_rule([name for name, info in zip(names, taken, strict=True) if info.format != "dicom"])
    rule = rule if patients is None else listed(patients, names)
    meter = Meter("prepare", len(taken), progress)
    for info, name in zip(taken, names, strict=True):
        origin = _digest(salt, f"{name} {info.key}")
        if origin in known:
            outcome.already += 1
        else:
            try:
                _add(out, info, origin, salt, rule(name), spacing_mm, outcome)
            except ClarivoxError as error:
                if error.code in ("disk_full", "cancelled"):
                    raise
                outcome.unreadable.append((name, error.code, str(error)))
        meter.advance()
    if outcome.unreadable:
        _write_unreadable(out, outcome.unreadable)
    return outcome


def subject_rule(names: Sequence[str]) -> Callable[[str], str]:
    """Which patient a file that is not DICOM belongs to, from its path.

    A part like `sub-01` (BIDS) says it; else the first folder, where files lie in several with at most 40 each; else
    the file's name up to its first underscore, where that leaves several; else the whole name.

    >>> [subject_rule(n)(n[0]) for n in (["a/sub-7/x.nii"], ["p1/x.nii", "p2/x.nii"], ["p1_T1.nii", "p2_T1.nii"])]
    ['sub-7', 'p1', 'p1']
    >>> subject_rule(["img_1.png", "img_2.png"])("img_1.png")
    'img_1'
    """
    folders = Counter(name.split("/")[0] for name in names if "/" in name)
    small = len(folders) > 1 and max(folders.values()) <= LARGEST_FOLDER
    begins = {_stem(name).split("_")[0] for name in names}

    def rule(name: str) -> str:
        named = re.search(r"(?:^|/)(sub-[A-Za-z0-9]+)", name)
        if named:
            return named[1]
        if small:
            return name.split("/")[0]
        return _stem(name).split("_")[0] if len(begins) > 1 else _stem(name)

    return rule


def listed(table: Path, names: Sequence[str]) -> Callable[[str], str]:
    """Which patient a file belongs to, from a table of the user's.

    Raises:
        OptionError: the table cannot be read, or misses a file (code bad_patients).
    """
    try:
        with table.open(encoding="utf-8", newline="") as file:
            patients = {row[0]: row[1] for row in csv.reader(file) if len(row) >= 2}
    except (OSError, UnicodeDecodeError, csv.Error) as cause:
        raise OptionError(f"the table of patients {table.name} cannot be read", code="bad_patients") from cause
    missing = [name for name in names if name not in patients]
    if missing:
        raise OptionError(
            f"the table of patients {table.name} has no line for {len(missing)} files, {missing[0]} among them; a line "
            "is file,patient with the path below the folder of images",
            code="bad_patients",
        )
    return patients.__getitem__


def _stem(name: str) -> str:
    return re.sub(r"(\.nii)?\.\w+$", "", name.split("/")[-1])


def _name(source: Path, info: SeriesInfo) -> str:
    path = Path(info.files[0])
    return path.relative_to(source).as_posix() if source.is_dir() and path.is_relative_to(source) else info.key


def _digest(salt: bytes, text: str) -> str:
    return hashlib.sha256(salt + text.encode()).hexdigest()[:16]


def _begin(out: Path, about: dict[str, object]) -> bytes:
    """The set's salt; makes the folder and the index's first line where they are not there."""
    index, salt = out / INDEX, out / "salt"
    if index.is_file():
        begun = json.loads(index.read_text(encoding="utf-8").splitlines()[0])
        if begun != about:
            raise OptionError(
                f"{out.name!r} was begun with other settings, {json.dumps(begun)}; choose another folder",
                code="other_settings",
            )
        if not salt.is_file():
            raise OptionError(
                f"{out.name!r} has no salt any more, so nothing can be added to it", code="other_settings"
            )
        return salt.read_bytes()
    made = secrets.token_bytes(16)
    with atomic.file(salt, overwrite=True) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_bytes(made)
    with atomic.file(index) as temporary:
        temporary.write_text(json.dumps(about) + "\n", encoding="utf-8")
    return made


def _add(
    out: Path,
    info: SeriesInfo,
    origin: str,
    salt: bytes,
    named: str,
    spacing_mm: Sequence[float] | None,
    outcome: Outcome,
) -> None:
    volume = read_listed(info.files, info.key)
    identity = getattr(volume.source, "patient", "") or named
    subject = "p" + _digest(salt, identity)[:10]
    written: list[Entry] = []
    for part in plain(volume, spacing_mm):
        count = sum(entry.subject == subject for entry in (*outcome.entries, *written)) + 1
        path = f"volumes/{subject}_{count}.nii"
        save(part, out / path, overwrite=True)
        spacing = (part.spacing_mm[0], part.spacing_mm[1], part.spacing_mm[2])
        written.append(Entry(path, subject, origin, info.modality, part.shape[1:], spacing))
    # The lines of one source are added at once: after a kill it is there with all its parts, or is made again.
    with (out / INDEX).open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(end - 1)
        torn = file.read(1) != b"\n"
        file.write((b"\n" if torn else b"") + "".join(json.dumps(asdict(e)) + "\n" for e in written).encode())
        file.flush()
        os.fsync(file.fileno())
    outcome.entries += written


def plain(volume: Volume, spacing_mm: Sequence[float] | None = None) -> Iterator[Volume]:
    """A volume as grey volumes without headers: colour as luma, time points apart, padding as the least value.

    Numbers are stored as whole where they are whole, and Hounsfield units rounded to whole.

    Raises:
        FormatError: there are no intensities, or values that are no numbers (code not_finite).
    """
    import torch

    from clarivox.transforms.respace import Respace

    if volume.channels is Channels.PALETTE:
        raise FormatError("indices into a colour table are no intensities; convert the picture to RGB", code="palette")
    values = volume.values()
    if not np.isfinite(values).all():
        raise FormatError("there are values that are no numbers; mend the file at its source", code="not_finite")
    mask = volume.padding_mask()
    if mask is not None and not mask.all():
        values[mask] = values[~mask].min()
    if volume.channels is Channels.RGB:
        values = np.tensordot(LUMA, values, axes=1)[None]
    parts = values[:1] if volume.channels is Channels.YBR else values
    for part in parts:
        affine, old = volume.affine, volume.spacing_mm
        if spacing_mm is not None:
            before = part.shape
            # A picture has no depth of its own.
            new = (*spacing_mm[:2], spacing_mm[2] if before[2] > 1 else old[2])
            part = Respace(old, new)(torch.from_numpy(np.ascontiguousarray(part))[None])[0].numpy()
            sides = [after / side for after, side in zip(part.shape, before, strict=True)]
            affine = refined_affine(affine, (sides[0], sides[1], sides[2]))
            part = np.rint(part) if volume.unit is Unit.HU else part
        yield Volume(_compact(part)[None], affine)


def _compact(values: NDArray[np.float32]) -> NDArray[Any]:
    low, high = float(values.min()), float(values.max())
    if (values == np.rint(values)).all():
        for dtype in (np.uint8, np.int16):
            limits = np.iinfo(dtype)
            if limits.min <= low and high <= limits.max:
                return np.asfortranarray(values.astype(dtype))
    return np.asfortranarray(values.astype(np.float32))


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{number} {kind or 'unknown'}" for kind, number in kinds.most_common())


def _write_unreadable(out: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    with atomic.file(out / "unreadable.csv", overwrite=True) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "code", "message"])
        writer.writerows(rows)
