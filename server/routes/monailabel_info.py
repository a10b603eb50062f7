# SPDX-License-Identifier: Apache-2.0
"""`/info/` of MONAI Label: what the viewers fill their boxes with."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from clarivox import __version__
from clarivox.server.auth import Reader
from clarivox.server.job import Kind, State
from clarivox.server.label_models import SCORING, STRATEGIES, model, trainable, trainer
from clarivox.server.label_parts import Labels, With
from clarivox.server.problems import responses

router = APIRouter(tags=["MONAI Label"], responses=responses(401, 403, 503))

_ABOUT = "Medical image enhancement. A result comes back as the next sample (latest_enhanced)."


@router.get("/info/", operation_id="monailabel_info")
def info(labels: With, caller: Reader) -> dict[str, Any]:
    """Models, trainers, strategies and the state of the datastore.

    There is never a `config` at the top, and `labels` is always a list: the viewers refuse or break otherwise.
    """
    labels.datastore.settle()
    bundles = labels.parts.catalogue.all()
    return {
        "name": "clarivox",
        "description": _ABOUT,
        "version": __version__,
        "labels": [],
        "models": {one.name: model(one) for one in bundles},
        "trainers": {one.name: trainer(one) for one in bundles if trainable(one)},
        "strategies": {name: {"description": about, "config": {}} for name, about in STRATEGIES.items()},
        "scoring": {name: {"description": about, "config": {}} for name, about in SCORING.items()},
        "train_stats": train_stats(labels),
        "datastore": labels.datastore.counts(),
    }


def train_stats(labels: Labels) -> dict[str, dict[str, Any]]:
    """How the last training of each bundle went, in hundredths for epochs, as the viewers draw bars."""
    found: dict[str, dict[str, Any]] = {}
    for job in labels.parts.ledger.jobs(kind=Kind.TRAIN, limit=50)[0]:
        if job.bundle in found or job.started is None:
            continue
        done = 1.0 if job.state is State.SUCCEEDED else job.done
        found[job.bundle] = {"epoch": round(100 * done), "total_epochs": 100}
        best = job.metrics.get("best")
        if isinstance(best, int | float):
            found[job.bundle]["best_metric"] = best
        if job.finished is not None:
            found[job.bundle]["total_time"] = f"{job.finished - job.started:.0f} s"
    return found
