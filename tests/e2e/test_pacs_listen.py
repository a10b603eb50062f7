# SPDX-License-Identifier: Apache-2.0
"""The node and the courier as `clarivox pacs listen` and `clarivox serve --pacs` hold them: renewed, never alone."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.nodes import Running, associated, until
from tests.served import serving

CLARIVOX = (sys.executable, "-c", "from clarivox.cli.main import run; run()")
PACS = "node: {port: 0, allow: [{ae_title: TEST, address: 127.0.0.1}]}\n"
LISTENS = re.compile(r"DICOM node CLARIVOX listens on 127\.0\.0\.1 port (\d+)")


def echoes(process: subprocess.Popen[bytes], port: int) -> bool:
    with associated(Running(process, port, Path())) as association:
        return bool(association.is_established and association.send_c_echo().get("Status") == 0)


def parts(pid: int) -> dict[str, psutil.Process]:
    """The node and the courier below a process."""
    found = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in psutil.Process(pid).children():
            with contextlib.suppress(psutil.Error):
                words = " ".join(one.cmdline())
                found |= {name: one for name in ("node", "courier") if f"clarivox.server.pacs.{name}" in words}
    return found


def gone(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


@pytest.fixture
def pacs(tmp_path: Path) -> Path:
    path = tmp_path / "pacs.yaml"
    path.write_text(PACS)
    return path


@contextlib.contextmanager
def listening(tmp_path: Path, pacs: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    said = tmp_path / "said"
    command = [*CLARIVOX, "pacs", "listen", "--config", str(pacs), "--data", str(tmp_path / "data")]
    with said.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        yield process, said
    finally:
        process.kill()
        process.wait()


def ports(said: Path) -> list[int]:
    return [int(found) for found in LISTENS.findall(said.read_text())]


def test_listen_says_where_renews_a_killed_node_and_ends_all_with_it(tmp_path: Path, pacs: Path) -> None:
    with listening(tmp_path, pacs) as (process, said):
        until(lambda: len(ports(said)) == 1, "the node's port")
        assert echoes(process, ports(said)[0])
        until(lambda: set(parts(process.pid)) == {"node", "courier"}, "both processes")
        before = parts(process.pid)
        before["node"].kill()
        until(lambda: len(ports(said)) == 2, "another node")
        assert echoes(process, ports(said)[1])
        now = parts(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert all(gone(one) for one in now.values())


def test_neither_lives_on_after_a_killed_listen(tmp_path: Path, pacs: Path) -> None:
    with listening(tmp_path, pacs) as (process, said):
        until(lambda: len(ports(said)) == 1 and len(parts(process.pid)) == 2, "both processes")
        there = parts(process.pid)
        process.kill()
        process.wait()
        until(lambda: all(gone(one) for one in there.values()), "the end of both")


@pytest.mark.parametrize(
    ("content", "word"),
    [("dicomweb: {url: 'http://pacs'}", "neither node nor orthanc"), ("node: {port: 0, alow: []}", "alow")],
)
def test_a_file_with_nothing_to_listen_to_is_refused_in_words(tmp_path: Path, content: str, word: str) -> None:
    (tmp_path / "pacs.yaml").write_text(content)
    command = [*CLARIVOX, "pacs", "listen", "--config", str(tmp_path / "pacs.yaml"), "--data", str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_starts_both_and_takes_them_with_it(tmp_path: Path, pacs: Path) -> None:
    log = tmp_path / "server.log"
    with serving(tmp_path, PACS=str(pacs)) as server:
        until(lambda: len(ports(log)) == 1, "the node's port")
        assert server.process is not None
        assert echoes(server.process, ports(log)[0])
        until(lambda: len(parts(server.process.pid)) == 2, "both processes")
        first = parts(server.process.pid)
        first["courier"].kill()
        until(lambda: parts(server.process.pid).get("courier", first["courier"]).pid != first["courier"].pid, "another")
        there = parts(server.process.pid)
        os.kill(server.process.pid, signal.SIGKILL)
        until(lambda: all(gone(one) for one in there.values()), "the end of both")
