# SPDX-License-Identifier: Apache-2.0
"""A series from the PACS to the server and back: fetched, enhanced, stored, and counted where it should be."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom

from clarivox.client import Client, Job
from clarivox.errors import ConflictError, ServiceError
from clarivox.io.archive import extracted
from clarivox.server.pacs.facts import made_here
from clarivox.server.pacs.web import DicomWeb


@dataclass(frozen=True)
class Delivered:
    """What came of one series."""

    series: str
    derived: str
    """SeriesInstanceUID of what was stored."""
    instances: int
    job: Job


def enhanced(
    pacs: DicomWeb,
    client: Client,
    study: str,
    series: str,
    bundle: str,
    params: Mapping[str, Any],
    told: Callable[[str, float], None] = lambda stage, share: None,
) -> Delivered:
    """Fetch a series, have it enhanced, store the derived series, and look whether all of it is there.

    The derived series has the same identifiers whenever the same is made of the same, so that a second time stores
    nothing new.

    Args:
        pacs: where the series is, and where the result goes.
        client: of the server.
        study, series: their UIDs.
        bundle: what enhances it.
        params: of the job.
        told: called with the stage and the share of it that is done.

    Raises:
        ConflictError: the series is a result of ours; code own_result.
        ServiceError: the PACS refused an instance, or lacks one afterwards; code not_stored.
        ClarivoxError: it cannot be fetched, or not be enhanced.
    """
    with tempfile.TemporaryDirectory(prefix="clarivox-pacs-") as scratch:
        told("fetch", 0.0)
        files = pacs.fetch(study, series, Path(scratch))
        check_foreign(files[0])
        told("send", 0.0)
        asked = client.submit(files, bundle, sent=lambda done, total: told("send", done / max(1, total)), **params)
        for job in client.follow(asked):
            told(job.stage or job.state, job.done)
        job.checked()
        result = client.download(job, Path(scratch) / "result.zip", got=lambda done, total: None)
        with extracted(result) as folder:
            made = sorted(path for path in folder.rglob("*") if path.is_file())
            derived = str(header(made[0], "SeriesInstanceUID").SeriesInstanceUID)
            told("store", 0.0)
            outcome = pacs.store(made)
        if outcome.refused:
            reasons = ", ".join(sorted({f"{reason:04x}" for reason in outcome.refused.values()}))
            raise ServiceError(
                f"the PACS refused {len(outcome.refused)} of {len(made)} instances, reasons {reasons}",
                code="not_stored",
            )
        there = pacs.search(f"studies/{study}/series/{derived}/instances")
        if len(there) != len(made):
            raise ServiceError(
                f"the PACS has {len(there)} of {len(made)} instances of the derived series", code="not_stored"
            )
        told("store", 1.0)
        return Delivered(series, derived, len(made), job)


def header(path: Path, *names: str) -> pydicom.Dataset:
    """Some elements of a file."""
    return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(names), force=True)


def check_foreign(path: Path) -> None:
    """Refuse what clarivox made itself: enhanced twice, it would go round for ever.

    Raises:
        ConflictError: the file bears our mark (code own_result).
    """
    if made_here(header(path, "ContributingEquipmentSequence")):
        raise ConflictError("this series is a result of clarivox already; choose its source", code="own_result")
