# SPDX-License-Identifier: Apache-2.0
"""Every route of the application against every kind of credential: none is open by mistake."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter, Depends
from starlette.testclient import TestClient

from clarivox.server.auth import OPEN, Reader, Scope, require
from clarivox.server.main import create_app
from clarivox.server.settings import Settings
from tests.credentials import Credential
from tests.routes import Way, guarded, mistakes, unscoped, ways

Guarded = tuple[TestClient, list[Way], dict[str, Credential]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("data")) as everything:
        yield everything


NAMES = """
read key|infer key|admin key|key of all scopes|token of a user|token of an admin|token without a role
token of an unknown role|nothing|an empty header|no value|Basic|a word|wrong key|key cut short|key without a secret
unknown key|revoked key|hash of a key|expired token|token of tomorrow|token without an end|token for another audience
token without an audience|token of another issuer|token without a subject|token signed by a stranger
token of an unknown key|token with another body|token without a signature|alg none|alg HS256 with the public key
token with a key of its own|a long word
"""


def test_the_table_has_every_credential(served: Guarded):
    assert sorted(name for line in NAMES.split("\n") for name in line.split("|") if name) == sorted(served[2])


@pytest.mark.parametrize("name", [name for line in NAMES.split("\n") for name in line.split("|") if name])
def test_no_route_is_open_by_mistake(served: Guarded, name: str):
    client, found, table = served
    assert mistakes(client, found, table[name]) == []


def test_every_route_asks_for_a_scope_or_is_listed_as_open(served: Guarded):
    assert unscoped(served[0].app) == []  # type: ignore[arg-type]


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
            assert not re.search(r"(src|href|action)=[\"']?(https?:)?//", answer.text), path
            assert not re.search(rf"{re.escape(str(tmp_path))}|key-[0-9a-f]{{12}}", answer.text), path


def test_ohif_at_the_root_opens_nothing_but_itself(tmp_path: Path):
    (tmp_path / "ohif").mkdir()
    (tmp_path / "ohif" / "index.html").write_text("the viewer")
    (tmp_path / "secret").write_text("a secret")
    settings = Settings(data_dir=tmp_path / "data", auth="on", viewer=True, viewer_dir=tmp_path / "ohif")
    app = create_app(settings, workers=False)
    theirs = {"/app-config.js", "/{path:theirs}"}
    assert {way.path for way in unscoped(app)} == theirs
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
        found = [way for way in ways(app) if way.path not in theirs]
        assert len(found) > 100
        assert mistakes(client, found, Credential(None, None)) == []
        for path in (
            "//v1/jobs",
            "/./v1/jobs",
            "/V1/jobs",
            "/x/../v1/jobs",
            "/;v1/jobs",
            "/x/%2e%2e/%2e%2e/secret",
            "/%2e%2e/secret",
        ):
            answer = client.get(path)
            assert answer.status_code in (401, 404) or answer.text == "the viewer", path
