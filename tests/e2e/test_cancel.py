# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C on a real process leaves no half result."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clarivox import io, phantoms

ENHANCE = """
import sys, time
from clarivox import windows
predict = windows.Windows._predict
def slow(*arguments):
    print("window", flush=True)
    time.sleep(0.2)
    return predict(*arguments)
windows.Windows._predict = slow
from clarivox.cli.main import run
sys.argv = ["clarivox", *sys.argv[1:]]
run()
"""


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_exits_with_130_and_leaves_nothing(tmp_path: Path, presses: int) -> None:
    volume = phantoms.mr(size=64, slices=4).degraded
    many = volume.replace(array=volume.array[..., [0] * 100], slope=volume.slope[:1], intercept=volume.intercept[:1])
    io.write(many, tmp_path / "in.nii.gz")
    words = ["enhance", tmp_path / "in.nii.gz", "-b", "identity", "-o", tmp_path / "out.nii.gz", "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-c", ENHANCE, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "window\n"
    for _ in range(presses):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors.startswith("error [cancelled]") and "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["in.nii.gz"]
