# SPDX-License-Identifier: Apache-2.0
"""What a bundle took on a device: from it comes the guess how long a job will take."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from sqlalchemy import Connection, select

from clarivox.server.dialects import Database
from clarivox.server.tables import profile

NEWEST = 0.3
"""Share of the newest run in the mean."""


@dataclass(frozen=True)
class Profile:
    """Means over the runs of one bundle on one device."""

    bundle: str
    device: str
    """Its name, as NVIDIA H100 or cpu."""
    s_per_megavoxel: float
    load_s: float = 0.0
    peak_bytes: int = 0
    runs: int = 1

    def __post_init__(self) -> None:
        if self.s_per_megavoxel < 0 or self.load_s < 0 or self.peak_bytes < 0:
            raise ValueError("a run takes no negative time or memory")


def profile_of(connection: Connection, bundle: str, device: str) -> Profile | None:
    """What is known, or None."""
    query = select(profile).where(profile.c.bundle == bundle, profile.c.device == device)
    row = connection.execute(query).mappings().first()
    return None if row is None else Profile(**row)


def put_profile(database: Database, connection: Connection, found: Profile) -> None:
    """Bring one more run into the means; the peak of memory is the highest seen."""
    known = profile_of(connection, found.bundle, found.device)
    if known is not None:
        found = replace(
            found,
            s_per_megavoxel=mean(known.s_per_megavoxel, found.s_per_megavoxel),
            load_s=mean(known.load_s, found.load_s) if found.load_s else known.load_s,
            peak_bytes=max(known.peak_bytes, found.peak_bytes),
            runs=known.runs + 1,
        )
    database.upsert(connection, profile, ("bundle", "device"), asdict(found))


def mean(known: float, newest: float) -> float:
    """The mean after one more run.

    >>> round(mean(1.0, 2.0), 6)
    1.3
    """
    return (1 - NEWEST) * known + NEWEST * newest
