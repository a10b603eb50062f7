# SPDX-License-Identifier: Apache-2.0
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import FastAPI, File, UploadFile
from starlette.testclient import TestClient

from clarivox.errors import CapacityError
from clarivox.server import problems
from clarivox.server.audit import Audit
from clarivox.server.auth import Admin, Inferer, KeyRow, Reader
from clarivox.server.protection import protect
from clarivox.server.settings import Settings


class NoKeys:
    def find(self, key_id: str) -> KeyRow | None:
        return None

    def used(self, key_id: str) -> None:
        pass


def client(folder: Path, host: str = "127.0.0.1:8000", **settings: object) -> TestClient:
    """A small application behind the layers of the real one."""
    app = FastAPI()
    app.state.read = 0

    @app.get("/things/{thing}")
    def read(thing: str, caller: Reader) -> str:
        return caller.owner

    @app.post("/things", status_code=201)
    def make(file: Annotated[UploadFile, File()], caller: Inferer) -> int:
        app.state.read += 1
        return file.size or 0

    @app.delete("/things/{job_id}")
    def delete(job_id: str, caller: Admin) -> None:
        pass

    @app.get("/metrics")
    def metrics() -> str:
        return "up 1"

    protect(app, Settings(data_dir=folder, **settings), NoKeys(), Audit(folder))
    problems.install(app)
    return TestClient(app, base_url=f"http://{host}", client=("127.0.0.1", 5000))


@pytest.fixture
def local(tmp_path: Path) -> Iterator[TestClient]:
    yield client(tmp_path)


def records(folder: Path) -> list[dict[str, object]]:
    file = folder / "audit.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_without_a_key_the_body_is_not_even_read(tmp_path: Path):
    shut = client(tmp_path, auth="on")

    def body() -> Iterator[bytes]:
        raise AssertionError("the body was asked for")
        yield b""

    answer = shut.post("/things", content=body(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "no_credentials"
    assert shut.app.state.read == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "192.0.2.4", "127.0.0.1.evil.example"])
def test_a_name_that_points_here_gives_a_page_nothing(tmp_path: Path, host: str):
    """DNS rebinding: a page of evil.example asks evil.example, which now is 127.0.0.1."""
    answer = client(tmp_path, host).get("/things/1")
    assert (answer.status_code, answer.json()["code"]) == (403, "not_from_here")


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "clarivox.localhost", "pc7"])
def test_names_of_this_machine_are_answered(tmp_path: Path, host: str):
    assert client(tmp_path, host).get("/things/1").json() == "local"


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Real-IP"])
def test_a_proxy_cannot_open_to_the_world_what_needs_no_key(local: TestClient, header: str):
    assert local.get("/things/1", headers={header: "192.0.2.1"}).status_code == 403
    folder = local.app.state.auth.settings.data_dir  # type: ignore[attr-defined]
    assert client(folder, allow_open=True).get("/things/1", headers={header: "192.0.2.1"}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"Origin": "http://127.0.0.1:8000"}, 201),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
    ],
)
def test_a_page_of_another_site_cannot_act_for_its_reader(local: TestClient, headers: dict[str, str], status: int):
    assert local.post("/things", files={"file": b"x"}, headers=headers).status_code == status


def test_no_other_origin_may_read_by_default(local: TestClient):
    answer = local.get("/things/1", headers={"Origin": "https://viewer.example"})
    assert "access-control-allow-origin" not in answer.headers
    asked = {"Origin": "https://viewer.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in local.options("/things", headers=asked).headers


@pytest.mark.parametrize("auth", ["on", "off"])
def test_an_origin_that_is_named_may(tmp_path: Path, auth: str):
    open_to = client(tmp_path, cors_origins=("https://viewer.example",), auth=auth)
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for origin, allowed in (("https://viewer.example", True), ("https://evil.example", False)):
        answer = open_to.options("/things", headers={**asked, "Origin": origin})
        assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
        assert "access-control-allow-credentials" not in answer.headers
    if auth == "off":
        headers = {"Origin": "https://viewer.example"}
        assert open_to.post("/things", files={"file": b"x"}, headers=headers).status_code == 201


def test_metrics_are_for_this_machine_itself(tmp_path: Path):
    shut = client(tmp_path, auth="on")
    assert shut.get("/metrics").status_code == 200
    assert shut.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 401
    far = TestClient(shut.app, client=("192.0.2.1", 5000))
    assert far.get("/metrics").status_code == 401
    assert client(tmp_path, auth="on", metrics_open=False).get("/metrics").status_code == 401


def test_each_access_makes_one_record(local: TestClient, tmp_path: Path):
    local.get("/things/Smith^John")
    local.get("/things/2?image=Smith")
    local.post("/things", files={"file": ("Smith^John.dcm", b"x")})
    local.delete("/things/01890a5d-ac96-774b-bcce-b302099a8057")
    local.get("/metrics")
    local.get("/nowhere/Smith")
    found = records(tmp_path)
    assert [(one["method"], one["route"], one["status"]) for one in found] == [
        ("GET", "/things/{thing}", 200),
        ("GET", "/things/{thing}", 200),
        ("POST", "/things", 201),
        ("DELETE", "/things/{job_id}", 200),
    ]
    assert found[3]["object"] == "01890a5d-ac96-774b-bcce-b302099a8057"
    assert str(found[0]["object"]).startswith("h-")
    assert "Smith" not in (tmp_path / "audit.jsonl").read_text()


def test_who_is_sent_away_is_recorded_too(tmp_path: Path):
    shut = client(tmp_path, auth="on")
    shut.get("/things/1")
    shut.get("/things/1", headers={"Authorization": "Bearer sesame"})
    assert [(one["event"], one["status"], one["actor"]) for one in records(tmp_path)] == [
        ("login", 401, "unknown"),
        ("login", 401, "unknown"),
    ]


def test_nobody_gets_what_cannot_be_written_down(local: TestClient, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise CapacityError("the audit log cannot be written", code="audit_full")

    monkeypatch.setattr(Audit, "record", full)
    answer = local.get("/things/secret")
    assert (answer.status_code, answer.json()["code"]) == (507, "audit_full")
    assert "local" not in answer.text.replace("localhost", "")
