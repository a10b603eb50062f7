# SPDX-License-Identifier: Apache-2.0
"""What a confined process can still do."""

import platform
import subprocess
import sys

import pytest

from clarivox.server.confine import REFUSED

TRIES = """
import os, socket, subprocess, signal
from clarivox.server.confine import confine
assert confine()
for what in (
    lambda: socket.socket(),
    lambda: socket.socket(socket.AF_UNIX),
    lambda: os.kill(os.getppid(), 0),
    lambda: os.execv("/bin/true", ["true"]),
    lambda: subprocess.run(["/bin/true"]),
):
    try:
        what()
    except PermissionError:
        continue
    raise SystemExit("allowed")
with open("/dev/null", "w") as file:
    file.write("x")
print(sum(range(10)))
"""


@pytest.mark.skipif(platform.machine() not in REFUSED or sys.platform != "linux", reason="no filter of calls here")
def test_a_confined_process_computes_and_writes_but_reaches_nobody():
    run = subprocess.run([sys.executable, "-c", TRIES], capture_output=True, text=True)
    assert (run.returncode, run.stdout.strip()) == (0, "45"), run.stderr
