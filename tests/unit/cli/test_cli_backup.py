# SPDX-License-Identifier: Apache-2.0
import pytest
from typer.testing import CliRunner

from clarivox.cli.main import app
from clarivox.server.job import NewJob
from clarivox.server.ledger import Ledger
from clarivox.server.settings import Settings


def opened(folder):
    folder.mkdir(exist_ok=True)
    settings = Settings(data_dir=folder)
    ledger = Ledger(settings.ledger_url, settings=settings)
    ledger.open()
    return ledger


@pytest.fixture
def ran(tmp_path):
    def run(command, data, code=0):
        done = CliRunner().invoke(app, [command, str(tmp_path / "copy"), "--data", str(tmp_path / data)])
        assert done.exit_code == code, done.output
        return done.output

    return run


def test_a_backup_of_a_working_server_comes_back_with_its_jobs(ran, tmp_path):
    ledger = opened(tmp_path / "data")
    job = ledger.submit(NewJob(owner="me", inputs=(), bundle="identity"))[0]
    assert "1 jobs and 0 files" in ran("backup", "data")
    ledger.close()
    assert "[output_exists]" in ran("backup", "data", code=6)
    assert "1 jobs and 0 files" in ran("restore", "other")
    again = opened(tmp_path / "other")
    assert again.get(job.id).state == "queued"
    again.close()


def test_what_is_wrong_is_said(ran, tmp_path):
    assert "--data" in ran("backup", "nothing", code=2)
    assert "error [" in ran("restore", "nothing", code=3)
