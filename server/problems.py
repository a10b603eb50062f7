# SPDX-License-Identifier: Apache-2.0
"""Every error as a problem of RFC 9457, with a stable code, the right status and the headers it needs."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi_problem.error import Problem
from fastapi_problem.handler import ExceptionHandler, add_exception_handler, new_exception_handler
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match

from clarivox.errors import (
    AccessError,
    BusyError,
    CapacityError,
    ClarivoxError,
    ConflictError,
    FormatError,
    InputError,
    LimitError,
    NotFoundError,
    ServiceError,
)
from clarivox.io.atomic import NO_ROOM
from clarivox.server.statuses import STATUSES, retryable, status_of

log = logging.getLogger(__name__)

MEDIA = "application/problem+json"
FAULTS: tuple[type[Exception], ...] = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError),
    *(RuntimeError, TypeError, ValueError),
)
"""What a mistake of ours raises."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def problem_of(error: ClarivoxError, headers: dict[str, str] | None = None, **more: Any) -> Problem:
    """The problem that an error of ours is.

    >>> problem_of(FormatError("not an image")).status
    415
    """
    status = status_of(error)
    given = dict(headers or {})
    if isinstance(error, BusyError):
        given.setdefault("Retry-After", str(max(1, round(error.retry_after_s))))
    if isinstance(error, CapacityError):
        given.setdefault("Retry-After", "60")
    if status == 401:
        given.setdefault("WWW-Authenticate", 'Bearer realm="clarivox"')
    if status in (408, 413):
        given["Connection"] = "close"  # the rest of the body is not wanted
    return Problem(
        HTTPStatus(status).phrase,
        type_=f"urn:clarivox:{error.code}",
        detail=str(error),
        status=status,
        headers=given,
        code=error.code,
        retryable=retryable(status),
        **more,
    )


def install(app: FastAPI) -> None:
    """Let every error of the application be answered as a problem."""
    handler = new_exception_handler(
        unhandled_wrappers=None,
        handlers={
            ClarivoxError: _ours,
            SQLAlchemyError: _database,
            OSError: _system,
            Exception: _unexpected,
        },
        http_exception_handler=_http,
        request_validation_handler=_validation,
        strict_rfc9457=False,
    )
    # The order of a dict counts: what is named by the framework comes before any other exception.
    handler.handlers = {kind: handler.handlers[kind] for kind in sorted(handler.handlers, key=_depth, reverse=True)}
    plain = app.openapi
    add_exception_handler(app, handler)
    app.openapi = plain  # type: ignore[method-assign]
    # Starlette answers what is only an `Exception` outside of all layers, where neither log nor audit sees it.
    for kind in (ClarivoxError, SQLAlchemyError, OSError, *FAULTS):
        app.add_exception_handler(kind, handler)


def _depth(kind: type[Exception]) -> int:
    return len(kind.__mro__)


def _ours(_handler: ExceptionHandler, request: Request, error: ClarivoxError) -> Problem:
    job = request.path_params.get("job_id") or getattr(request.state, "job_id", None)
    headers = getattr(request.state, "problem_headers", None)
    return problem_of(error, headers, job=str(job)) if job else problem_of(error, headers)


def _database(_handler: ExceptionHandler, _request: Request, _error: SQLAlchemyError) -> Problem:
    return problem_of(BusyError("the database does not answer; ask again", code="database"))


def _system(_handler: ExceptionHandler, _request: Request, error: OSError) -> Problem:
    if error.errno in NO_ROOM:
        return problem_of(CapacityError("the disk of the server is full; ask its operator", code="disk_full"))
    return problem_of(_fault(error))


def _unexpected(_handler: ExceptionHandler, _request: Request, error: Exception) -> Problem:
    return problem_of(_fault(error))


def _fault(error: Exception) -> ServiceError:
    """The text of a stranger's exception may name a patient, so it is never told; the log has where it was raised."""
    log.error("a request failed", exc_info=error)
    return ServiceError("the server failed; its log has the time of it", code="server_fault")


def _http(_handler: ExceptionHandler, request: Request, error: HTTPException) -> Problem:
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(allowed(request))
    return problem_of(_translated(error), headers)


def _translated(error: HTTPException) -> ClarivoxError:
    """The framework's own refusals in our words."""
    match error.status_code:
        case 401:
            return AccessError("say who you are: Authorization: Bearer KEY")
        case 403:
            return AccessError("this key may not do that", code="not_allowed")
        case 404:
            return NotFoundError("there is no such path; /docs lists those that there are", code="no_such_path")
        case 405:
            return ConflictError("this path does not take this method", code="method_not_allowed")
        case 406:
            return InputError("the answer cannot be given in this form", code="not_acceptable")
        case 408:
            return InputError("the body stopped coming; send it again", code="too_slow")
        case 413:
            return LimitError("the body is larger than the server takes", code="body_too_large")
        case 415:
            return FormatError("this type of content is not taken here", code="unsupported_media")
        case 416:
            return InputError("the range lies outside the file", code="empty_range")
        case 503:
            return BusyError("not now; ask again", code="busy")
        case status if status >= 500:
            return _fault(error)
        case _:
            return InputError("the body is not what its headers say", code="bad_request")


def allowed(request: Request) -> list[str]:
    """The methods that the path of a request takes, over all routes; a route of FastAPI has one each."""
    found = set()
    for method in METHODS:
        scope = {**request.scope, "method": method}
        if any(_matches(route, scope) for route in request.app.router.routes):
            found.add(method)
    return [method for method in METHODS if method in found]


def _matches(route: BaseRoute, scope: dict[str, Any]) -> bool:
    return route.matches(scope)[0] is Match.FULL


def _validation(_handler: ExceptionHandler, _request: Request, error: RequestValidationError) -> Problem:
    """What is wrong and where, without the values: they may be a patient's."""
    found = [{"loc": list(one["loc"]), "msg": one["msg"], "type": one["type"]} for one in error.errors()]
    errors = json.loads(json.dumps(found, default=str))
    where = ".".join(str(part) for part in errors[0]["loc"]) if errors else "the request"
    says = errors[0]["msg"] if errors else "is not valid"
    return problem_of(InputError(f"{where}: {says}", code="bad_request"), errors=errors)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route documents for the statuses of errors that it can answer.

    >>> sorted(responses(404))
    [404]
    """
    return {
        status: {
            "description": STATUSES[status],
            "content": {MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }
