# SPDX-License-Identifier: Apache-2.0
"""Every route of the application against every kind of credential: none is open by mistake."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import iter_route_contexts
from starlette.testclient import TestClient

from clarivox.server.auth import OPEN, Reader, Scope, require
from clarivox.server.main import create_app
from clarivox.server.settings import Settings
from tests.credentials import Credential, credentials
from tests.issuer import issuer

OPEN_ROUTES = frozenset(OPEN) | {"/metrics"}
"""Routes that need no scope. /metrics is open to this machine itself, and the gate asks everyone else for a key."""


@dataclass(frozen=True)
class Way:
    """A method on a path, and the scope that it asks for."""

    method: str
    path: str
    scope: str | None

    @property
    def address(self) -> str:
        """A path that the pattern fits."""
        return re.sub(r"\{[^}]*\}", "0" * 8, self.path)


def ways(app: FastAPI) -> list[Way]:
    """Every method on every path that the application answers."""
    found = []
    for context in iter_route_contexts(app.router.routes):
        scopes = _scopes(getattr(context, "dependant", None))
        assert len(scopes) <= 1, f"{context.path} asks for {scopes}"
        found += [Way(method, str(context.path), next(iter(scopes), None)) for method in context.methods or ()]
    return sorted(set(found), key=str)


def _scopes(dependant: Any) -> set[str]:
    if dependant is None:
        return set()
    own = getattr(dependant.call, "scope", None)
    return ({str(own)} if isinstance(own, Scope) else set()).union(*map(_scopes, dependant.dependencies))


def unscoped(app: FastAPI) -> list[Way]:
    """Routes that ask for no scope and are not listed as open."""
    return [way for way in ways(app) if way.scope is None and way.path not in OPEN_ROUTES]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, list[Way], dict[str, Credential]]]:
    with issuer() as provider:
        settings = Settings(data_dir=tmp_path_factory.mktemp("data"), auth="on", oidc_issuer=provider.url)
        app = create_app(settings, workers=False)
        with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
            # A route that lets somebody in must not do anything here.
            found = ways(app)
            for context in iter_route_contexts(app.router.routes):
                dependant = getattr(context, "dependant", None)
                if dependant is not None:
                    dependant.call = _nothing
            yield client, found, credentials(app.state.auth.keys, provider)


def _nothing(**_: Any) -> None:
    pass


NAMES = """
read key|infer key|admin key|key of all scopes|token of a user|token of an admin|token without a role
token of an unknown role|nothing|an empty header|no value|Basic|a word|wrong key|key cut short|key without a secret
unknown key|revoked key|hash of a key|expired token|token of tomorrow|token without an end|token for another audience
token without an audience|token of another issuer|token without a subject|token signed by a stranger
token of an unknown key|token with another body|token without a signature|alg none|alg HS256 with the public key
token with a key of its own|a long word
"""


def test_the_table_has_every_credential(served: Any):
    assert sorted(name for line in NAMES.split("\n") for name in line.split("|") if name) == sorted(served[2])


@pytest.mark.parametrize("name", [name for line in NAMES.split("\n") for name in line.split("|") if name])
def test_no_route_is_open_by_mistake(served: Any, name: str):
    client, found, table = served
    shown = table[name]
    headers = {} if shown.header is None else {"Authorization": shown.header}
    wrong = []
    for way in found:
        if way.path in OPEN_ROUTES and way.path != "/metrics":
            continue
        status = client.request(way.method, way.address, headers=headers).status_code
        if shown.scopes is None:
            right = status == 401
        elif way.scope is None or way.scope in shown.scopes:
            right = status not in (401, 403)
        else:
            right = status == 403
        if not right:
            wrong.append((way, status))
    assert wrong == []


def test_every_route_asks_for_a_scope_or_is_listed_as_open(served: Any):
    assert unscoped(served[0].app) == []


def test_a_new_route_without_a_scope_is_found(tmp_path: Path):
    app = create_app(Settings(data_dir=tmp_path, auth="on"), workers=False)
    inner, router = APIRouter(), APIRouter(prefix="/new")

    @inner.get("/forgotten/{name}")
    def forgotten(name: str) -> str:
        return name

    @inner.get("/asked")
    def asked(caller: Reader) -> str:
        return caller.owner

    @inner.put("/asked", dependencies=[Depends(require(Scope.ADMIN))])
    def put() -> None:
        pass

    router.include_router(inner, prefix="/deep")
    before = len(ways(app))
    app.include_router(router)
    assert unscoped(app) == [Way("GET", "/new/deep/forgotten/{name}", None)]
    assert len(ways(app)) == before + 3
    assert TestClient(app).get("/new/deep/forgotten/x").status_code == 401


def test_what_is_open_says_nothing_about_anybody(tmp_path: Path):
    """The open paths are pages or states; their answers name no key, job or folder."""
    app = create_app(Settings(data_dir=tmp_path, auth="on"), workers=False)
    with TestClient(app) as client:
        for path in OPEN:
            answer = client.get(path)
            assert answer.status_code in (200, 404, 405, 503), path
            assert not re.search(rf"{re.escape(str(tmp_path))}|key-[0-9a-f]{{12}}", answer.text), path
