# SPDX-License-Identifier: Apache-2.0
"""A server is ready only while a worker lives, whatever the ledger says of one that is gone."""

from __future__ import annotations

import os
import socket
import subprocess
import time

from clarivox.server.job import WorkerRow
from clarivox.server.routes.health import lives


def worker(pid: int, heartbeat: float, host: str = "") -> WorkerRow:
    return WorkerRow("w", host or socket.gethostname(), pid, "cpu", "", "0", "ready", 0.0, heartbeat)


def test_a_worker_that_was_heard_lives() -> None:
    assert lives(worker(os.getpid(), time.time()))


def test_a_worker_that_was_not_heard_for_long_does_not() -> None:
    assert not lives(worker(os.getpid(), time.time() - 60))


def test_a_worker_whose_process_was_killed_does_not_although_it_spoke_a_moment_ago() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert not lives(worker(ended.pid, time.time()))


def test_of_another_machine_only_the_ledger_is_asked() -> None:
    assert lives(worker(2**22 + 1, time.time(), host="elsewhere"))
