# SPDX-License-Identifier: Apache-2.0
"""Where results go: the destinations of pacs.yaml, and how far the deliveries of a job are."""

from __future__ import annotations

from fastapi import APIRouter

from clarivox.server.auth import Reader
from clarivox.server.deps import Owned, Parts
from clarivox.server.pacs.outbox import Outbox
from clarivox.server.schemas import Deliveries, Delivery, Destinations

router = APIRouter(tags=["results"])


@router.get("/v1/destinations", operation_id="list_destinations")
def destinations(parts: Parts, caller: Reader) -> Destinations:
    """Where a job may have its result delivered; none without pacs.yaml."""
    return Destinations(destinations=sorted(parts.pacs.destinations) if parts.pacs is not None else [])


@router.get("/v1/jobs/{job_id}/deliveries", operation_id="get_deliveries")
def deliveries(found: Owned, parts: Parts) -> Deliveries:
    """How far the deliveries of a job are; they begin when it has succeeded."""
    rows = Outbox(parts.ledger.database).of_job(found.id)
    shown = [Delivery.model_validate({name: getattr(one, name) for name in Delivery.model_fields}) for one in rows]
    return Deliveries(deliveries=sorted(shown, key=lambda one: one.destination))
