# SPDX-License-Identifier: Apache-2.0
"""`/activelearning/{strategy}` of MONAI Label: the one way by which its viewers load an image."""

from __future__ import annotations

import random
import time
from typing import Annotated, Any

from fastapi import APIRouter, Body

from clarivox.errors import NotFoundError
from clarivox.server.auth import Inferer
from clarivox.server.datastore import FINAL, Image
from clarivox.server.label_answers import safe
from clarivox.server.label_models import STRATEGIES
from clarivox.server.label_parts import Labels, With, is_dicom, shown_extension
from clarivox.server.label_series import series_facts
from clarivox.server.problems import responses

router = APIRouter(prefix="/activelearning", tags=["MONAI Label"], responses=responses(401, 403, 404, 422, 503))


@router.post("/{strategy}", operation_id="monailabel_sample")
def sample(
    labels: With,
    caller: Inferer,
    strategy: str,
    params: Annotated[dict[str, Any] | None, Body(description="client_id, and what the viewer adds.")] = None,
) -> dict[str, Any]:
    """The next image to look at; an empty object where there is none."""
    if strategy not in STRATEGIES:
        raise NotFoundError(f"there is no such strategy; there are {', '.join(STRATEGIES)}", code="no_such_strategy")
    labels.datastore.settle()
    image = newest(labels, given=False) if strategy == "latest_enhanced" else at_random(labels)
    if image is None:
        return {}
    now = int(time.time())
    mine = {"ts": now, "client_id": str((params or {}).get("client_id") or "")[:100]}
    known = labels.datastore.tell(image.name, {"strategy": image.info.get("strategy", {}) | {strategy: mine}})
    return about(labels, known, strategy, now)


def newest(labels: Labels, *, given: bool) -> Image | None:
    """The newest image that a bundle made; with `given` only one that `random` has not given yet."""
    found = labels.datastore.images(enhanced=True)
    if given:
        found = [one for one in found if "random" not in one.info.get("strategy", {})]
    return found[-1] if found else None


def at_random(labels: Labels) -> Image | None:
    """The newest result that was not given yet, for OHIF can ask for nothing else; then any image without a label."""
    enhanced = newest(labels, given=True)
    if enhanced is not None:
        return enhanced
    labelled = {key for key, found in labels.datastore.labels().items() if any(one.tag == FINAL for one in found)}
    left = [one for one in labels.datastore.images(enhanced=False) if one.key not in labelled]
    return random.choice(left) if left else None


def about(labels: Labels, image: Image, strategy: str, now: int) -> dict[str, Any]:
    """An image as the viewers load it: the ending of `name` decides Slicer's reader, the UIDs OHIF's study."""
    found: dict[str, Any] = {
        "id": image.name,
        "weight": 1,
        "path": "",
        "name": safe(image.name) + shown_extension(image.file),
        "ts": now,
        "strategy": image.info.get("strategy", {}),
        "enhanced": image.enhanced,
        "model": image.bundle,
        "job": image.job,
    }
    if not is_dicom(image.file):
        found["checksum"] = f"SHA256:{image.file.sha256}"
    if image.job is not None:
        found |= series_facts(labels, labels.parts.ledger.get(image.job).results)
    return found
