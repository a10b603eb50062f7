# SPDX-License-Identifier: Apache-2.0
"""`/auth/` of MONAI Label: 3D Slicer asks for name and password; the password is an API key, and so is the token."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request

from clarivox.errors import NotFoundError
from clarivox.server.auth import Auth, Reader, Scope
from clarivox.server.problems import responses

router = APIRouter(prefix="/auth", tags=["MONAI Label"], responses=responses(401, 403, 404, 422, 503))

_ROLES = {Scope.READ: ["user"], Scope.INFER: ["user", "annotator", "reviewer"], Scope.ADMIN: ["admin"]}


def _auth(request: Request) -> Auth:
    """Who knows the keys.

    Raises:
        NotFoundError: no keys are needed (code auth_off): by this status the clients know.
    """
    auth: Auth = request.app.state.auth
    if not auth.needed:
        raise NotFoundError("no key is needed here", code="auth_off")
    return auth


@router.get("/", operation_id="monailabel_auth")
def enabled(request: Request) -> dict[str, Any]:
    """That a key is needed; 404 where none is."""
    settings = _auth(request).settings
    return {"enabled": True, "client_id": settings.oidc_audience, "realm": settings.oidc_issuer}


@router.post("/token", operation_id="monailabel_auth_token")
def token(
    request: Request,
    password: Annotated[str, Form(description="An API key.", max_length=8192)],
    username: Annotated[str, Form(description="Not looked at: a key says whose it is.", max_length=255)] = "",
    grant_type: Annotated[str, Form(max_length=64)] = "password",
) -> dict[str, str]:
    """The key as a token, where it is good."""
    _auth(request).caller(password)
    return {"access_token": password, "token_type": "bearer"}


@router.get("/token/valid", operation_id="monailabel_auth_valid")
def valid(request: Request, caller: Reader) -> dict[str, Any]:
    """Who the token is of."""
    _auth(request)
    roles = sorted({role for scope in caller.scopes for role in _ROLES.get(Scope(scope), [])})
    return {"username": caller.owner, "email": "", "name": caller.owner, "roles": roles}
