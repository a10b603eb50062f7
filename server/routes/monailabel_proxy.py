# SPDX-License-Identifier: Apache-2.0
"""`/proxy/dicom/` of MONAI Label, where its OHIF build looks for images: the server's own DICOMweb."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from clarivox.server.auth import Reader
from clarivox.server.problems import responses

router = APIRouter(prefix="/proxy/dicom", tags=["MONAI Label"], responses=responses(401, 403, 404, 405, 503))

OWN = "/dicom-web"
"""Where the server's own QIDO-RS and WADO-RS are."""

_Message = MutableMapping[str, Any]


class _Passed(Response):
    """The answer of another route of this application, as it comes."""

    def __init__(self, request: Request, path: str) -> None:
        super().__init__()
        self._request, self._path = request, path

    async def __call__(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        """Let the application answer for the other path; who asks was seen already, and is asked for again there."""
        own = f"{OWN}/{self._path}"
        inner = {k: v for k, v in scope.items() if k not in ("route", "endpoint", "path_params", "router")}
        await self._request.app.router({**inner, "path": own, "raw_path": own.encode()}, receive, send)


@router.api_route("/wado/{path:path}", methods=["GET", "POST"], include_in_schema=False)
@router.api_route("/qido/{path:path}", methods=["GET", "POST"], include_in_schema=False)
@router.api_route("/stow/{path:path}", methods=["GET", "POST"], include_in_schema=False)
@router.api_route("/{path:path}", methods=["GET", "POST"], include_in_schema=False)
async def passed(request: Request, caller: Reader, path: str) -> Response:
    """What `/dicom-web/` answers for the rest of the path."""
    return _Passed(request, path)
