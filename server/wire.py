# SPDX-License-Identifier: Apache-2.0
"""Headers and bodies that several routes describe alike."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header, Query

from clarivox.server.intake import RAW
from clarivox.server.schemas import JobRequest, Params, Wish

WAIT_S = 60.0
"""The longest that a request may wait."""

IDEMPOTENCY = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x20-\x7e]+$",
        description="The same key makes one job, however often it is sent.",
    ),
]
PREFER = Annotated[
    str | None,
    Header(alias="Prefer", max_length=255, description="wait=N: answer with the ended job, if it ends so soon."),
]
Wait = Annotated[float, Query(ge=0, le=WAIT_S, allow_inf_nan=False, description="Seconds to wait for a change.")]


BINARY = {"schema": {"type": "string", "format": "binary"}}
IMAGE = dict.fromkeys(
    ("application/octet-stream", "application/zip", "application/gzip", "image/png", "image/tiff"), BINARY
)
"""What a result can be."""
PAGE = {"text/html": {"schema": {"type": "string"}}}


def inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without references; the schemas of a request are small and do not nest in themselves."""
    parts = schema.pop("$defs", {})

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return walk(
                    {**parts[node["$ref"].rsplit("/", 1)[-1]], **{k: v for k, v in node.items() if k != "$ref"}}
                )
            return {key: walk(value) for key, value in node.items()}
        return [walk(one) for one in node] if isinstance(node, list) else node

    found: dict[str, Any] = walk(schema)
    return found


def fields() -> dict[str, dict[str, Any]]:
    """What a form, or a query, may say: the wishes and the parameters side by side; objects as JSON."""
    wish, params = inlined(Wish.model_json_schema()), inlined(Params.model_json_schema())
    every = {**wish["properties"], **params["properties"]}
    found = {}
    for name, schema in every.items():
        if schema.get("type") == "object":
            schema = {"type": "string", "description": schema.get("description", "") + " As JSON.", "default": "{}"}
        found[name] = schema
    return found


def request() -> dict[str, Any]:
    """The body of a request for a job, in each form that it may take."""
    file = {"type": "string", "format": "binary"}
    form = {
        "type": "object",
        "required": ["file", "bundle"],
        "properties": {
            "file": {
                **file,
                "description": "The image; several times for the files of a series. Any name does.",
            },
            "like": {**file, "description": "A DICOM series whose headers the result takes."},
            **fields(),
        },
    }
    content: dict[str, Any] = {
        "multipart/form-data": {"schema": form},
        "application/json": {"schema": inlined(JobRequest.model_json_schema())},
        "application/octet-stream": {"schema": file},
    }
    description = f"A form, JSON that names files, or one file; its type may also be {', '.join(RAW[1:])}."
    query = [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": "With a raw body."}
        for name, schema in fields().items()
    ]
    return {"requestBody": {"required": True, "description": description, "content": content}, "parameters": query}


REQUEST = request()
