# SPDX-License-Identifier: Apache-2.0
"""The command `clarivox`, but that the workers of `clarivox serve` are those of faulty_worker.py."""

import sys
from pathlib import Path

from clarivox.cli.main import run
from clarivox.server import main
from clarivox.server.fleet_handle import SupervisorHandle

WORKER = (sys.executable, str(Path(__file__).with_name("faulty_worker.py")))


if __name__ == "__main__":
    main.start_supervisor = lambda settings: SupervisorHandle(settings, WORKER)
    run()
