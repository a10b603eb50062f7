# SPDX-License-Identifier: Apache-2.0
"""Labels of MONAI Label's datastore: `/datastore/label`, and everything as one archive."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from clarivox.server.auth import Admin, Inferer, Reader
from clarivox.server.datastore import FINAL, check_tag
from clarivox.server.downloads import download
from clarivox.server.label_answers import params_of, safe
from clarivox.server.label_archive import archive
from clarivox.server.label_parts import FILE, With, received
from clarivox.server.problems import responses

router = APIRouter(
    prefix="/datastore", tags=["MONAI Label"], responses=responses(401, 403, 404, 413, 415, 422, 503, 507)
)

_EMPTY: dict[int | str, dict[str, Any]] = {200: {"description": "It is there.", "content": {}}}

Image = Annotated[str, Query(description="Name of an image.")]
Label = Annotated[str, Query(description="Name of a label: that of its image.")]
Tag = Annotated[str, Query(description="Which of the labels.")]


@router.put("/label", operation_id="monailabel_save_label")
async def save(
    labels: With,
    caller: Inferer,
    image: Image,
    label: Annotated[UploadFile, File(description="A label map.")],
    tag: Tag = FINAL,
    params: Annotated[str, Form(description="What is to be known of it, as a JSON object.")] = "{}",
) -> dict[str, str]:
    """Add a label to an image, or replace the one of that tag."""
    info = params_of(params)
    check_tag(tag or FINAL)
    found = await run_in_threadpool(labels.datastore.find, image)
    kept = await received(labels.parts, label, "label")
    await run_in_threadpool(labels.datastore.put_label, image, tag or FINAL, kept, info)
    return {"image": image, "label": found.name}


@router.get("/label", operation_id="monailabel_label", response_class=Response, responses=FILE)
def label_file(request: Request, labels: With, caller: Reader, label: Label, tag: Tag) -> Response:
    """The file of a label."""
    found = labels.datastore.label(label, tag)
    return download(request, labels.parts.blobs, replace(found.file, name=safe(label) + found.extension))


@router.head("/label", operation_id="monailabel_label_there", response_class=Response, responses=_EMPTY)
def there(labels: With, caller: Reader, image: Image, tag: Tag) -> Response:
    """Whether an image has a label."""
    labels.datastore.label(image, tag)
    return Response()


@router.delete("/label", operation_id="monailabel_remove_label")
def remove(labels: With, caller: Admin, label: Annotated[str, Query(alias="id")], tag: Tag) -> dict[str, Any]:
    """Remove a label."""
    labels.datastore.remove_label(label, tag)
    return {}


@router.get("/label/info", operation_id="monailabel_label_info")
def info(labels: With, caller: Reader, label: Label, tag: Tag) -> dict[str, Any]:
    """What is known of a label."""
    return labels.datastore.label(label, tag).info


@router.put("/label/info", operation_id="monailabel_label_tell")
def tell(
    labels: With,
    caller: Inferer,
    label: Label,
    tag: Tag,
    info: Annotated[str, Form(description="A JSON object.")] = "{}",
) -> dict[str, Any]:
    """Add to what is known of a label."""
    return labels.datastore.tell_label(label, tag, params_of(info)).info


@router.put("/updatelabelinfo", operation_id="monailabel_label_tell_old", include_in_schema=False)
def tell_old(
    labels: With, caller: Inferer, label: Label, tag: Tag, params: Annotated[str, Form()] = "{}"
) -> dict[str, Any]:
    """The same under the name that the Reviewer plugin uses."""
    return labels.datastore.tell_label(label, tag, params_of(params)).info


@router.get(
    "/dataset",
    operation_id="monailabel_dataset",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/zip": {}}}},
)
def dataset(
    labels: With,
    caller: Reader,
    limit_cases: Annotated[int | None, Query(ge=1, description="At most so many images.")] = None,
) -> Response:
    """Every image with its labels, in one zip."""
    labels.datastore.settle()
    images = labels.datastore.images()[:limit_cases]
    headers = {"content-disposition": 'attachment; filename="dataset.zip"'}
    pieces = archive(images, labels.datastore.labels(), labels.parts.blobs)
    return StreamingResponse(pieces, media_type="application/zip", headers=headers)
