# SPDX-License-Identifier: Apache-2.0
"""What goes over the wire in API v1, as OpenAPI describes it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from clarivox.bundle import BundleInfo
from clarivox.errors import OptionError
from clarivox.server import job as ledger_job
from clarivox.server.job import FileRef, Kind, State
from clarivox.server.pacs.outbox import DeliveryState

Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Form = Literal["dicom", "nifti", "nrrd", "mha", "png", "tiff"]
FORMS: tuple[str, ...] = get_args(Form)
Text = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00]*$")]
Word = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern="^[A-Za-z0-9_.-]+$")]
Seconds = Annotated[float, Field(allow_inf_nan=False, description="Seconds since 1970, UTC.")]


class Closed(BaseModel):
    """What a client sends: a name that is not known is a mistake, and said to be one."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Params(Closed):
    """How a bundle is to be run."""

    options: dict[str, Any] = Field({}, description="Options of the bundle; GET /v1/bundles/{name} has their schema.")
    strength: float = Field(1.0, ge=0, le=1, allow_inf_nan=False, description="Share of the change to apply.")
    series: Text | None = Field(None, description="Which series of several: its number in the list, or its UID.")
    allow_uneven: bool = Field(False, description="Let a 2D bundle treat slices that are not evenly spaced.")
    force: bool = Field(False, description="Run although the bundle does not declare this kind of image.")
    form: Form | None = Field(None, alias="as", description="Format of the result; by default that of the input.")
    engine: Literal["torch", "openvino"] = "torch"
    report: bool = Field(True, description="Make the page that shows what changed.")


class InputFile(Closed):
    """A file that the server has, by its SHA-256."""

    sha256: Sha256
    role: Literal["input", "like"] = Field("input", description="like: a DICOM series whose headers a result takes.")


class Wish(Closed):
    """What is asked of the server, beside the images."""

    bundle: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    params: Params = Params.model_construct()
    priority: int = Field(0, ge=-100, le=100, description="Higher runs first.")
    deadline: Seconds | None = Field(None, description="A job that is not done by then expires; since 1970, UTC.")
    tags: dict[Word, Text] = Field({}, max_length=16, description="Your own labels. Never put a patient's name here.")


class JobRequest(Wish):
    """A job by reference: its files were sent before, by PUT /v1/blobs/{sha256}, or /dicom-web lists them."""

    inputs: list[InputFile] = Field([], max_length=64)
    series_uid: Text | None = Field(None, description="A series that /dicom-web lists, in place of inputs.")
    study_uid: Text | None = Field(None, description="Its study; alone, all series of it in the PACS that suit.")
    deliver: list[Word] = Field([], max_length=16, description="Destinations of pacs.yaml that get the result.")


class Error(BaseModel):
    """Why a job failed."""

    code: str
    title: str = ""
    status: int = Field(500, description="What HTTP says for it.")
    detail: str = ""
    retryable: bool = False


class File(BaseModel):
    """A file of a job."""

    role: str = Field(description="input, like, result, evidence or index.")
    sha256: str
    bytes: int
    media: str
    name: str = Field(description="What a download is called.")


class Links(BaseModel):
    """Where to go on from a job."""

    self: str
    events: str
    result: str | None = None
    evidence: str | None = None


class Job(BaseModel):
    """A job. Times are seconds since 1970, UTC."""

    id: str
    owner: str
    kind: Kind
    bundle: str
    bundle_version: str
    state: State
    stage: str = Field(description="What it is doing: read, enhance, write, …; empty before.")
    done: float = Field(description="Share of the stage that is done, 0 to 1.")
    eta_s: float | None = Field(description="Seconds that the stage may still take.")
    position: int | None = Field(None, description="Jobs before it in the queue, where it waits.")
    params: dict[str, Any]
    priority: int
    tags: dict[str, str]
    created: float
    started: float | None
    finished: float | None
    deadline: float | None
    expires_at: float | None = Field(description="When its files are deleted.")
    attempt: int
    max_attempts: int
    cancel_requested: bool
    error: Error | None
    inputs: list[File]
    results: list[File]
    notes: list[str]
    degradations: list[str] = Field(description="Each step back from lack of memory, each fallback.")
    metrics: dict[str, Any]
    parent_id: str | None
    links: Links


