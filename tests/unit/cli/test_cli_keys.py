# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from clarivox.cli.main import app
from clarivox.server.main import create_app
from clarivox.server.settings import Settings


@pytest.fixture
def ran(tmp_path):
    def run(*words):
        return CliRunner().invoke(app, ["keys", *words, "--data", str(tmp_path)])

    return run


def test_a_key_opens_a_running_server_until_it_is_revoked(ran, tmp_path):
    with TestClient(create_app(Settings(data_dir=tmp_path, auth="on"), workers=False)) as client:
        made = ran("create", "operator", "--scope", "admin")
        key = made.stdout.strip()
        assert made.exit_code == 0 and key.startswith("cvx_") and "not shown again" in made.stderr

        def status():
            return client.get("/admin/standing", headers={"Authorization": f"Bearer {key}"}).status_code

        assert status() == 200
        (row,) = json.loads(ran("list", "--json").stdout)
        assert (row["label"], row["scopes"], row["revoked"]) == ("operator", ["admin"], None)
        assert key not in ran("list").stdout
        assert "is revoked" in ran("revoke", row["id"]).stdout
        client.app.state.auth._known.clear()
        assert status() == 401
        assert json.loads(ran("list", "--json").stdout)[0]["revoked"]


def test_what_is_wrong_with_a_key_is_said(ran):
    assert "[bad_scope]" in ran("create", "x", "--scope", "everything").stderr
    assert "[no_such_key]" in ran("revoke", "none").stderr
    assert json.loads(ran("create", "x", "--json").stdout)["scopes"] == ["infer", "read"]
