# SPDX-License-Identifier: Apache-2.0
"""`/model/{model}` of MONAI Label: the weights of a bundle, to look at. A bundle is sealed: nothing is written here."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, UploadFile
from fastapi.responses import FileResponse, Response

from clarivox.bundle import BundleInfo
from clarivox.errors import ConflictError, NotFoundError
from clarivox.server.auth import Admin
from clarivox.server.label_parts import With
from clarivox.server.problems import responses

router = APIRouter(prefix="/model", tags=["MONAI Label"], responses=responses(401, 403, 404, 409, 422, 503))

_SEALED = (
    "the files of a bundle are sealed by their digests; train it into a new version (POST /train/{model}), or "
    + ("put a folder of your own beside it (--bundles)")
)


def weights(info: BundleInfo) -> Path:
    """The weights of a bundle: the first file of them.

    Raises:
        NotFoundError: it has none (code no_weights).
    """
    found = sorted(path for path in (info.folder / "models").glob("*") if path.suffix in (".pt", ".safetensors"))
    if not found:
        raise NotFoundError(f"bundle {info.name} has no weights", code="no_weights")
    return found[0]


@router.get("/info/{model}", operation_id="monailabel_model_info")
def about(labels: With, caller: Admin, model: str) -> dict[str, Any]:
    """Digest and age of the weights."""
    info = labels.parts.catalogue.find(model)
    path = weights(info)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    status = path.stat()
    return {
        "name": info.name,
        "version": info.version,
        "file": f"{info.name}{path.suffix}",
        "checksum": f"SHA256:{digest}",
        "modified_time": int(status.st_mtime),
        "bytes": status.st_size,
        "licence": info.licence,
    }


@router.get(
    "/{model}",
    operation_id="monailabel_model",
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def download(labels: With, caller: Admin, model: str) -> FileResponse:
    """The weights."""
    info = labels.parts.catalogue.find(model)
    path = weights(info)
    return FileResponse(path, media_type="application/octet-stream", filename=f"{info.name}{path.suffix}")


@router.put("/{model}", operation_id="monailabel_model_replace")
def replace(
    labels: With, caller: Admin, model: str, file: Annotated[UploadFile, File(description="Not taken.")]
) -> Response:
    """Refuses: weights are never replaced.

    Raises:
        NotFoundError: there is no such bundle.
        ConflictError: always (code sealed_bundle).
    """
    labels.parts.catalogue.find(model)
    raise ConflictError(_SEALED, code="sealed_bundle")


@router.delete("/{model}", operation_id="monailabel_model_delete")
def delete(labels: With, caller: Admin, model: str) -> Response:
    """Refuses: bundles are deleted on the server's disk.

    Raises:
        NotFoundError: there is no such bundle.
        ConflictError: always (code sealed_bundle).
    """
    labels.parts.catalogue.find(model)
    raise ConflictError(_SEALED, code="sealed_bundle")
