# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
import time

from clarivox.server import fleet_handle
from clarivox.server.settings import Settings


def test_a_supervisor_that_dies_before_it_hears_its_order_is_started_again(tmp_path, monkeypatch):
    began = []

    class Deaf(subprocess.Popen):
        def __init__(self, *words, **more):
            super().__init__(*words, **more)
            began.append(self.wait())  # so that the order is written to nobody

    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr(fleet_handle.subprocess, "Popen", Deaf)
    monkeypatch.setattr(fleet_handle, "AGAIN_S", 0.01)
    monkeypatch.setattr(fleet_handle, "LONGEST_S", 0.01)
    handle = fleet_handle.start_supervisor(Settings(data_dir=tmp_path))
    until = time.monotonic() + 90
    while len(began) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    handle.stop()
    assert len(began) >= 3
