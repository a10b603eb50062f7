# SPDX-License-Identifier: Apache-2.0
"""Work on the datastore as jobs of the ledger, and jobs as MONAI Label's clients know tasks."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import select

from clarivox.bundle import BundleInfo
from clarivox.errors import BusyError, ConflictError, OptionError
from clarivox.server import tables
from clarivox.server.auth import Caller
from clarivox.server.datastore import FINAL, Image
from clarivox.server.dialects import Database
from clarivox.server.job import Event, FileRef, Job, Kind, NewJob, Role, State
from clarivox.server.label_models import TRAIN_MINUTES, options, trainable
from clarivox.server.label_parts import BATCH, TRAINING, Labels
from clarivox.server.rows import event_of

OFTEN = 1000
"""Attempts of work that is only watched: a restart of the server ends one."""

_LINES = 20
"""Of a task's details."""

_STATUS = {
    State.QUEUED: "SUBMITTED",
    State.RUNNING: "RUNNING",
    State.SUCCEEDED: "DONE",
    State.PURGED: "DONE",
    State.CANCELLED: "STOPPED",
}


class Work(StrEnum):
    """Kinds of tasks, by the kind of their jobs."""

    TRAIN = Kind.TRAIN
    BATCH = Kind.BATCH
    SCORING = Kind.SCORING


def jobs_of(labels: Labels, work: Work, states: Sequence[State] = ()) -> list[Job]:
    """The jobs of one kind of work, newest first."""
    return labels.parts.ledger.jobs(kind=work, states=states, limit=100)[0]


def unfinished(labels: Labels, work: Work) -> list[Job]:
    """Those that run, or wait to; oldest last."""
    return jobs_of(labels, work, (State.QUEUED, State.RUNNING))


def task(labels: Labels, job: Job, caller: Caller, *, stopped: bool = False) -> dict[str, Any]:
    """A job as a task; `details` is never empty, as 3D Slicer shows its last line without a look."""
    status = "STOPPED" if stopped else _STATUS.get(job.state, "ERROR")
    found: dict[str, Any] = {
        "id": job.id,
        "status": status,
        "request": {"model": job.bundle} | {k: v for k, v in job.params.items() if k in ("minutes", "steps", "output")},
        "start_ts": _clock(job.started or job.created),
        "progress": 1.0 if job.state is State.SUCCEEDED else job.done,
        "eta_s": job.eta_s,
        "details": _details(labels, job, status),
    }
    if job.finished is not None:
        found["end_ts"] = _clock(job.finished)
        found["result"] = job.metrics
    if job.error is not None:
        mine = job.owner == caller.owner
        found["error"] = {"code": job.error.get("code"), "detail": job.error.get("detail") if mine else None}
    return found


def _details(labels: Labels, job: Job, status: str) -> list[str]:
    lines = []
    for event in labels.parts.ledger.events(job.id)[-_LINES:]:
        told = " ".join(str(event.data[key]) for key in ("stage", "reason", "code") if key in event.data)
        lines.append(f"{_clock(event.at)} {event.type} {told}".rstrip())
    lines.append(json.dumps({"status": status, "stage": job.stage, "progress": round(job.done, 3)}))
    return lines


def newest_events(database: Database, most: int) -> list[Event]:
    """The last events of all jobs, the oldest of them first."""
    query = select(tables.job_event).order_by(tables.job_event.c.seq.desc()).limit(most)
    with database.read() as connection:
        return [event_of(row) for row in connection.execute(query).mappings()][::-1]


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))


# Enhancing


