# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C on a real process leaves no half result."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clarivox import io, phantoms
from tests.served import PATIENCE_S

ENHANCE = """
import signal, sys
from clarivox import windows
predict, listen = windows.Windows._predict, signal.signal

def held(*arguments):
    print("window", flush=True)
    sys.stdin.readline()
    return predict(*arguments)

def told(number, handler):
    def pressed(*arguments):
        print("pressed", flush=True)
        handler(*arguments)
    return listen(number, pressed if callable(handler) else handler)

windows.Windows._predict, signal.signal = held, told
from clarivox.cli.main import run
sys.argv = ["clarivox", *sys.argv[1:]]
run()
"""
"""Each window waits for a line of the standard input, and each Ctrl-C that was heard is said."""


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_exits_with_130_and_leaves_nothing(tmp_path: Path, presses: int) -> None:
    volume = phantoms.mr(size=64, slices=4).degraded
    many = volume.replace(array=volume.array[..., [0] * 100], slope=volume.slope[:1], intercept=volume.intercept[:1])
    io.write(many, tmp_path / "in.nii.gz")
    words = ["enhance", tmp_path / "in.nii.gz", "-b", "identity", "-o", tmp_path / "out.nii.gz", "--device", "cpu"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", ENHANCE, *map(str, words)], text=True, **pipes)
    assert process.stdout is not None and process.stdout.readline() == "window\n"
    for _ in range(presses):
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "pressed\n"
    more, errors = process.communicate("go on\n", timeout=PATIENCE_S)
    assert "window" not in more, "no further window is begun"
    assert process.returncode == 130
    assert errors.startswith("error [cancelled]") and "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["in.nii.gz"]
