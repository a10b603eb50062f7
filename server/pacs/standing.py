# SPDX-License-Identifier: Apache-2.0
"""How the PACS part is, for the operator's page and for metrics; it parses no DICOM."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

from pydantic import BaseModel, Field
from sqlalchemy import func, select

from clarivox.server.blobs import Blobs
from clarivox.server.dialects import Database
from clarivox.server.job import State
from clarivox.server.ledger import Ledger
from clarivox.server.pacs.outbox import Delivery, DeliveryState, Outbox
from clarivox.server.tables import pacs_series

STATUS_FILE = "courier.json"
"""In the folder `pacs` of the data folder; the courier writes it."""
SILENT_S = 60.0
"""A courier that says nothing for so long does not run."""
WORDS = {
    "no_access": "the PACS does not let clarivox in",
    "no_association": "the node refuses the association, or takes none of what is offered",
    "no_result": "the result of the job is gone",
    "no_secret": "a variable of the environment that pacs.yaml names is not set",
    "no_such_job": "the job is gone",
    "not_committed": "the node does not promise to keep what it stored",
    "not_stored": "the PACS did not say that it stored all instances",
    "pacs_away": "the PACS does not answer",
    "pacs_busy": "the PACS is busy",
    "purged": "the files of the job were deleted when their time was over",
}
"""Codes of deliveries in words; any other is the code of the job that failed."""


class DeadLetter(BaseModel):
    """A delivery that is tried no more until somebody has it tried anew."""

    id: str
    job_id: str
    destination: str
    tries: int
    code: str
    reason: str = Field(description="The code in words.")
    at: float = Field(description="Seconds since 1970, UTC.")


class Pacs(BaseModel):
    """How the PACS part is."""

    silent_s: float | None = Field(description="Since the courier was last heard; null where it never was.")
    rules: int | None = Field(description="Rules in effect; null where there are none yet.")
    rules_error: str = Field(description="Why rules.yaml as it is has no effect; empty where it has.")
    wrong: dict[str, str] = Field(description="What of the courier cannot go on now, and its code.")
    series: dict[str, int] = Field(description="Series that came in, by state.")
    deliveries: dict[str, int] = Field(description="Deliveries, by state.")
    dead: list[DeadLetter]


def pacs_standing(database: Database, data_dir: Path) -> Pacs:
    """How the PACS part is now.

    Args:
        database: the ledger's.
        data_dir: where the courier's file is.
    """
    try:
        said = json.loads((data_dir / "pacs" / STATUS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        said = {}
    outbox = Outbox(database)
    deliveries: Counter[str] = Counter()
    for (_, state), number in outbox.counts().items():
        deliveries[state] += number
    with database.read() as connection:
        query = select(pacs_series.c.state, func.count()).group_by(pacs_series.c.state)
        series = {str(state): int(number) for state, number in connection.execute(query)}
    return Pacs(
        silent_s=max(0.0, time.time() - said["at"]) if "at" in said else None,
        rules=said.get("rules"),
        rules_error=said.get("rules_error", ""),
        wrong=said.get("wrong", {}),
        series=series,
        deliveries=dict(deliveries),
        dead=[_letter(one) for one in outbox.listed(DeliveryState.DEAD)],
    )


def _letter(found: Delivery) -> DeadLetter:
    same = {name: getattr(found, name) for name in ("id", "job_id", "destination", "tries", "at")}
    code = found.code or ""
    refused = f"the PACS refuses an instance, status {code.removeprefix('refused_').upper()}"
    reason = refused if code.startswith("refused_") else WORDS.get(code, "the job ended without a result")
    return DeadLetter(**same, code=code, reason=reason)


def requeue(ledger: Ledger, blobs: Blobs, outbox: Outbox, delivery_id: str) -> Delivery:
    """Try a dead delivery anew; where its job failed, the job is run once more, for all that waited for it.

    Raises:
        NotFoundError: there is no such delivery, or a file of the job is deleted.
        ConflictError: the delivery is not dead; or the files of its job are deleted, code purged.
        BusyError: the queue is full.
    """
    found = outbox.get(delivery_id)
    job = ledger.get(found.job_id)
    if found.state is not DeliveryState.DEAD or job.state is State.SUCCEEDED or not job.ended:
        return outbox.requeue(delivery_id)
    again = ledger.retry(job.id, has=blobs.has)
    for other in outbox.of_job(job.id):
        if other.state is DeliveryState.DEAD and other.id != delivery_id:
            outbox.requeue(other.id, again.id)
    return outbox.requeue(delivery_id, again.id)
