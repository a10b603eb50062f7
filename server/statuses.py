# SPDX-License-Identifier: Apache-2.0
"""The status of HTTP that each error means; without FastAPI, so that workers can store it with a failed job."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from clarivox import errors

_BY_CODE: dict[str, int] = {
    "purged": 410,
    "idempotency_mismatch": 422,
    "unknown_bundle": 422,
    "owner_quota": 429,
    "task_running": 429,
    "no_scope": 403,
    "not_allowed": 403,
    "not_from_here": 403,
    "other_origin": 403,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "bad_query": 400,
    "bad_workitem": 400,
    "too_slow": 408,
    "empty_range": 416,
}
"""Codes whose status is not that of their class."""

_BROKEN = frozenset(
    {
        "bad_handover",
        "bad_layout",
        "bad_zip",
        "damaged_functional_groups",
        "damaged_header",
        "duplicate_name",
        "encrypted_zip",
        "file_changed",
        "localizer",
        "mosaic",
        "nested_zip",
        "no_input",
        "no_pixels",
        "not_enhanceable",
        "not_finite",
        "reader_failed",
        "sequence_too_deep",
        "unsafe_entry",
        "unsafe_name",
    }
)
"""Codes of FormatError for a file of a kind that is read, but that cannot be used: 422, not 415."""

_BY_CLASS: tuple[tuple[type[errors.ClarivoxError], int], ...] = (
    (errors.NotFoundError, 404),
    (errors.ConflictError, 409),
    (errors.AccessError, 401),
    (errors.BusyError, 503),
    (errors.CancelledError, 409),
    (errors.LimitError, 413),
    (errors.FormatError, 415),
    (errors.InputError, 422),
    (errors.CapacityError, 507),
)
"""The first class that fits counts; anything else is the server's own fault."""

STATUSES: dict[int, str] = {
    400: "The request is not HTTP, or its body is not what its headers say.",
    401: "Who asks is not known.",
    403: "Who asks may not do this.",
    404: "There is no such thing.",
    405: "The path does not take this method; Allow lists those that it takes.",
    406: "The answer cannot be given in this form.",
    408: "The body stopped coming.",
    409: "It does not fit the state that things are in.",
    410: "It was deleted when its time was over.",
    413: "Larger than the limits allow.",
    415: "Not an image, or not a type of content that is taken here.",
    416: "The range lies outside the file.",
    422: "The values of the request, or the image, cannot be used.",
    429: "This owner has too many jobs waiting; Retry-After says when to ask again.",
    431: "The head of the request is too large.",
    500: "The server failed.",
    503: "Not now; Retry-After says when to ask again.",
    507: "There is no room on the disk, or on the device.",
}
"""Every status of an error, in words."""


def status_of(error: errors.ClarivoxError) -> int:
    """The status of HTTP that an error means.

    >>> status_of(errors.FormatError("not an image")), status_of(errors.DigestError("differs"))
    (415, 500)
    """
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    if error.code in _BROKEN:
        return 422
    return next((status for kind, status in _BY_CLASS if isinstance(error, kind)), 500)


def retryable(status: int) -> bool:
    """Whether the same request may do better later.

    >>> retryable(503), retryable(415)
    (True, False)
    """
    return status in (408, 429, 500, 503, 507)


def described(error: errors.ClarivoxError) -> dict[str, Any]:
    """An error as a failed job keeps it, and as a problem of RFC 9457 begins.

    >>> described(errors.FormatError("not an image"))["title"]
    'Unsupported Media Type'
    """
    status = status_of(error)
    return {
        "code": error.code,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": str(error),
        "retryable": retryable(status),
    }
