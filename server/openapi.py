# SPDX-License-Identifier: Apache-2.0
"""The description of the interface, clean enough to generate clients from."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from clarivox.server.auth import OPEN
from clarivox.server.problems import responses
from clarivox.server.statuses import STATUSES

VERBS = ("get", "put", "post", "delete", "patch", "head", "options")

PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "description": "An error, after RFC 9457.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "description": "urn:clarivox: and the code."},
        "title": {"type": "string"},
        "status": {"type": "integer", "enum": sorted(STATUSES)},
        "detail": {"type": "string", "description": "What was asked, what was found, and what to do."},
        "code": {"type": "string", "description": "A stable name; docs/errors.md lists them."},
        "retryable": {"type": "boolean", "description": "Whether the same request may do better later."},
        "job": {"type": "string", "description": "The job that it is about."},
        "errors": {
            "type": "array",
            "description": "Each value that is wrong.",
            "items": {
                "type": "object",
                "required": ["loc", "msg", "type"],
                "properties": {
                    "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                    "msg": {"type": "string"},
                    "type": {"type": "string"},
                },
            },
        },
    },
}


def describe(app: FastAPI) -> None:
    """Give an application the description that this module makes; it is made once, when first asked for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = described(
                get_openapi(
                    title=app.title, version=app.version, summary=app.summary, routes=app.routes, tags=app.openapi_tags
                )
            )
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def described(schema: dict[str, Any]) -> dict[str, Any]:
    """The framework's description, with every answer that a route can give."""
    parts = schema.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        parts.pop(unused, None)
    parts["Problem"] = PROBLEM
    for path, methods in schema.get("paths", {}).items():
        for verb in VERBS:
            if verb in methods:
                complete(path, verb, methods[verb])
    return schema


def complete(path: str, verb: str, operation: dict[str, Any]) -> None:
    """Add to a route the errors that any route of its kind can answer with."""
    found = operation.setdefault("responses", {})
    if "problem" not in str(found.get("422")):
        found.pop("422", None)
    for said in found.values():
        for content in said.get("content", {}).values():
            if "itemSchema" in content:  # of OpenAPI 3.2, and this is 3.1
                content["schema"] = content.pop("itemSchema")
    for one in operation.get("parameters", ()):
        one["schema"] = plain(one["schema"])
    general = [400, 403, 404, 422, 431, 500, 503, 507]
    if verb not in ("get", "head"):
        general += [409]
    if "requestBody" in operation:
        general += [408, 413, 415]
    if path in OPEN:
        operation.pop("security", None)
    else:
        general += [401]
        operation.setdefault("security", [{"HTTPBearer": []}])
    for status, said in responses(*general).items():
        found.setdefault(str(status), said)
    operation["responses"] = dict(sorted(found.items()))


def plain(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter that may be left out, without saying that it may be null: no address holds one.

    >>> plain({"anyOf": [{"type": "string"}, {"type": "null"}], "title": "A"})
    {'title': 'A', 'type': 'string'}
    """
    choices = schema.get("anyOf", [])
    kept = [one for one in choices if one != {"type": "null"}]
    if len(kept) != 1 or len(kept) == len(choices):
        return schema
    return {**{key: value for key, value in schema.items() if key not in ("anyOf", "default")}, **kept[0]}
