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


LOOKS = """
import os, sys
from pathlib import Path
from clarivox.server.landlock import keep_to
outer = Path(sys.argv[1])
if not keep_to([outer / "child"], [outer]):
    raise SystemExit(9)
assert (outer / "input" / "a").read_text() == "a volume"
(outer / "child" / "link").symlink_to(outer / "input" / "a")
assert (outer / "child" / "link").read_text() == "a volume"
for what in (
    lambda: (outer / "input" / "a").write_text("x"),
    lambda: (outer / "child" / "link").write_text("x"),
    lambda: os.link(outer / "input" / "a", outer / "child" / "a"),
    lambda: (outer / "input" / "a").unlink(),
    lambda: (outer / "input" / "b").write_text("x"),
):
    try:
        what()
    except OSError:
        continue
    raise SystemExit("allowed")
"""


def test_inputs_that_lie_beside_a_child_can_only_be_read(tmp_path):
    for name in ("input", "child"):
        (tmp_path / name).mkdir()
    (tmp_path / "input" / "a").write_text("a volume")
    run = subprocess.run([sys.executable, "-c", LOOKS, str(tmp_path)], capture_output=True, text=True)
    if run.returncode == 9:
        pytest.skip("this kernel has no Landlock")
    assert run.returncode == 0, run.stderr
