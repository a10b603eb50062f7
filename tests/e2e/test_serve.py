# SPDX-License-Identifier: Apache-2.0
"""The server as a new user runs it: `clarivox serve`, `clarivox submit`, a restart in the middle, systemd's unit."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from clarivox.cli.settings import settings_of
from clarivox.client import Client
from clarivox.errors import BusyError, ClarivoxError, FormatError
from clarivox.io import read, write
from tests import held
from tests.served import PATIENCE_S, until

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from clarivox.cli.main import run; run()"]


def environment() -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("CLARIVOX_")}
    return plain | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


class Served:
    """`clarivox serve` in a process of its own."""

    def __init__(self, folder: Path, *more: str, port: int = 0, command: Sequence[str] = COMMAND) -> None:
        self.data = folder / "data"
        words = ["serve", "--port", str(port), "--data", str(self.data), "--set", "devices=cpu", *more]
        variables = environment() | {"OTEL_BSP_SCHEDULE_DELAY": "100"}
        self.process = subprocess.Popen(
            [*command, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=variables
        )
        self.said = []
        for line in self.process.stdout:
            self.said.append(line.rstrip())
            if line.startswith("Stop it"):
                break
        self.process.stdout.close()
        self.url = re.search(r"http://\S+", self.said[0])[0]
        self.client = Client(self.url, patience_s=60)

    def ready(self) -> "Served":
        def informed() -> bool:
            with suppress(ClarivoxError):
                return bool(self.client.info())
            return False

        until(informed)
        return self

    def one(self, state: str) -> str:
        """The id of the one job in a state, once there is one."""
        (job,) = until(lambda: self.client.jobs(state=state))
        return job.id

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


def ran(*words: str, code: int = 0) -> str:
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, env=environment(), timeout=PATIENCE_S)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def started(said: Path, *words: str) -> subprocess.Popen[bytes]:
    with said.open("wb") as stream:
        return subprocess.Popen([*COMMAND, *words], stdout=stream, stderr=stream, env=environment())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("served")
    ran("sample", "mr", "-o", str(made / "made"), "--size", "64", "--slices", "6")
    write(read(made / "made" / "image"), made / "image.nii.gz")
    return made


@pytest.fixture
def served(folder: Path, tmp_path: Path) -> Iterator[Served]:
    one = Served(tmp_path).ready()
    yield one
    one.stop(signal.SIGKILL)


@pytest.fixture
def holding(tmp_path: Path) -> Iterator[Served]:
    """A server whose jobs can be held."""
    one = Served(tmp_path, command=held.PROGRAM).ready()
    yield one
    one.stop(signal.SIGKILL)


def test_a_study_is_sent_followed_and_fetched_as_it_came(served: Served, folder: Path) -> None:
    study, out = folder / "made" / "image", folder / "out"
    said = ran(
        "submit",
        str(study),
        "-b",
        "identity",
        "-o",
        str(out),
        "--server",
        served.url,
        "--report",
        str(folder / "a.html"),
    )
    assert f"{out} written" in said and np.array_equal(read(out).array, read(study).array)
    assert "[output_exists]" in ran(
        "submit", str(study), "-b", "identity", "-o", str(out), "--server", served.url, code=6
    )
    one = folder / "image.nii.gz"
    ran("submit", str(one), "-b", "identity", "-o", str(folder / "o.nrrd"), "--as", "nrrd", "--server", served.url)
    assert np.array_equal(read(folder / "o.nrrd").array, read(one).array)
    asked = ran("submit", str(one), "-b", "identity", "--no-wait", "--server", served.url).strip()
    ran("submit", "--job", asked, "-o", str(folder / "o.zip"), "--as", "dicom", "--server", served.url, code=3)
    ran("submit", "--job", asked, "-o", str(folder / "o.nii.gz"), "--server", served.url)


def test_what_is_wrong_is_said_with_the_servers_code(served: Served, folder: Path) -> None:
    (folder / "words.txt").write_text("no image")
    here = ("--server", served.url)
    assert "error [" in ran("submit", str(folder / "words.txt"), "-b", "identity", *here, code=3)
    assert "[unknown_bundle]" in ran("submit", str(folder / "image.nii.gz"), "-b", "nothing", *here, code=3)
    assert "give IN and a bundle" in ran("submit", str(folder / "image.nii.gz"), *here, code=2)
    assert "[no_such_job]" in ran("submit", "--job", "1", *here, code=8)
    assert "[unreachable]" in ran("submit", "--job", "1", "--server", "http://127.0.0.1:9", code=8)
    job = list(served.client.follow(served.client.submit(folder / "words.txt", "identity")))[-1]
    with pytest.raises(FormatError):
        job.checked()


def test_a_ctrl_c_cancels_the_job(holding: Served, folder: Path) -> None:
    words = ["submit", str(folder / "image.nii.gz"), "-b", "identity", "-o", str(folder / "c.nii.gz")]
    with held.held(holding.data):
        process = started(folder / "said", *words, "--server", holding.url)
        job = holding.one("running")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130 and "[cancelled]" in (folder / "said").read_text()
        assert holding.client.job(job).state == "cancelled"
    assert not (folder / "c.nii.gz").exists()


def test_a_server_that_stops_ends_what_runs_and_answers_meanwhile(holding: Served, folder: Path) -> None:
    with held.held(holding.data) as release:
        job = holding.client.submit(folder / "image.nii.gz", "identity")
        later = holding.client.submit(folder / "image.nii.gz", "any_median_denoise")
        changes = holding.client.follow(job)
        while next(changes).state != "running":
            pass
        holding.process.send_signal(signal.SIGTERM)
        until(lambda: refusal(holding) == "draining")
        assert holding.client.job(job).state == "running"
        release()
        assert [one.state for one in changes][-1] in ("running", "succeeded")
        assert holding.process.wait(PATIENCE_S) == 0
    with held.held(holding.data):
        again = Served(holding.data.parent, command=held.PROGRAM)
        assert again.client.job(job).state == "succeeded" and again.client.job(later).state in ("queued", "running")
        again.ready().stop(signal.SIGKILL)


def refusal(server: Served) -> str:
    """The code with which a server does not answer; nothing where it does."""
    try:
        server.client.info()
    except BusyError as error:
        return error.code
    return ""


def test_a_client_that_follows_and_fetches_outlives_a_kill_of_the_server(holding: Served, folder: Path) -> None:
    out = folder / "killed.nii.gz"
    words = ["submit", str(folder / "image.nii.gz"), "-b", "identity", "-o", str(out), "--server", holding.url]
    with held.held(holding.data):
        process = started(folder / "said", *words)
        job = holding.one("running")
        holding.stop(signal.SIGKILL)
    again = Served(holding.data.parent, port=int(holding.url.rsplit(":", 1)[1]))
    assert process.wait(PATIENCE_S) == 0, (folder / "said").read_text()
    assert again.client.job(job).content["attempt"] == 2
    again.stop(signal.SIGKILL)


def test_workers_alone_take_the_jobs_of_a_server_without_any(tmp_path: Path, folder: Path) -> None:
    server = Served(tmp_path, "--set", "workers_cpu=0")
    try:
        job = server.client.submit(folder / "image.nii.gz", "identity")
        with pytest.raises(BusyError):
            server.client.info()
        assert "no device" in ran("worker", "--data", str(tmp_path / "data"), "--devices", "cuda:7", code=2)
        worker = started(tmp_path / "said", "worker", "--data", str(tmp_path / "data"), "--devices", "cpu")
        assert list(server.client.follow(job))[-1].state == "succeeded"
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE_S) == 0 and "takes jobs of the server" in (tmp_path / "said").read_text()
    finally:
        server.stop(signal.SIGKILL)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--data", "{file}"], 2, "data folder"),
        (["--bundles", "{folder}/none"], 2, "of bundles"),
        (["--set", "devices=cuda:99"], 2, "[no_device]"),
        (["--set", "otlp_endpoint=there"], 2, "as http://"),
        (["--data", "{damaged}"], 8, "[ledger_damaged]"),
        (["--set", "database=nonsense://x"], 2, "[unknown_database]"),
    ],
)
def test_a_start_that_cannot_be_is_one_line_and_an_exit_code(tmp_path, words, code, told):
    places = {"file": tmp_path / "file", "folder": tmp_path, "damaged": tmp_path / "damaged"}
    places["file"].write_text("x")
    places["damaged"].mkdir()
    (places["damaged"] / "ledger.sqlite").write_bytes(b"nonsense" * 1000)
    given = [word.format(**places) for word in words]
    start = ["serve", "--port", "0", *([] if "--data" in given else ["--data", str(tmp_path / "data")])]
    said = ran(*start, *given, code=code)
    assert told in said and "Traceback" not in said
    assert len([line for line in said.splitlines() if line.startswith("error")]) == 1


class Collector(BaseHTTPRequestHandler):
    """Keeps the spans that are sent to it."""

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in sent.resource_spans:
            name = resource.resource.attributes
            (service,) = (one.value.string_value for one in name if one.key == "service.name")
            self.server.spans += [(service, span) for part in resource.scope_spans for span in part.spans]
        self.send_response(200)
        self.end_headers()


def test_a_trace_goes_through_the_queue_to_the_worker(tmp_path: Path, folder: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        collector.spans = []
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        place = f"otlp_endpoint=http://127.0.0.1:{collector.server_port}"
        server = Served(tmp_path, "--set", place).ready()
        try:
            job = server.client.submit(folder / "image.nii.gz", "identity")
            assert list(server.client.follow(job))[-1].state == "succeeded"
        finally:
            server.stop()
        collector.shutdown()
        (work,) = (span for service, span in collector.spans if (service, span.name) == ("clarivox-worker", "job"))
        (asked,) = (span for service, span in collector.spans if span.span_id == work.parent_span_id)
    assert asked.trace_id == work.trace_id and asked.name == "POST /v1/jobs"
    assert job.id in {one.value.string_value for one in work.attributes}
    assert all(
        not one.value.string_value for _, span in collector.spans for one in span.attributes if one.key == "url.path"
    )


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd here; apt-get install systemd")
    unit = (ROOT / "docker" / "clarivox.service").read_text()
    (tmp_path / "clarivox.service").write_text(unit.replace("/opt/clarivox/bin/clarivox", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", tmp_path / "clarivox.service"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    drain_s = settings_of(None, ()).drain_s
    assert f"TimeoutStopSec={drain_s + 30:.0f}" in unit and "KillMode=mixed" in unit
