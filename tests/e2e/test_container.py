# SPDX-License-Identifier: Apache-2.0
"""The server of docker/compose.yml as processes here: the same command and environment, the root read-only."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clarivox.server.settings import Settings
from clarivox.server.viewer_files import folder_of
from tests.container import DOCKER, START_S, Running, Service, command, composed

GET = """import sys, urllib.request
sys.stdout.write(urllib.request.urlopen("http://127.0.0.1:8000" + sys.argv[1]).read().decode())"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The server, with this machine's Python, clarivox and OHIF in place of the image's."""
    if os.geteuid() != 0 or shutil.which("nsenter") is None:
        pytest.skip("needs root, to mount")
    folder = tmp_path_factory.mktemp("container")
    path = f"{Path(sys.executable).parent}:{os.defpath}:/usr/local/sbin:/usr/sbin:/sbin"
    here = {"PATH": path, "CLARIVOX_DATA_DIR": str(folder / "data"), "TMPDIR": str(folder / "tmp")}
    here |= {"CLARIVOX_VIEWER_DIR": str(folder_of(Settings())), "CLARIVOX_PACS": str(DOCKER / "pacs.yaml")}
    entry, *words = command()
    python = [sys.executable, "-c", "from clarivox.cli.main import run; run()"]
    assert entry == "clarivox"
    made = Service(Path("/"), [*python, *words], composed(**here))
    with made.closed(folder) as running:
        until = time.monotonic() + START_S
        while not running.healthy():
            log = (folder / "log").read_text(errors="replace")
            assert running.process.poll() is None and time.monotonic() < until, log[-3000:]
            time.sleep(0.2)
        yield running


@pytest.mark.timeout(200)
def test_it_answers_and_writes_to_its_data_alone(service: Running) -> None:
    def get(path: str) -> str:
        done = service.run(sys.executable, "-c", GET, path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert '"live"' in get("/livez")
    assert "<title>OHIF" in get("/") or "ohif" in get("/").lower()
    for place in (DOCKER, Path(sys.executable).parent):
        assert "Read-only" in service.run("touch", str(place / "written")).stderr
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    assert "CapBnd:\t0000000000000000" in status and "NoNewPrivs:\t1" in status


@pytest.mark.timeout(200)
def test_without_a_key_nobody_gets_in(service: Running) -> None:
    refused = service.run(sys.executable, "-c", GET, "/v1/jobs")
    assert "401" in refused.stderr


@pytest.mark.timeout(200)
def test_the_signal_of_the_image_stops_it(service: Running) -> None:
    assert "STOPSIGNAL SIGTERM" in (DOCKER / "Dockerfile").read_text()
    service.process.terminate()
    try:
        assert service.process.wait(100) == 0
    except subprocess.TimeoutExpired:
        pytest.fail("it does not stop")
