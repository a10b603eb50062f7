# SPDX-License-Identifier: Apache-2.0
"""`/infer/{model}` of MONAI Label: runs a job of the ledger and answers when it has ended, in each client's form.

3D Slicer and OHIF take what comes back for a label map, and ask for its type (`result_dtype`): they get one without
labels, and the enhanced image as the next sample. A client that names no type gets the enhanced image itself.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from clarivox.bundle import BundleInfo
from clarivox.errors import InputError, NotFoundError, OutputError
from clarivox.server.auth import Caller, Inferer
from clarivox.server.job import FileRef, Job, NewJob, Role, State
from clarivox.server.label_answers import Body, both, one_of_zip, params_of, sent, stored
from clarivox.server.label_map import Grid, empty
from clarivox.server.label_parts import (
    BEFORE_BATCHES,
    Labels,
    With,
    ended,
    failure,
    received,
    result_of,
)
from clarivox.server.label_series import series_facts
from clarivox.server.label_tasks import inputs_of, job_params, submitted
from clarivox.server.problems import responses
from clarivox.server.series_files import series_files

router = APIRouter(
    prefix="/infer", tags=["MONAI Label"], responses=responses(401, 403, 404, 409, 410, 413, 415, 422, 429, 503, 507)
)


class Output(StrEnum):
    """What the answer is to hold."""

    IMAGE = "image"
    JSON = "json"
    ALL = "all"
    DICOM_SEG = "dicom_seg"
    """The derived series: an enhancement segments nothing."""
    DICOM = "dicom"


class Source(NamedTuple):
    """What is to be enhanced."""

    files: tuple[FileRef, ...]
    parent: str | None
    """Key of the image in the datastore."""
    name: str
    """What the result is called there, before the model's name; empty where it is not kept there."""
    series: str | None = None
    """Which series, where the files hold several."""


@router.post("/wsi/{model}", operation_id="monailabel_infer_wsi", include_in_schema=False)
@router.post("/wsi_v2/{model}", operation_id="monailabel_infer_wsi_v2", include_in_schema=False)
def no_slides(model: str, caller: Inferer) -> Response:
    """Says that there is nothing for whole slides.

    Raises:
        NotFoundError: always (code no_wsi).
    """
    raise NotFoundError("whole-slide images of pathology are not enhanced here; use /infer/{model}", code="no_wsi")


@router.post(
    "/{model}",
    operation_id="monailabel_infer",
    response_class=Response,
    responses={
        200: {
            "description": "By `output`: parameters and image, the image, the parameters, or the DICOM series.",
            "content": {
                "multipart/form-data": {},
                "application/json": {},
                "application/octet-stream": {},
                "application/dicom": {},
            },
        }
    },
)
async def infer(
    request: Request,
    labels: With,
    caller: Inferer,
    model: str,
    image: Annotated[str, Query(description="Name of an image in the datastore, or UID of a DICOM series.")] = "",
    session_id: Annotated[str, Query(description="A session to take the image from.")] = "",
    output: Annotated[Output | None, Query(description="What the answer is to hold.")] = None,
    params: Annotated[str, Form(description="Options of the model, and of the answer, as a JSON object.")] = "{}",
    file: Annotated[UploadFile | None, File(description="An image instead of a name.")] = None,
    label: Annotated[UploadFile | None, File(description="Not used.")] = None,
) -> Response:
    """Enhance an image, and answer when it is done."""
    asked = params_of(params)
    sending = await received(labels.parts, file) if file is not None and not session_id else None
    info, source = await run_in_threadpool(chosen, labels, caller, model, image, session_id, sending)
    job = await run_in_threadpool(begun, labels, caller, info, source, asked)
    job = await ended(labels, request, job.id)
    if job.state is not State.SUCCEEDED:
        return failure(job)
    return await run_in_threadpool(answer, labels, job, asked, output)


