# SPDX-License-Identifier: Apache-2.0
"""OHIF at the root of the origin: what no other route answers is a file of it, or its page."""

from __future__ import annotations

import mimetypes
import re
from importlib import resources
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.convertors import PathConvertor, register_url_convertor

from clarivox.errors import NotFoundError
from clarivox.server.auth import OWN
from clarivox.server.deps import Parts
from clarivox.server.viewer_files import folder_of

router = APIRouter(include_in_schema=False)

ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""What lets OHIF share memory between its threads."""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' blob: data:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; frame-ancestors 'self'"
)
"""The prebuilt OHIF has scripts within its page and builds others; nothing may come from, or go to, elsewhere."""


@router.get("/app-config.js")
def configuration() -> Response:
    """What OHIF reads at its start, in place of its own."""
    content = (resources.files("clarivox.ohif") / "app-config.js").read_bytes()
    return Response(content, media_type="text/javascript", headers=ISOLATED | {"Cache-Control": "no-cache"})


class Theirs(PathConvertor):
    """Paths that are none of ours."""

    regex = rf"(?!(?:{'|'.join(map(re.escape, sorted(OWN)))})(?:/|$)).*"


register_url_convertor("theirs", Theirs())


@router.get("/{path:theirs}")
def viewer(request: Request, parts: Parts, path: str) -> Response:
    """A file of OHIF; for an address of its own, as /viewer, its page.

    Raises:
        NotFoundError: it is a file that is not there.
    """
    folder = folder_of(parts.settings).resolve()
    wanted = (folder / path).resolve()
    if path and wanted.is_relative_to(folder) and wanted.is_file():
        return served(request, wanted)
    if "." in path.rsplit("/", 1)[-1]:
        raise NotFoundError("there is no such path; /docs lists those that there are", code="no_such_path")
    page = (folder / "index.html").read_bytes()
    return HTMLResponse(page, headers=ISOLATED | {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"})


def served(request: Request, path: Path) -> FileResponse:
    """A file, packed where the browser takes it; names of bundles hold their digest."""
    media = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    kept = "public, max-age=31536000, immutable" if ".bundle." in path.name else "no-cache"
    headers = ISOLATED | {"Cache-Control": kept, "Vary": "Accept-Encoding"}
    packed = path.with_name(path.name + ".gz")
    if packed.is_file() and "gzip" in request.headers.get("accept-encoding", ""):
        return FileResponse(packed, media_type=media, headers=headers | {"Content-Encoding": "gzip"})
    return FileResponse(path, media_type=media, headers=headers)
