# SPDX-License-Identifier: Apache-2.0
"""`/proxy/dicom/` of MONAI Label, where its OHIF build looks for images: the server's own DICOMweb."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import Response

from clarivox.server.auth import Reader
from clarivox.server.problems import responses

router = APIRouter(prefix="/proxy/dicom", tags=["MONAI Label"], responses=responses(401, 403, 404, 405, 503))

OWN = "/dicom-web"
"""Where the server's own QIDO-RS and WADO-RS are."""

_FOUND = ("route", "endpoint", "path_params", "router", "fastapi")
"""What the framework noted of the route that a request has found."""

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
        inner = {name: value for name, value in scope.items() if name not in _FOUND}
        await self._request.app.router({**inner, "path": own, "raw_path": quote(own).encode()}, receive, send)


@router.api_route("/{path:path}", methods=["GET", "POST"], include_in_schema=False)  # the last one is tried first
@router.api_route("/wado/{path:path}", methods=["GET", "POST"], include_in_schema=False)
@router.api_route("/qido/{path:path}", methods=["GET", "POST"], include_in_schema=False)
@router.api_route("/stow/{path:path}", methods=["GET", "POST"], include_in_schema=False)
async def passed(request: Request, caller: Reader, path: str) -> Response:
    """What `/dicom-web/` answers for the rest of the path."""
    return _Passed(request, path)