def chosen(
    labels: Labels, caller: Caller, model: str, image: str, session_id: str, file: FileRef | None
) -> tuple[BundleInfo, Source]:
    """The bundle and the input: of the session, the file that came with the request, or the datastore's image.

    Raises:
        NotFoundError: there is no such bundle, session or image.
        InputError: nothing names an image (code no_input).
    """
    info = labels.parts.catalogue.find(model)
    if session_id:
        return info, Source(labels.sessions.get(session_id, caller.owner, touch=True).files, None, "")
    if file is not None:
        return info, Source((file,), None, "")
    if not image:
        raise InputError("name an image of the datastore, a session, or send a file", code="no_input")
    labels.datastore.settle()
    try:
        found = labels.datastore.find(image)
    except NotFoundError:
        files, series, _ = series_files(labels.parts, caller, image)
        if not files:
            raise
        return info, Source(files, None, image, series)
    return info, Source((found.file,), found.key, found.name)


def begun(labels: Labels, caller: Caller, info: BundleInfo, source: Source, asked: dict[str, Any]) -> Job:
    """The job, in the queue before all batches; its result has a place in the datastore.

    Raises:
        OptionError: an option of the model is not allowed.
        BusyError: the queue is full, or the caller's share of it.
    """
    new = NewJob(
        caller.owner,
        inputs_of(source.files),
        bundle=info.name,
        bundle_version=info.version,
        params=job_params(info, asked) | {"series": source.series},
        priority=BEFORE_BATCHES,
        max_attempts=labels.parts.settings.max_attempts,
        tags={"via": "monailabel"} | ({"image": source.parent} if source.parent else {}),
    )
    return submitted(labels, new, source.parent, source.name)


def answer(labels: Labels, job: Job, asked: dict[str, Any], output: Output | None) -> Response:
    """What the client gets of a job that ended well."""
    told = told_of(labels, job)
    if output is Output.JSON:
        return JSONResponse(told)
    if output in (Output.DICOM, Output.DICOM_SEG):
        return sent(dicom(labels, job))
    body = map_of(job, asked) if "result_dtype" in asked else image_of(labels, job)
    return sent(body) if output is Output.IMAGE else both(told, body)


def told_of(labels: Labels, job: Job) -> dict[str, Any]:
    """The parameters of the answer: MONAI Label's own, then ours."""
    labels.datastore.settle()
    image = labels.datastore.result_of(job.id)
    seconds = job.metrics
    latencies = {"pre": seconds.get("read_s", 0.0), "infer": seconds.get("enhance_s", 0.0), "invert": 0.0}
    latencies |= {"post": 0.0, "write": seconds.get("write_s", 0.0), "transform": {}}
    latencies["total"] = round((job.finished or 0.0) - job.created, 3)
    return {
        "label_names": {},
        "latencies": latencies,
        "centroids": [],
        "job": job.id,
        "model": job.bundle,
        "model_version": job.bundle_version,
        "image": image.name if image else None,
        "notes": list(job.notes),
        "degradations": list(job.degradations),
        "metrics": job.metrics,
        **series_facts(labels, job.results),
    }


def map_of(job: Job, asked: dict[str, Any]) -> Body:
    """A label map without labels on the grid of the input, for a client that draws labels.

    Raises:
        OptionError: the type that is asked for is none of a label map.
    """
    grid = Grid.of(job.metrics["grid"]) if "grid" in job.metrics else Grid((1, 1, 1), _UNIT)
    packed = asked.get("result_compress", True) is not False
    found = empty(grid, str(asked.get("result_extension", ".nrrd")), str(asked["result_dtype"]), packed)
    return Body(job.id + found.extension, found.media, found.size, found.pieces)


_UNIT = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))


def image_of(labels: Labels, job: Job) -> Body:
    """The enhanced image, as its job wrote it."""
    file = result_of(job)
    extension = "." + file.name.split(".", 1)[-1]
    return stored(labels.parts.blobs.path(file.sha256), file, job.id + extension)


def dicom(labels: Labels, job: Job) -> Body:
    """The derived series: its one file, or a zip of all.

    Raises:
        OutputError: the input was not DICOM, so that nothing is (code needs_like).
    """
    file = result_of(job)
    if not any(one.role == Role.INDEX for one in job.results):
        raise OutputError(
            "the image is not DICOM, so its result is not; take output=image, or upload a DICOM series",
            code="needs_like",
        )
    path = labels.parts.blobs.path(file.sha256)
    return one_of_zip(path, job.id + ".dcm") or stored(path, file, job.id + ".zip")
