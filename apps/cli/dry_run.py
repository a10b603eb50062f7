# SPDX-License-Identifier: Apache-2.0
"""`clarivox enhance --dry-run`: windows, device, time and output of each volume, without writing."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clarivox.cli import jobs
from clarivox.cli.screen import table, watched
from clarivox.errors import ClarivoxError

if TYPE_CHECKING:
    from clarivox.cli.enhance import Wish
    from clarivox.volume import Volume

PROBED = 3
"""Slices in the middle of a volume that are enhanced to foretell the time, the first run apart."""


def foretell(source: Path, planned: Sequence[jobs.Job], wish: Wish) -> None:
    """Print a table of what would be done."""
    rows = []
    with watched("dry run") as progress:
        for job, found in jobs.volumes(source, planned, wish.allow_uneven, progress):
            try:
                if isinstance(found, ClarivoxError):
                    raise found
                cells = [*_one(found, wish), str(job.target)]
            except ClarivoxError as error:
                cells = ["", "", "", f"[{error.code}] {error}", "nothing"]
            rows.append([jobs.label(job), *cells])
    table("", ["volume", "device", "windows", "about", "to know", "would write"], rows)


def _one(volume: Volume, wish: Wish) -> list[str]:
    """Device, windows, seconds and notes for one volume.

    Raises:
        ClarivoxError: the bundle does not take the volume.
    """
    from clarivox.devices import chosen, planned
    from clarivox.engines import place_for
    from clarivox.enhance import check_kind, check_slices
    from clarivox.prepare import Items

    bundle = wish.bundle
    notes = check_kind(volume, bundle, wish.force) + check_slices(volume, bundle, wish.allow_uneven)
    items = Items(bundle.prepare(volume), bundle.info.spatial_dims, bundle.windows.neighbours, bundle.info.clip)
    place = chosen(place_for(wish.engine, wish.device))
    run = planned(bundle.network, bundle.windows, place)
    windows = len(items) * _windows(items.shape, wish, run.limit)
    calls = bundle.windows.calls
    counted = f"{windows} x {calls} steps" if calls > 1 else str(windows)
    about = _about_blended(volume, wish, windows) if bundle.windows.tiling == "blended" else _about(volume, wish)
    return [str(place), counted, about, "\n".join((*volume.notes, *notes))]


def _windows(shape: tuple[int, ...], wish: Wish, limit: int) -> int:
    """How many windows one image takes."""
    from clarivox import tiles

    plan = wish.bundle.windows
    if plan.tiling == "whole":
        return 1
    if plan.tiling == "exact":
        return len(tiles.exact(shape, plan.halo(shape), plan.stride, limit))
    window = tuple(shape[2] if plan.clip and axis == 2 else plan.window for axis in range(plan.spatial_dims))
    return len(tiles.blended(shape, window, plan.stride, plan.overlap))


def _about(volume: Volume, wish: Wish) -> str:
    """Time for the whole, from the middle slices run for a trial; a clip is not cut, so it is not foretold."""
    from clarivox.enhance import enhance

    depth = volume.shape[3]
    if wish.bundle.info.clip:
        return "not foretold"
    count = min(depth, PROBED if wish.bundle.info.spatial_dims == 2 else 4 * PROBED)
    trial = middle(volume, count)
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        enhance(trial, wish.bundle, device=wish.device, engine=wish.engine, allow_uneven=True, force=True)
        seconds.append(time.perf_counter() - started)
    return _spoken(min(seconds) * math.ceil(depth / count))


def _about_blended(volume: Volume, wish: Wish, windows: int) -> str:
    """Time for the whole, from one network call on one window in the middle."""
    from clarivox.enhance import enhance

    plan = wish.bundle.windows
    trial = middle(volume, min(volume.shape[3], plan.window))
    x, y = (slice((n - min(n, plan.window)) // 2, (n + min(n, plan.window)) // 2) for n in trial.shape[1:3])
    trial = trial.replace(array=trial.array[:, x, y])
    short = dataclasses.replace(wish.bundle, windows=plan.with_one_call())
    started = time.perf_counter()
    enhance(trial, short, device=wish.device, engine=wish.engine, allow_uneven=True, force=True)
    return _spoken((time.perf_counter() - started) * windows * plan.calls)


def _spoken(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def middle(volume: Volume, count: int) -> Volume:
    """The middle slices of a volume, for a trial; not for writing."""
    first = (volume.shape[3] - count) // 2
    chosen = slice(first, first + count)
    return volume.replace(
        array=volume.array[..., chosen],
        slope=volume.slope[chosen],
        intercept=volume.intercept[chosen],
        padding=None if volume.padding is None else volume.padding[chosen],
        irregular=None,
        source=None,
    )
