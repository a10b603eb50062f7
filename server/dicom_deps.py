# SPDX-License-Identifier: Apache-2.0
"""What the routes of DICOMweb share: their addresses, the store, and what a client accepts."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from clarivox.server.deps import Parts
from clarivox.server.dicom_store import DicomStore
from clarivox.server.gate import is_here

ROOT = "/dicom-web"
STUDY = ROOT + "/studies/{study}"
SERIES = STUDY + "/series/{series}"
INSTANCE = SERIES + "/instances/{instance}"


def dicom_store(parts: Parts) -> DicomStore:
    """The DICOM objects of this server."""
    return parts.dicom


Store = Annotated[DicomStore, Depends(dicom_store)]


def wanted(request: Request) -> str:
    """What the client accepts: its parameter `accept` counts before its header."""
    return request.query_params.get("accept") or ", ".join(request.headers.getlist("accept"))


Wanted = Annotated[str, Depends(wanted)]


def root(request: Request) -> str:
    """Where addresses of objects begin, as the client sees the server."""
    base, server = request.base_url, request.scope.get("server")
    if base.port is None and server and server[1] and is_here(base.hostname or ""):
        base = base.replace(port=server[1])  # dicomweb-client leaves the port out of its header Host
    return str(base).rstrip("/") + ROOT