class Jobs(BaseModel):
    """A page of jobs, the newest first."""

    jobs: list[Job]
    next: str | None = Field(description="The query `after` of the next page; null on the last one.")


class SeriesPair(BaseModel):
    """The DICOM series that a job was given, and the one that it made of it."""

    study: str
    source: str
    derived: str


class Delivery(BaseModel):
    """A result on its way to a destination."""

    destination: str
    state: DeliveryState = Field(description="dead: it was tried often enough; an operator may have it tried anew.")
    tries: int = Field(description="That failed.")
    instances: int = Field(description="That the destination has, once it is done.")
    code: str | None = Field(description="Why the last try failed.")
    at: float = Field(description="When this changed last.")


class Deliveries(BaseModel):
    """Where the result of a job goes."""

    deliveries: list[Delivery]


class Destinations(BaseModel):
    """Where results can be sent, by name; `pacs` is the PACS that /dicom-web shows."""

    destinations: list[str]


class Bundle(BaseModel):
    """A packaged model, and what it takes."""

    name: str
    version: str
    task: str
    description: str
    modalities: list[str] = Field(description="DICOM modalities; empty where any is taken.")
    spatial_dims: int
    grid: str = Field(description="same, or scaled: the result has more voxels.")
    may_invent: bool = Field(description="Its result may show texture that is not in the source.")
    weights: bool
    weights_bytes: int
    licence: str
    options: dict[str, Any] = Field(description="A JSON schema of its options.")
    measured: list[dict[str, Any]]


class Bundles(BaseModel):
    """Every bundle, by name."""

    bundles: list[Bundle]


class Blob(BaseModel):
    """A file, or how much of it is here."""

    sha256: str
    received: int = Field(description="Bytes that are here.")
    complete: bool


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"] = "live"


class Ready(BaseModel):
    """Whether the server can work."""

    status: Literal["ready"] = "ready"
    workers: int = Field(description="Workers that are ready or busy.")
    queued: int


def file_of(found: FileRef) -> File:
    """A file as a client sees it."""
    return File(role=found.role, sha256=found.sha256, bytes=found.bytes, media=found.media, name=found.name)


def job_of(found: ledger_job.Job, position: int | None = None) -> Job:
    """A job as a client sees it."""
    here = f"/v1/jobs/{found.id}"
    roles = {one.role for one in found.results}
    links = Links(
        self=here,
        events=f"{here}/events",
        result=f"{here}/result" if "result" in roles else None,
        evidence=f"{here}/evidence" if "evidence" in roles else None,
    )
    same = {
        name: getattr(found, name)
        for name in Job.model_fields
        if name not in ("kind", "position", "error", "inputs", "results", "notes", "degradations", "links")
    }
    error = Error.model_validate(found.error) if found.error else None
    return Job.model_construct(
        **same,
        kind=Kind(found.kind),
        position=position,
        error=error,
        inputs=[file_of(one) for one in found.inputs],
        results=[file_of(one) for one in found.results],
        notes=list(found.notes),
        degradations=list(found.degradations),
        links=links,
    )


def bundle_of(info: BundleInfo) -> Bundle:
    """A bundle as a client sees it."""
    same = {name: getattr(info, name) for name in Bundle.model_fields if name not in ("modalities", "measured")}
    return Bundle(**same, modalities=list(info.modalities), measured=list(info.measured))


def check_params(info: BundleInfo, params: Params) -> dict[str, Any]:
    """What the ledger keeps of the parameters, checked against the bundle before anything is read.

    Raises:
        OptionError: an option is unknown or out of range.
    """
    info.checked(params.options)
    if info.grid == "scaled" and params.strength != 1:
        raise OptionError(f"bundle {info.name} changes the grid, so strength must be 1; found {params.strength}")
    return params.model_dump(by_alias=True, exclude_defaults=True)
