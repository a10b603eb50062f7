# SPDX-License-Identifier: Apache-2.0
"""A server in processes of its own, for tests and benchmarks that end, stop and measure those processes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

COMMAND = (sys.executable, "-c", "from clarivox.cli.main import run; run()", "serve")
PATIENCE_S = 180.0
"""How long a test waits for what must come: a limit that a hang reaches, and a slow machine does not."""
PARTS = ("api", "supervisor", "worker", "nursery", "child", "other")
"""Of the processes of a server; a child reads and writes the files of one job, and is forked by the nursery."""


Found = TypeVar("Found")


def until(found: Callable[[], Found], within_s: float = PATIENCE_S) -> Found:
    """What `found` gives, as soon as that is true.

    Raises:
        AssertionError: it was not in time.
    """
    end = time.monotonic() + within_s
    while not (value := found()):
        assert time.monotonic() < end, f"not within {within_s:.0f} s; the last was {value!r}"
        time.sleep(0.03)
    return value


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        """The code of an error, or words that say that it has none."""
        if "problem+json" not in self.headers.get("content-type", ""):
            return f"{self.status} without problem+json"
        return str(self.json().get("code") or f"{self.status} without code")


@dataclass
class Line:
    """One connection to the server, opened anew where it broke."""

    port: int
    timeout_s: float = 20
    kept: http.client.HTTPConnection | None = None

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request.

        Raises:
            OSError, http.client.HTTPException: there was no answer, or half of one.
        """
        connection = self.kept or http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout_s)
        self.kept = None
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            content = response.read()
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            self.kept = connection
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)

    def close(self) -> None:
        """End the connection."""
        if self.kept is not None:
            self.kept.close()
            self.kept = None


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


STARTED: list[Served] = []


def end_all() -> None:
    """Kill every server that this process started."""
    for one in STARTED:
        one.kill()


@dataclass(eq=False)
class Served:
    """`clarivox serve` on a folder; started, killed and started again on the same port."""

    data: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    """As the environment names them without CLARIVOX_: {"LEASE_S": "3"}."""
    launcher: Sequence[str] = ()
    """What stands before the command, as a tracer."""
    passed_fds: Sequence[int] = ()
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    """In the environment of all its processes."""
    command: Sequence[str] = COMMAND
    """`clarivox serve`, or what stands for it."""

    def start(self) -> None:
        """Start it; returns at once."""
        if self not in STARTED:
            STARTED.append(self)
        self.port = self.port or free_port()
        self.data.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **{f"CLARIVOX_{name}": value for name, value in self.settings.items()}}
        for name in ("CLARIVOX_DATA", "CLARIVOX_NO_SKIPS"):
            environment.pop(name, None)
        environment["SERVED"] = self.mark
        with (self.data.parent / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.launcher, *self.command, "--port", str(self.port), "--data", str(self.data)],
                stdout=log,
                stderr=log,
                env=environment,
                pass_fds=tuple(self.passed_fds),
                start_new_session=True,
            )

    @property
    def ledger_url(self) -> str:
        """The database of its ledger."""
        return self.settings.get("DATABASE") or f"sqlite:///{self.data / 'ledger.sqlite'}"

    @property
    def running(self) -> bool:
        """Whether its first process lives."""
        return self.process is not None and self.process.poll() is None

    def line(self, timeout_s: float = PATIENCE_S) -> Line:
        """A connection of its own."""
        return Line(self.port, timeout_s)

    def answers(self, path: str, within_s: float, every_s: float = 0.01) -> float:
        """Seconds until `path` answered 200; asked seldom, a server that starts has the processor for itself.

        Raises:
            RuntimeError: it did not, or the server ended.
        """
        started = time.perf_counter()
        while time.perf_counter() - started < within_s:
            if not self.running:
                raise RuntimeError(f"the server ended by itself; {self.log()[-2000:]}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                line = self.line(5)
                status = line.ask("GET", path).status
                line.close()
                if status == 200:
                    return time.perf_counter() - started
            time.sleep(every_s)
        raise RuntimeError(f"{path} did not answer 200 within {within_s:.0f} s; {self.log()[-2000:]}")

    def ended(self, job: dict[str, Any], headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """A job as the server tells it, once it has ended: a wish to wait has a limit of its own."""
        line = self.line()
        while job["state"] in ("queued", "running"):
            job = line.ask("GET", f"/v1/jobs/{job['id']}?wait=20", None, headers).json()
        line.close()
        return job

    def log(self) -> str:
        """What it printed."""
        return (self.data.parent / "server.log").read_text(errors="replace")

    def tree(self) -> dict[str, list[psutil.Process]]:
        """Its processes now, by `PARTS`."""
        found: dict[str, list[psutil.Process]] = {name: [] for name in PARTS}
        if self.process is None:
            return found
        with contextlib.suppress(psutil.Error):
            first = psutil.Process(self.process.pid)
            for one in (first, *first.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    if one.status() != psutil.STATUS_ZOMBIE:
                        found[part(one, first)].append(one)
        return found

    def left(self, within_s: float) -> list[psutil.Process]:
        """Its processes that still live, though it ended so long ago."""
        end = time.monotonic() + within_s
        while (found := [one for one in psutil.process_iter() if self.owns(one)]) and time.monotonic() < end:
            time.sleep(0.2)
        return found

    def owns(self, one: psutil.Process) -> bool:
        """Whether a process lives and is, or was, one of this server, whoever its parent is now."""
        with contextlib.suppress(psutil.Error):
            return one.environ().get("SERVED") == self.mark and one.status() != psutil.STATUS_ZOMBIE
        return False

    def kill(self) -> None:
        """End all of it, at once."""
        everyone = [one for group in self.tree().values() for one in group]
        for one in everyone:
            with contextlib.suppress(psutil.Error):
                one.kill()
        if self.process is not None:
            self.process.wait()
        psutil.wait_procs(everyone, timeout=10)

    def stop(self, within_s: float = PATIENCE_S) -> int:
        """Ask it to end, as systemd does, and give its exit code.

        Raises:
            RuntimeError: it did not end in time; it is killed.
        """
        if self.process is None:
            raise RuntimeError("the server was not started")
        if self.running:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired as late:
            self.kill()
            raise RuntimeError(f"the server did not end within {within_s:.0f} s of SIGTERM") from late


def part(one: psutil.Process, first: psutil.Process) -> str:
    """What a process of the server is, by its command."""
    if one.pid == first.pid:
        return "api"
    words = " ".join(one.cmdline())
    if "parse_child" in words:
        return "child" if "parse_child" in " ".join(psutil.Process(one.ppid()).cmdline()) else "nursery"
    return "supervisor" if "server.fleet" in words else "worker" if "server.worker" in words else "other"


@contextlib.contextmanager
def serving(folder: Path, command: Sequence[str] = COMMAND, **settings: str) -> Iterator[Served]:
    """A server that is ready to work, ended at the end."""
    server = Served(folder / "data", settings, command=command)
    server.start()
    try:
        server.answers("/readyz", PATIENCE_S)
        yield server
    finally:
        server.kill()


def memory_mib(processes: Sequence[psutil.Process]) -> float:
    """Their private and proportionally shared memory (PSS), in MiB."""
    total = 0
    for one in processes:
        with contextlib.suppress(psutil.Error):
            total += one.memory_full_info().pss
    return total / 2**20
