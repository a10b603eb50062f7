# SPDX-License-Identifier: Apache-2.0
"""A volume on its way between two processes: its voxels in a file that both map, everything else as JSON.

Nothing of it is ever run: no pickle, no code. What comes from the process that reads untrusted bytes is checked here
as strictly as a request from outside.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clarivox.errors import FormatError
from clarivox.volume import Axis, Channels, Fault, Irregularity, Provenance, Unit, Volume

_NAME = re.compile(r"[a-z]{2,10}-[0-9]{3,6}\.raw")
_DTYPE = re.compile(r"[<>|]?[iuf][1248]|[<>|]?b1")
_BLOCK = 16 << 20


def pack(volume: Volume, folder: Path, name: str) -> dict[str, Any]:
    """Write the voxels to a file and give everything else in a form that JSON can carry; the source stays behind.

    Args:
        volume: what to hand over.
        folder: both processes can reach it.
        name: of the file, as in-000.raw.
    """
    frames = volume.frames
    array = np.memmap(folder / name, frames.dtype, "w+", shape=frames.shape)
    step = max(1, _BLOCK // max(1, frames[0, 0].nbytes))
    for channel in range(frames.shape[0]):
        for first in range(0, frames.shape[1], step):
            array[channel, first : first + step] = frames[channel, first : first + step]
    return {
        "file": name,
        "dtype": frames.dtype.str,
        "shape": list(frames.shape),
        "affine": volume.affine.tolist(),
        "unit": str(volume.unit),
        "modality": volume.modality,
        "channels": str(volume.channels),
        "third_axis": str(volume.third_axis),
        "slope": volume.slope.tolist(),
        "intercept": volume.intercept.tolist(),
        "stored_range": volume.stored_range,
        "padding": None if volume.padding is None else volume.padding.tolist(),
        "inverted": volume.inverted,
        "irregular": None if volume.irregular is None else asdict(volume.irregular),
        "notes": list(volume.notes),
        "provenance": None if volume.provenance is None else asdict(volume.provenance),
    }


def unpack(facts: dict[str, Any], folder: Path) -> Volume:
    """The volume that `pack` handed over, its voxels mapped from the file, without a source.

    Raises:
        FormatError: the facts are not what `pack` writes, or the file has another size (code bad_handover).
    """
    try:
        return Volume(
            array=mapped(facts, folder).transpose(0, 3, 2, 1),
            affine=np.array(facts["affine"], np.float64),
            unit=Unit(facts["unit"]),
            modality=_text(facts["modality"], 16),
            channels=Channels(facts["channels"]),
            third_axis=Axis(facts["third_axis"]),
            slope=np.array(facts["slope"], np.float64),
            intercept=np.array(facts["intercept"], np.float64),
            stored_range=_range(facts["stored_range"]),
            padding=None if facts["padding"] is None else _padding(facts["padding"]),
            inverted=bool(facts["inverted"]),
            irregular=_irregular(facts["irregular"]),
            notes=tuple(_text(note, 2000) for note in facts["notes"]),
            provenance=_provenance(facts["provenance"]),
        )
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as cause:
        raise _refused("says what no volume is") from cause


def mapped(facts: dict[str, Any], folder: Path) -> NDArray[Any]:
    """The voxels as they lie in the file, shape (C, Z, Y, X), read-only.

    Raises:
        FormatError: the file is not there, or not of this size (code bad_handover).
    """
    name, shape = facts["file"], tuple(facts["shape"])
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not _DTYPE.fullmatch(facts["dtype"]):
        raise _refused("names another file or type")
    if len(shape) != 4 or not all(type(side) is int and 0 < side < 1 << 31 for side in shape):
        raise _refused("has no shape")
    dtype, path = np.dtype(facts["dtype"]), folder / name
    if path.is_symlink() or not path.is_file() or path.stat().st_size != math.prod(shape) * dtype.itemsize:
        raise _refused("has another size than it says")
    return np.memmap(path, dtype, "r", shape=shape)


def _refused(why: str) -> FormatError:
    return FormatError(f"what the reading process handed over {why}; the input cannot be used", code="bad_handover")


def _text(value: Any, most: int) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value[:most]


def _range(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    low, high = value
    return int(low), int(high)


def _padding(value: Any) -> NDArray[np.int64]:
    limits = np.array(value, np.int64)
    if limits.ndim != 2 or limits.shape[1] != 2:
        raise ValueError
    return limits


def _irregular(value: Any) -> Irregularity | None:
    if value is None:
        return None
    slices = tuple(int(one) for one in value["slices"])
    return Irregularity(Fault(value["fault"]), _text(value["message"], 2000), slices)


def _provenance(value: Any) -> Provenance | None:
    if value is None:
        return None
    known = {field.name for field in fields(Provenance)}
    given: dict[str, Any] = {name: one for name, one in value.items() if name in known}
    given |= {name: tuple(given[name]) for name in ("scale", "notes", "steps_back")}
    return Provenance(**given)
