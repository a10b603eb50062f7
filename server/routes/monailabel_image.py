# SPDX-License-Identifier: Apache-2.0
"""Images of MONAI Label's datastore: `/datastore/` and `/datastore/image`, and the old paths that clients use."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from clarivox.errors import InputError, NotFoundError
from clarivox.server.auth import Admin, Inferer, Reader
from clarivox.server.datastore import FINAL, Image, check_name, extension
from clarivox.server.downloads import download
from clarivox.server.job import new_id
from clarivox.server.label_answers import extension_of, params_of, safe
from clarivox.server.label_parts import FILE, Labels, With, received, shown_extension
from clarivox.server.label_shown import shown
from clarivox.server.problems import responses

router = APIRouter(
    prefix="/datastore", tags=["MONAI Label"], responses=responses(401, 403, 404, 413, 415, 422, 503, 507)
)

_EMPTY: dict[int | str, dict[str, Any]] = {200: {"description": "It is there.", "content": {}}}

Name = Annotated[str, Query(description="Name of an image.")]


class Listing(StrEnum):
    """How much of the datastore to tell."""

    TRAIN = "train"
    STATS = "stats"
    ALL = "all"


@router.get("/", operation_id="monailabel_datastore")
def listing(labels: With, caller: Reader, output: Listing = Listing.STATS) -> Any:
    """Counts; with `all` every image with its labels; with `train` pairs of image and final label."""
    labels.datastore.settle()
    if output is Listing.STATS:
        return labels.datastore.counts()
    images, found = labels.datastore.images(), labels.datastore.labels()
    if output is Listing.TRAIN:
        pairs = [(one, label) for one in images for label in found.get(one.key, ()) if label.tag == FINAL]
        return [{"image": one.name + one.extension, "label": one.name + label.extension} for one, label in pairs]
    objects = {}
    for image in images:
        mine = {one.tag: {"ext": one.extension, "info": one.info} for one in found.get(image.key, ())}
        objects[image.name] = {"image": {"ext": shown_extension(image.file), "info": told(image)}, "labels": mine}
    about = {
        "name": "clarivox",
        "description": "Images and labels of the server.",
        "images_dir": ".",
        "labels_dir": ".",
    }
    return about | {"objects": objects}


def told(image: Image) -> dict[str, Any]:
    """What clients said of an image, and what we know of it."""
    ours: dict[str, Any] = {
        "ts": int(image.created),
        "checksum": f"SHA256:{image.file.sha256}",
        "name": safe(image.name),
    }
    if image.job is not None:
        ours |= {"enhanced": True, "model": image.bundle, "job": image.job}
    return ours | image.info


@router.put("/", operation_id="monailabel_upload_old", include_in_schema=False)
@router.put("/image", operation_id="monailabel_upload")
async def upload(
    labels: With,
    caller: Inferer,
    file: Annotated[UploadFile, File(description="An image, or a zip of one DICOM series.")],
    image: Annotated[str | None, Query(description="Its name; by default that of the file.")] = None,
    params: Annotated[str, Form(description="What is to be known of it, as a JSON object.")] = "{}",
) -> dict[str, str]:
    """Add an image, or give the one of that name another file."""
    info = params_of(params)
    own = Path(file.filename or "").name
    name = image or own.removesuffix(extension_of(own)) or f"image_{new_id()}"
    check_name(name)
    kept = await received(labels.parts, file)
    await run_in_threadpool(labels.datastore.put, name, kept, info)
    return {"image": name}


@router.delete("/", operation_id="monailabel_remove_old", include_in_schema=False)
@router.delete("/image", operation_id="monailabel_remove")
def remove(labels: With, caller: Admin, image: Annotated[str, Query(alias="id")]) -> dict[str, Any]:
    """Remove an image and its labels."""
    labels.datastore.remove(image)
    return {}


@router.get("/image", operation_id="monailabel_image", response_class=Response, responses=FILE)
def image_file(request: Request, labels: With, caller: Reader, image: Name) -> Response:
    """The file of an image; a DICOM series as NIfTI, which every viewer reads."""
    labels.datastore.settle()
    found = labels.datastore.find(image)
    file = shown(labels, found)
    return download(request, labels.parts.blobs, replace(file, name=safe(found.name) + extension(file)))


@router.head("/image", operation_id="monailabel_image_there", response_class=Response, responses=_EMPTY)
def there(
    labels: With,
    caller: Reader,
    image: Name,
    check_sum: Annotated[str | None, Query(description="ALGORITHM:digest; SHA256 where none is named.")] = None,
) -> Response:
    """Whether an image is there, and is the one of that digest."""
    labels.datastore.settle()
    found = labels.datastore.find(image)
    if check_sum:
        check_digest(labels, found, check_sum)
    return Response()


def check_digest(labels: Labels, image: Image, given: str) -> None:
    """Compares a digest as MONAI Label writes it.

    Raises:
        NotFoundError: it is another image's (code no_such_image).
        InputError: the algorithm is not one of MONAI Label's (code bad_checksum).
    """
    algorithm, _, digest = given.rpartition(":")
    algorithm = (algorithm or "SHA256").upper()
    if algorithm not in ("SHA256", "SHA512", "MD5"):
        raise InputError("check_sum is SHA256, SHA512 or MD5, a colon, and the digest", code="bad_checksum")
    found = image.file.sha256
    if algorithm != "SHA256":
        with labels.parts.blobs.path(image.file.sha256).open("rb") as stream:
            found = hashlib.file_digest(stream, algorithm.lower()).hexdigest()
    if found != digest.lower():
        raise NotFoundError("the image of that name has another digest", code="no_such_image")


@router.get("/image/info", operation_id="monailabel_image_info")
def info(labels: With, caller: Reader, image: Name) -> dict[str, Any]:
    """What is known of an image."""
    labels.datastore.settle()
    return told(labels.datastore.find(image))


@router.put("/image/info", operation_id="monailabel_image_tell")
def tell(
    labels: With, caller: Inferer, image: Name, info: Annotated[str, Form(description="A JSON object.")] = "{}"
) -> dict[str, Any]:
    """Add to what is known of an image."""
    return told(labels.datastore.tell(image, params_of(info)))
