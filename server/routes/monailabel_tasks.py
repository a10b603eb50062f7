# SPDX-License-Identifier: Apache-2.0
"""`/train/`, `/batch/infer` and `/scoring/` of MONAI Label: long work, as jobs of the ledger."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from clarivox.errors import BusyError, ConflictError, NotFoundError
from clarivox.server.auth import Admin, Caller, Inferer, Reader
from clarivox.server.job import Job
from clarivox.server.label_models import SCORING, trainable
from clarivox.server.label_parts import Labels, With, ended, failure
from clarivox.server.label_tasks import (
    Work,
    jobs_of,
    started_batch,
    started_scoring,
    started_training,
    task,
    unfinished,
)
from clarivox.server.problems import responses

router = APIRouter(tags=["MONAI Label"], responses=responses(401, 403, 404, 409, 422, 429, 503, 507))

Params = Annotated[dict[str, Any] | None, Body(description="Parameters of the work.")]
All = Annotated[bool, Query(alias="all", description="Every task, not only the newest.")]
Sync = Annotated[bool, Query(description="Answer when it is done.")]


class Images(StrEnum):
    """Which images of the datastore a batch takes."""

    ALL = "all"
    LABELED = "labeled"
    UNLABELED = "unlabeled"


def status(labels: Labels, caller: Caller, work: Work, every: bool, running: bool) -> Any:
    """Tasks as MONAI Label tells of them.

    Raises:
        NotFoundError: there is none (code no_such_task): to the viewers, any other answer means that one runs.
    """
    found = unfinished(labels, work) if running else jobs_of(labels, work)
    if not found:
        raise NotFoundError(f"no {work} task is {'running' if running else 'known'}", code="no_such_task")
    if every:
        return [task(labels, one, caller) for one in found]
    return task(labels, found[-1] if running else found[0], caller)


def stop(labels: Labels, caller: Caller, work: Work) -> Any:
    """Stops what runs, or what is next; null where nothing does."""
    found = unfinished(labels, work)
    if not found:
        return None
    return task(labels, labels.parts.ledger.cancel(found[-1].id), caller, stopped=True)


async def begin(
    labels: Labels, request: Request, caller: Caller, work: Work, start: Callable[[], Job], *, sync: bool, enqueue: bool
) -> Response:
    """Starts a task, or says that one runs already.

    Raises:
        BusyError: one runs already, and it is not to wait (code task_running, status 429).
    """
    running = [] if enqueue else await run_in_threadpool(unfinished, labels, work)
    if running:
        raise BusyError(f"a {work} task is running already; stop it, or say enqueue=true", code="task_running")
    job = await run_in_threadpool(start)
    if sync:
        job = await ended(labels, request, job.id)
        if job.error is not None:
            return failure(job)
    return JSONResponse(await run_in_threadpool(task, labels, job, caller))


@router.get("/train/", operation_id="monailabel_train_status")
def train_status(labels: With, caller: Reader, every: All = False, check_if_running: bool = False) -> Any:
    """The newest training."""
    return status(labels, caller, Work.TRAIN, every, check_if_running)


@router.post("/train/", operation_id="monailabel_train_all", include_in_schema=False)
def train_all(labels: With, caller: Admin, params: Params = None, run_sync: Sync = False) -> dict[str, Any]:
    """Trains each bundle that images of the datastore were enhanced with; OHIF asks so.

    Raises:
        ConflictError: there is none (code nothing_to_train).
    """
    used = {image.bundle for image in labels.datastore.images(enhanced=True)}
    models = [one for one in labels.parts.catalogue.all() if one.name in used and trainable(one)]
    if not models:
        raise ConflictError(
            "no image of the datastore was enhanced with a bundle that can be trained; name one: POST /train/{model}",
            code="nothing_to_train",
        )
    given = params or {}
    found = {}
    for info in models:
        mine = given.get(info.name)
        job = started_training(labels, caller, info, mine if isinstance(mine, dict) else {})
        found[info.name] = {"result": task(labels, job, caller), "detail": None}
    return found


@router.post("/train/{model}", operation_id="monailabel_train", response_class=JSONResponse)
async def train(
    request: Request,
    labels: With,
    caller: Admin,
    model: str,
    params: Params = None,
    run_sync: Sync = False,
    enqueue: bool = False,
) -> Response:
    """Fine-tune a bundle on the datastore's own images into a new bundle; the old one stays as it is."""

    def start() -> Job:
        return started_training(labels, caller, labels.parts.catalogue.find(model), params or {})

    return await begin(labels, request, caller, Work.TRAIN, start, sync=run_sync, enqueue=enqueue)


@router.delete("/train/", operation_id="monailabel_train_stop")
def train_stop(labels: With, caller: Admin) -> Any:
    """Stop the training."""
    return stop(labels, caller, Work.TRAIN)


@router.get("/batch/infer", operation_id="monailabel_batch_status")
def batch_status(labels: With, caller: Reader, every: All = False, check_if_running: bool = False) -> Any:
    """The newest batch."""
    return status(labels, caller, Work.BATCH, every, check_if_running)


@router.post("/batch/infer/{model}", operation_id="monailabel_batch", response_class=JSONResponse)
async def batch(
    request: Request,
    labels: With,
    caller: Admin,
    model: str,
    images: Images = Images.ALL,
    params: Params = None,
    run_sync: Sync = False,
) -> Response:
    """Enhance the images of the datastore, one job each."""

    def start() -> Job:
        return started_batch(labels, caller, labels.parts.catalogue.find(model), images, params or {})

    return await begin(labels, request, caller, Work.BATCH, start, sync=run_sync, enqueue=False)


@router.delete("/batch/infer", operation_id="monailabel_batch_stop")
def batch_stop(labels: With, caller: Admin) -> Any:
    """Stop the batch; images that are done stay."""
    return stop(labels, caller, Work.BATCH)


@router.get("/scoring/", operation_id="monailabel_scoring_status")
def scoring_status(labels: With, caller: Reader, every: All = False, check_if_running: bool = False) -> Any:
    """The newest scoring."""
    return status(labels, caller, Work.SCORING, every, check_if_running)


@router.post("/scoring/", operation_id="monailabel_scoring_all", include_in_schema=False)
def scoring_all(labels: With, caller: Inferer, params: Params = None, run_sync: Sync = False) -> dict[str, Any]:
    """Start every scoring."""
    found = {method: task(labels, started_scoring(labels, caller, method), caller) for method in SCORING}
    return {method: {"result": one, "detail": None} for method, one in found.items()}


@router.post("/scoring/{method}", operation_id="monailabel_scoring", response_class=JSONResponse)
async def scoring(
    request: Request, labels: With, caller: Inferer, method: str, params: Params = None, run_sync: Sync = False
) -> Response:
    """Gather what the enhancements of the datastore changed."""
    if method not in SCORING:
        raise NotFoundError(f"there is no such method; there is {', '.join(SCORING)}", code="no_such_method")

    def start() -> Job:
        return started_scoring(labels, caller, method)

    return await begin(labels, request, caller, Work.SCORING, start, sync=run_sync, enqueue=False)


@router.delete("/scoring/", operation_id="monailabel_scoring_stop")
def scoring_stop(labels: With, caller: Inferer) -> Any:
    """Stop the scoring."""
    return stop(labels, caller, Work.SCORING)