def job_params(info: BundleInfo, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a job of enhancement is told; the viewer's own parameters are left out.

    Raises:
        OptionError: an option of the model is not allowed.
    """
    given, strength = options(info, asked)
    return {
        "options": given,
        "strength": strength,
        "series": None,
        "allow_uneven": asked.get("allow_uneven") is True,
        "force": asked.get("force") is True,
        "as": None,
        "engine": "torch",
        "report": asked.get("report") is not False,
    }


def inputs_of(files: Iterable[FileRef]) -> tuple[FileRef, ...]:
    """Files of the datastore as inputs of a job."""
    return tuple(FileRef(Role.INPUT, one.sha256, one.bytes, one.media, one.name) for one in files)


def submitted(labels: Labels, new: NewJob, parent: str | None, name: str) -> Job:
    """An enhancement in the queue; where it has a name, its result has a place in the datastore.

    Raises:
        BusyError: the queue is full, or the owner's share of it.
    """
    job = queued(labels, new)
    if name:
        labels.datastore.expect(job, parent, f"{name}__{new.bundle}")
    return job


def queued(labels: Labels, new: NewJob) -> Job:
    """A job in the queue, unless the server is about to stop.

    Raises:
        BusyError: it is (code draining), or the queue is full.
    """
    if labels.parts.draining.is_set():
        raise BusyError("the server is stopping; ask again when it is back", code="draining")
    return labels.parts.ledger.submit(new, has=labels.parts.blobs.has)[0]


# Batches


def started_batch(labels: Labels, caller: Caller, info: BundleInfo, which: str, asked: Mapping[str, Any]) -> Job:
    """A batch over the images of the datastore, in the queue.

    Args:
        labels: the server.
        caller: owns it.
        info: the bundle.
        which: all, labeled or unlabeled.
        asked: options of the bundle, and max_batch_size.

    Raises:
        OptionError: an option is not allowed.
        BusyError: the queue is full.
    """
    most = asked.get("max_batch_size") or 0
    if not isinstance(most, int) or most < 0:
        raise OptionError("max_batch_size is a number of images, 0 for all")
    keys = [image.key for image in chosen(labels, which)]
    params = {"images": keys[: most or None], "job": job_params(info, asked)}
    return _watched(labels, caller, Kind.BATCH, info, params)


def chosen(labels: Labels, which: str) -> list[Image]:
    """The images that clients sent: all, or those with or without a final label."""
    images = labels.datastore.images(enhanced=False)
    if which == "all":
        return images
    final = {key for key, found in labels.datastore.labels().items() if any(one.tag == FINAL for one in found)}
    return [one for one in images if (one.key in final) == (which == "labeled")]


def started_scoring(labels: Labels, caller: Caller, method: str) -> Job:
    """A scoring over the results in the datastore, in the queue.

    Raises:
        BusyError: the queue is full.
    """
    return _watched(labels, caller, Kind.SCORING, None, {"method": method})


def _watched(labels: Labels, caller: Caller, kind: Kind, info: BundleInfo | None, params: dict[str, Any]) -> Job:
    new = NewJob(
        caller.owner,
        (),
        bundle=info.name if info else "",
        bundle_version=info.version if info else "",
        kind=kind,
        params=params,
        priority=BATCH,
        max_attempts=OFTEN,
        tags={"via": "monailabel"},
    )
    return queued(labels, new)


# Training


def started_training(labels: Labels, caller: Caller, info: BundleInfo, asked: Mapping[str, Any]) -> Job:
    """A fine-tuning of a bundle on the images that clients sent, in the queue.

    Raises:
        OptionError: the bundle has no recipe, or a value is out of range.
        ConflictError: there are no images (code nothing_to_train).
        BusyError: the queue is full.
    """
    if not trainable(info):
        raise OptionError(f"bundle {info.name} has nothing to train", code="not_trainable")
    images = labels.datastore.images(enhanced=False)
    if not images:
        raise ConflictError("the datastore holds no image to train on; upload some", code="nothing_to_train")
    minutes, steps = _number(asked, "minutes", TRAIN_MINUTES), _number(asked, "steps", 0)
    new = NewJob(
        caller.owner,
        inputs_of(image.file for image in images),
        bundle=info.name,
        bundle_version=info.version,
        kind=Kind.TRAIN,
        params={
            "output": next_version(labels, info.name),
            "minutes": minutes or TRAIN_MINUTES if not steps else None,
            "steps": int(steps) or None,
        },
        priority=TRAINING,
        max_attempts=labels.parts.settings.max_attempts,
        tags={"via": "monailabel"},
    )
    return queued(labels, new)


def _number(asked: Mapping[str, Any], name: str, default: float) -> float:
    value = asked.get(name, default)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise OptionError(f"{name} is a number, 0 for what the recipe says") from None
    if not 0 <= number <= 1e7:
        raise OptionError(f"{name} is 0 to 10000000; found {number:g}")
    return number


def next_version(labels: Labels, name: str) -> str:
    """What a training calls its bundle: the first version that neither a bundle nor a training has."""
    stem = re.sub(r"_v\d+$", "", name)
    taken = {one.name for one in labels.parts.catalogue.all()}
    taken |= {str(job.params.get("output")) for job in labels.parts.ledger.jobs(kind=Kind.TRAIN, limit=500)[0]}
    number = 2
    while f"{stem}_v{number}" in taken:
        number += 1
    return f"{stem}_v{number}"
