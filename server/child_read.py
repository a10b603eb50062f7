# SPDX-License-Identifier: Apache-2.0
"""In the limited child: read every volume of an input, hand over the voxels, keep the headers for the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from clarivox import io
from clarivox.errors import ClarivoxError, LimitError
from clarivox.io.dispatch import Unreadable
from clarivox.io.limits import Limits
from clarivox.progress import Step
from clarivox.server import child_volume
from clarivox.volume import Volume


def read(kept: list[Volume], order: dict[str, Any], tell: Callable[[Step], None]) -> list[dict[str, Any]]:
    """The volumes of an input in the order of `clarivox.io.scan`, or of each the error that kept it from being read.

    Args:
        kept: takes the volumes, their voxels mapped from the files handed over; writing needs their headers.
        order: source, series, allow_uneven, limits.
        tell: called as the voxels come in.

    Raises:
        InputError: the input as a whole cannot be read, or the one volume of it.
    """
    folder, found = Path.cwd(), list[dict[str, Any]]()
    total = 0
    for one in volumes(order, tell):
        if isinstance(one, Unreadable):
            found.append({"error": told(one.error), "foreign": not one.info.format})
            continue
        total += one.array.nbytes
        if total > order["limits"]["unpacked_bytes"]:
            most = order["limits"]["unpacked_bytes"]
            raise LimitError(f"the images of the input take more than {most} bytes together", code="unpacked_size")
        facts = child_volume.pack(one, folder, f"in-{len(kept):03d}.raw")
        mapped = child_volume.mapped(facts, folder).transpose(0, 3, 2, 1)
        kept.append(one.replace(array=mapped))
        found.append({"volume": facts})
    return found


def volumes(order: dict[str, Any], tell: Callable[[Step], None]) -> Iterator[Volume | Unreadable]:
    """Each volume, or its error.

    Raises:
        InputError: the input as a whole cannot be read, or the one volume that was named.
    """
    source, limits = Path(order["source"]), Limits(**order["limits"])
    uneven = bool(order["allow_uneven"])
    if order["series"] is None:
        yield from io.read_all(source, allow_uneven=uneven, progress=tell, limits=limits)
    else:
        name = order["series"]
        series = int(name) if name.isascii() and name.isdigit() and len(name) < 7 else name
        yield io.read(source, series=series, allow_uneven=uneven, progress=tell, limits=limits)


def told(error: ClarivoxError) -> dict[str, str]:
    """An error of ours as JSON carries it."""
    return {"class": type(error).__name__, "code": error.code, "message": str(error)[:4000]}
