# SPDX-License-Identifier: Apache-2.0
"""`/docs`: the interface as a page to read, made here from /openapi.json; without a script, and from nowhere else.

FastAPI's own page loads a program from a public address: it would run beside the pages that hold an operator's key.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

STYLE = """
:root{color-scheme:dark light;--line:#8884;--dim:#888}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h2{margin-top:2.4rem}details{border-top:1px solid var(--line);padding:.45rem 0}
summary{cursor:pointer}summary b{display:inline-block;min-width:4.5rem}
code,pre{font:13px/1.45 ui-monospace,monospace}summary span,.dim{color:var(--dim)}
table{border-collapse:collapse;margin:.6rem 0}td,th{text-align:left;padding:.15rem 1.2rem .15rem 0;vertical-align:top}
nav a{margin-right:1rem}p{max-width:46rem}
"""
DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{DIGEST}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@router.get("/docs")
def reference(request: Request) -> HTMLResponse:
    """The page."""
    state = request.app.state
    if not hasattr(state, "reference"):
        state.reference = page(request.app.openapi())
    return HTMLResponse(state.reference, headers=HEADERS)


def page(schema: dict[str, Any]) -> str:
    """An OpenAPI description as HTML.

    >>> "<title>toy" in page({"info": {"title": "toy", "version": "1"}, "paths": {}})
    True
    """
    info = schema["info"]
    groups: dict[str, list[str]] = {}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            if isinstance(operation, dict) and "responses" in operation:
                group = (operation.get("tags") or ["other"])[0]
                groups.setdefault(group, []).append("".join(_operation(method, path, operation)))
    title = f"{escape(info['title'])} {escape(info['version'])}"
    links = "".join(f'<a href="#{_anchor(group)}">{escape(group)}</a>' for group in groups)
    body = "".join(f'<h2 id="{_anchor(group)}">{escape(group)}</h2>{"".join(all_)}' for group, all_ in groups.items())
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{title}</title>"
        f'<meta name=viewport content="width=device-width, initial-scale=1"><link rel=icon href="data:,">'
        f"<style>{STYLE}</style></head><body><h1>{title}</h1><p>{escape(info.get('summary') or '')} "
        'For programs: <a href="/openapi.json">/openapi.json</a>. Where a key is needed, send <code>Authorization: '
        f"Bearer KEY</code>.</p><nav>{links}</nav>{body}</body></html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    says, *more = (operation.get("description") or operation.get("summary") or "").split("\n\n")
    yield f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> <span>{escape(says)}</span></summary>"
    for paragraph in more:
        yield f"<p>{escape(paragraph)}</p>"
    parameters = [one for one in operation.get("parameters", ()) if "name" in one]
    if parameters:
        yield "<table><tr><th>parameter<th>in<th>type<th>meaning</tr>"
        for one in parameters:
            cells = (f"<code>{escape(one['name'])}</code>", escape(one["in"]), escape(_type(one.get("schema") or {})))
            yield "<tr>" + "".join(f"<td>{cell}" for cell in cells) + f"<td>{escape(one.get('description') or '')}</tr>"
        yield "</table>"
    body = (operation.get("requestBody") or {}).get("content") or {}
    if body:
        yield f"<p class=dim>Body: {', '.join(f'<code>{escape(media)}</code>' for media in body)}</p>"
    yield "<table><tr><th>status<th>means</tr>"
    for status, answer in operation["responses"].items():
        yield f"<tr><td>{escape(str(status))}<td>{escape(answer.get('description') or '')}</tr>"
    yield "</table></details>"


def _type(schema: dict[str, Any]) -> str:
    """A schema in a word or two.

    >>> _type({"anyOf": [{"type": "integer"}, {"type": "null"}]}), _type({"$ref": "#/components/schemas/Job"})
    ('integer', 'Job')
    """
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(one) for one in schema["anyOf"] if one.get("type") != "null"))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items') or {})}"
    return str(schema.get("type", "any"))


def _anchor(group: str) -> str:
    return escape(group.lower().replace(" ", "-"), quote=True)
