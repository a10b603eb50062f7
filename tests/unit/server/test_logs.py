# SPDX-License-Identifier: Apache-2.0
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from clarivox.errors import SeriesError
from clarivox.server.logs import Kept, configure, job_bound, log
from clarivox.server.settings import Settings

NAME = "Smith^John"


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    root = logging.getLogger()
    kept, level, hook = root.handlers[:], root.level, sys.excepthook
    root.handlers = []
    configure(Settings(data_dir=tmp_path, log_format="json"), "worker")
    logging.raiseExceptions = True

    def read() -> list[dict[str, Any]]:
        said = [json.loads(line) for line in screen.getvalue().splitlines()]
        file = tmp_path / "log" / "clarivox.jsonl"
        kept = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        assert kept == [{**line, "process": "worker", "pid": os.getpid()} for line in said]
        return said

    yield read
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level = kept, level
    sys.excepthook = hook
    logging.captureWarnings(False)
    logging.raiseExceptions = True
    structlog.reset_defaults()


def test_a_line_is_json_and_names_the_job(lines: Any):
    with job_bound(job="some-job"):
        log.info("claimed", attempt=2)
    log.info("idle")
    first, second = lines()
    assert first["event"] == "claimed" and first["job"] == "some-job" and first["attempt"] == 2
    assert first["level"] == "info" and first["at"].endswith("Z")
    assert "job" not in second


def test_of_an_exception_only_types_codes_and_places_are_kept(lines: Any):
    try:
        try:
            raise ValueError(f"bad value {NAME}")
        except ValueError as cause:
            raise SeriesError(f"two series of {NAME}") from cause
    except SeriesError:
        log.exception("failed")
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    for line in lines():
        assert line["error"][0] == "SeriesError several_series"
        assert any(place.startswith("server/test_logs.py:") for place in line["error"])
        assert "ValueError" in line["error"]
        assert NAME not in json.dumps(line)


def test_the_words_of_a_library_are_not_repeated(lines: Any):
    logging.getLogger("pydicom").warning("Invalid value for VR PN: %r", NAME)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn_explicit(f"Invalid value {NAME}", UserWarning, "valuerep.py", 442)
    first, second = lines()
    assert first["event"].startswith("message of test_logs.py:") and first["logger"] == "pydicom"
    assert second["logger"] == "py.warnings"
    assert NAME not in json.dumps([first, second])


def test_the_server_s_own_words_are(lines: Any):
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
    assert lines()[0]["event"] == "Started server process [7]"


def test_addresses_are_not_logged(lines: Any):
    logging.getLogger("uvicorn.access").info('%s - "GET /datastore?image=%s"', "127.0.0.1", NAME)
    assert lines() == []


def test_an_error_that_ends_the_process_keeps_its_words_to_itself(lines: Any):
    sys.excepthook(ValueError, ValueError(NAME), None)
    line = lines()[0]
    assert line["event"] == "ended by an error" and line["error"] == ["ValueError"]


def test_only_the_server_may_read_its_logs(tmp_path: Path, lines: Any):
    log.info("x")
    lines()
    assert (tmp_path / "log").stat().st_mode & 0o077 == 0


def test_a_log_that_grows_is_set_aside_and_the_oldest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("clarivox.server.logs.FILE_BYTES", 1000)
    writers = [Kept(tmp_path / "clarivox.jsonl", encoding="utf-8", delay=True) for _ in range(2)]
    for number in range(100):
        writers[number % 2].handle(logging.makeLogRecord({"msg": f"{number:03d}" + "x" * 96}))
    for writer in writers:
        writer.close()
    files = sorted(tmp_path.glob("*.jsonl"))
    assert [file.name for file in files] == [
        "clarivox.1.jsonl",
        "clarivox.2.jsonl",
        "clarivox.3.jsonl",
        "clarivox.jsonl",
    ]
    newest = [line[:3] for file in files[2::-1] + files[3:] for line in file.read_text().splitlines()]
    assert newest == [f"{number:03d}" for number in range(100 - len(newest), 100)]
    assert all(file.stat().st_size < 1200 for file in files)
