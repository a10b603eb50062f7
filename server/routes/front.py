# SPDX-License-Identifier: Apache-2.0
"""What a browser sees at `/`, and what the Reviewer plugin of MONAI Label asks for to see whether a server is there."""

from __future__ import annotations

import base64
import hashlib

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

_STYLE = "body{max-width:40rem;margin:15vh auto;padding:0 1.5rem;font:16px/1.6 system-ui,sans-serif}a{color:#0a5}"
_PAGE = (
    f'<!doctype html><html lang="en"><meta charset="utf-8"><title>clarivox</title><style>{_STYLE}</style>'
    "<h1>clarivox</h1><p>Medical image enhancement. For research; not for diagnosis.</p>"
    '<p><a href="docs">Interface</a> · <a href="admin">For the operator</a></p></html>'
)
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; base-uri 'none'; frame-ancestors 'none'; style-src 'sha256-{_DIGEST}'"


@router.get("/", operation_id="front", response_class=HTMLResponse)
def front() -> HTMLResponse:
    """Says what is here; holds no data and asks for no key."""
    return HTMLResponse(_PAGE, headers={"content-security-policy": _POLICY})
