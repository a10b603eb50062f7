# SPDX-License-Identifier: Apache-2.0
"""What runs of a bundle took on a device, to foretell the next, and whether the device has room for it."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

from clarivox.errors import ClarivoxError
from clarivox.server.profiles import Profile
from clarivox.server.task import Task

if TYPE_CHECKING:
    from clarivox.server.work import Shop

ROOM = 0.25
"""Share of a GPU's memory that is to be free before a job."""


def remember(task: Task, shop: Shop) -> None:
    """Keep what the run took, so that later ones can be foretold."""
    megavoxels = task.metrics.get("voxels", 0) / 1e6
    if megavoxels > 0:
        pace = task.metrics["enhance_s"] / megavoxels
        with suppress(ClarivoxError):
            shop.ledger.put_profile(Profile(task.job.bundle, shop.device_name, pace, task.metrics["load_s"]))


def foretold(task: Task, shop: Shop) -> float | None:
    """Seconds that the volumes will take, by earlier runs."""
    try:
        known = shop.ledger.profile(task.job.bundle, shop.device_name)
    except ClarivoxError:
        return None
    voxels = sum(math.prod(one["volume"]["shape"]) for one in task.found if "volume" in one)
    return None if known is None else known.s_per_megavoxel * voxels / 1e6


def scarce(device: str) -> bool:
    """Whether less than `ROOM` of a GPU's memory is free once torch has given back what it only kept."""
    if not device.startswith("cuda"):
        return False
    import torch

    free, total = torch.cuda.mem_get_info()
    if free >= ROOM * total:
        return False
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    return free < ROOM * total
