# SPDX-License-Identifier: Apache-2.0
"""The companion page and its files. They hold no data, so they need no key; what the page asks for does."""

from __future__ import annotations

import mimetypes
from functools import cache
from importlib import resources

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from clarivox.errors import NotFoundError

router = APIRouter(include_in_schema=False)
front = APIRouter(include_in_schema=False)
"""The page at the root of the origin, where OHIF does not take it."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self' blob: data:; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
"""Nothing from anywhere else. The viewer fetches what it has in itself, as data: and blob:."""
HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
UNBUILT = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>clarivox</title><h1>clarivox</h1>"
    "<p>The page is not built in this checkout: <code>make web</code> builds it. "
    "<a href=/docs>The interface</a> and <a href=/admin>the operator's page</a> work without it.</p></html>"
)


@cache
def files() -> dict[str, bytes]:
    """The built page: its files by name, `index.html` among them; empty where it was not built."""
    dist = resources.files("clarivox.web") / "dist"
    if not (dist / "index.html").is_file():
        return {}
    found = {one.name: one.read_bytes() for one in (dist / "assets").iterdir()}
    return found | {"index.html": (dist / "index.html").read_bytes()}


@front.get("/")
@router.get("/app/")
def page() -> HTMLResponse:
    """The companion page."""
    return HTMLResponse(files().get("index.html", UNBUILT.encode()), headers=HEADERS | {"Cache-Control": "no-cache"})


@router.get("/app/assets/{name}")
def asset(name: str) -> Response:
    """One of its files.

    Raises:
        NotFoundError: there is none of this name.
    """
    content = files().get(name)
    if content is None:
        raise NotFoundError("there is no such file", code="no_such_file")
    media = mimetypes.guess_type(name)[0] or "application/octet-stream"
    # Names of chunks hold their digest; the others may change with the next version.
    kept = "public, max-age=31536000, immutable" if "-" in name else "no-cache"
    return Response(content, media_type=media, headers=HEADERS | {"Cache-Control": kept})
