# SPDX-License-Identifier: Apache-2.0
import errno
import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from clarivox.cli import serve as command
from clarivox.cli.main import app
from clarivox.cli.settings import as_table, as_yaml, changed, settings_of
from clarivox.errors import OptionError
from clarivox.server.settings import Settings

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"CLARIVOX_{name.upper()}", raising=False)


def test_a_flag_wins_over_set_over_the_environment_over_the_file(tmp_path, monkeypatch):
    file = tmp_path / "clarivox.yaml"
    file.write_text("port: 1\nthreads: 1\nlease_s: 1\nentries: 1\n")
    monkeypatch.setenv("CLARIVOX_PORT", "2")
    monkeypatch.setenv("CLARIVOX_THREADS", "2")
    monkeypatch.setenv("CLARIVOX_LEASE_S", "2")
    found = settings_of(file, ["port=3", "threads=3"], port=4)
    assert (found.port, found.threads, found.lease_s, found.entries) == (4, 3, 2, 1)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["port=99999"], "port must be less than or equal to 65535"),
        (["auth=perhaps"], "auth must be auto, on, off"),
        (["lease=3"], "there is no setting lease; did you mean lease_s"),
        (["zzz=3"], "--settings"),
        (["port"], "NAME=VALUE"),
        (["oidc_scopes={"], "not JSON"),
        (["port=many", "deidentify=perhaps"], "port must be a valid integer.*\ndeidentify must be a valid boolean"),
    ],
)
def test_a_wrong_setting_is_said_in_words(given, words):
    with pytest.raises(OptionError, match=words):
        settings_of(None, given)


def test_a_wrong_file_is_said_in_words(tmp_path):
    file = tmp_path / "clarivox.yaml"
    with pytest.raises(OptionError, match="there is no file"):
        settings_of(file, ())
    for text, words in (
        ("prot: 80", "did you mean port"),
        ("a: [", "not a list of NAME"),
        ("- a", "not a list of NAME"),
    ):
        file.write_text(text)
        with pytest.raises(OptionError, match=words):
            settings_of(file, ())


def test_a_wrong_value_is_never_repeated():
    """It could be a password."""
    with pytest.raises(OptionError) as caught:
        settings_of(None, ["database=postgresql://me:hunter2@there/x", "port=hunter2"])
    assert "hunter2" not in str(caught.value)


def test_the_settings_are_printed_as_a_file_that_gives_them_again(tmp_path):
    wanted = settings_of(None, ["port=9000", "cors_origins=https://a,https://b", "devices=cpu", "otlp_endpoint=a: b"])
    file = tmp_path / "clarivox.yaml"
    file.write_text(as_yaml(wanted))
    assert settings_of(file, ()) == wanted
    every = re.sub(rf"^# ((?:{'|'.join(Settings.model_fields)}): )", r"\1", as_yaml(Settings()), flags=re.MULTILINE)
    file.write_text(every)
    assert set(Settings.model_fields) <= {line.split(":")[0] for line in every.splitlines()}
    assert settings_of(file, ()) == Settings()
    assert set(yaml.safe_load(every)) == set(Settings.model_fields)


def test_a_secret_is_shown_as_dots():
    secret = settings_of(None, ["database=postgresql+psycopg://me:hunter2@there/x"])
    assert dict(changed(secret)) == {"database": "**********"}
    assert "hunter2" not in as_yaml(secret)


def test_the_table_of_settings_in_the_documentation_is_the_one_that_is_printed():
    page = (ROOT / "docs" / "server.md").read_text()
    assert as_table(Settings) in page, "run: python -m tests.settings, and put what it prints into docs/server.md"


def test_serve_says_where_it_is_and_what_to_do_next(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("clarivox.server.main.serve", lambda settings, ready: ready("http://0.0.0.0:9"))
    ran = CliRunner().invoke(app, ["serve", "--host", "0.0.0.0", "--data", str(tmp_path), "--bundles", str(tmp_path)])
    assert ran.exit_code == 0
    for words in ("serves http://0.0.0.0:9", "unencrypted", "clarivox keys create", "$CLARIVOX_KEY", "/admin"):
        assert words in ran.stdout


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EADDRINUSE, "--port 0"), (errno.EACCES, "above 1023"), (errno.EADDRNOTAVAIL, "no address"), (99999, "odd")],
)
def test_an_address_that_cannot_be_had_is_said_in_words(number, words):
    assert words in command.refused(Settings(), OSError(number, "odd"))


def test_it_refuses_to_be_open_to_everybody(tmp_path):
    ran = CliRunner().invoke(app, ["serve", "--host", "0.0.0.0", "--data", str(tmp_path), "--set", "auth=off"])
    assert ran.exit_code == 2 and "[open_address]" in ran.stderr and json.dumps(str(tmp_path)) not in ran.stdout


def test_without_its_packages_the_server_says_how_to_get_them(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "fastapi" else found(name))
    with pytest.raises(OptionError, match=r"\(fastapi\); pip install 'clarivox\[server\]'"):
        settings_of(None, ())
