# SPDX-License-Identifier: Apache-2.0
"""The watched folder: each entry once, through kills, restarts of the server and files that are still written."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clarivox.client import Job
from clarivox.errors import BusyError, CapacityError, FormatError, OptionError
from clarivox.watch import Watch


class Server:
    """Stands for the client: one job an idempotency key, as the server has it."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.sent: list[str] = []
        self.outcome: dict[str, Any] = {"state": "succeeded"}
        self.troubles: list[Exception | None] = []

    def submit(self, path: Path, bundle: str, *, idempotency_key: str, **params: Any) -> Job:
        self.trouble()
        self.sent.append(path.name)
        results = [{"role": "result", "name": "result.nii.gz", "sha256": "0" * 64}]
        content = {"id": idempotency_key[:12], "results": results, **self.outcome}
        return self.jobs.setdefault(idempotency_key[:12], Job.of(content))

    def follow(self, job: str) -> Iterator[Job]:
        yield self.jobs[job]

    def download(self, job: Job, target: Path, *, role: str = "result", overwrite: bool = False) -> Path:
        self.trouble()
        target.write_text(job.id)
        return target

    def trouble(self) -> None:
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble is not None:
            raise trouble


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.nii.gz").write_text("a")
    (tmp_path / "in" / "study").mkdir()
    (tmp_path / "in" / "study" / "1").write_text("b")
    return tmp_path


def watching(server: Any, folder: Path, **changes: Any) -> Watch:
    return Watch(server, folder / "in", folder / "out", "identity", **({"settle_s": 0} | changes))


def test_each_entry_is_enhanced_once_through_a_restart(server: Server, folder: Path) -> None:
    assert [entry.state for entry in watching(server, folder).look()] == ["done", "done"]
    assert sorted(path.name for path in (folder / "out").iterdir() if path.name[0] != ".") == [
        "a.nii.gz",
        "study.nii.gz",
    ]
    assert list(watching(server, folder).look()) == [] and len(server.sent) == 2


def test_an_entry_that_changed_is_another(server: Server, folder: Path) -> None:
    list(watching(server, folder).look())
    (folder / "in" / "study" / "2").write_text("c")
    assert [entry.name for entry in watching(server, folder).look()] == ["study"]


def test_what_is_still_written_waits(server: Server, folder: Path) -> None:
    watch = watching(server, folder, settle_s=1000)
    assert list(watch.look()) == [] and server.sent == []
    (folder / "in" / "b.nii.part").write_text("half")
    (folder / "in" / "empty").mkdir()
    assert [entry.name for entry in watching(server, folder).look()] == ["a.nii.gz", "study"]


def test_a_kill_between_the_job_and_its_result_makes_no_second_job(server: Server, folder: Path) -> None:
    server.troubles = [None, ZeroDivisionError()]
    with pytest.raises(ZeroDivisionError):
        list(watching(server, folder).look())
    assert server.sent == ["a.nii.gz"]
    assert [entry.state for entry in watching(server, folder).look()] == ["done", "done"]
    assert server.sent == ["a.nii.gz", "study"] and len(server.jobs) == 2


def test_a_server_that_is_away_costs_no_try(server: Server, folder: Path) -> None:
    watch = watching(server, folder, tries=1)
    server.troubles = [BusyError("away"), BusyError("away")]
    assert list(watch.look()) == []
    assert [entry.state for entry in watch.look()] == ["done", "done"]


def test_what_cannot_be_read_fails_at_once_and_what_may_do_better_is_tried_again(server: Server, folder: Path) -> None:
    server.troubles = [FormatError("not an image"), CapacityError("full"), CapacityError("full")]
    found = list(watching(server, folder, tries=3).look())
    assert [(entry.state, entry.tries) for entry in found] == [("failed", 1), ("done", 3)]
    assert found[0].code == "unsupported_format"
    watch = watching(server, folder)
    assert watch.again() == 1 and [entry.state for entry in watch.look()] == ["done"]


def test_results_cannot_come_in_again(server: Server, folder: Path) -> None:
    with pytest.raises(OptionError, match="within"):
        Watch(server, folder / "in", folder / "in" / "out", "identity")  # type: ignore[arg-type]


def test_what_failed_on_the_server_is_asked_for_as_another_job(server: Server, folder: Path) -> None:
    watch = watching(server, folder)
    server.outcome = {"state": "failed", "error": {"code": "unsupported_format", "status": 415, "detail": "no image"}}
    assert {entry.state for entry in watch.look()} == {"failed"}
    server.outcome = {"state": "succeeded"}
    assert watch.again() == 2
    assert [entry.state for entry in watch.look()] == ["done", "done"]
    assert len(server.jobs) == 4, "the same key would give the job that failed once more"
