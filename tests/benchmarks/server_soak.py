# SPDX-License-Identifier: Apache-2.0
"""Many small jobs one after another: does memory grow, do files stay open?

    python -m tests.benchmarks.server_soak --jobs 10000 --json out.json

Memory and open files of API, supervisor and workers are read while nothing runs, after each tenth of the jobs; the end
is compared with the first tenth. Memory is what each process wrote and does not share: how many pages of a library
are its own goes by what else runs on the machine. Children that read and write files come and go with jobs, and stand
apart.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.benchmarks.measure import gate, options, report
from tests.benchmarks.server_latency import SETTINGS
from tests.chaos.load import Load
from tests.served import Served, serving

AT_ONCE = 40
"""Jobs that are sent before their ends are waited for."""
PARTS = ("api", "supervisor", "worker")


def held(server: Served) -> dict[str, tuple[float, int]]:
    """Memory in MiB and open files of each part of the server at rest."""
    time.sleep(2)
    found = {}
    for part, processes in server.tree().items():
        if part in PARTS:
            own, files = 0, 0
            for one in processes:
                with contextlib.suppress(psutil.Error):
                    own += sum(part.private_dirty + part.swap for part in one.memory_maps())
                    files += one.num_fds()
            found[part] = (own / 2**20, files)
    return found


def soak(server: Served, jobs: int) -> tuple[list[dict[str, tuple[float, int]]], Load, int]:
    """Do the jobs; what was held after each tenth, the load, and how many did not end well."""
    load, tenths = Load(server), []
    for first in range(0, jobs, AT_ONCE):
        for number in range(first, min(jobs, first + AT_ONCE)):
            load.submit(number)
        load.follow(300)
        if first + AT_ONCE >= (len(tenths) + 1) * jobs / 10:
            tenths.append(held(server))
    bad = sum(one.state != "succeeded" or bool(one.faults) for one in load.sent)
    return tenths, load, bad


def main() -> int:
    """Soak, print, and give the exit code."""
    parser = options(__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--growth", type=float, default=5.0, help="percent that memory may grow")
    arguments = parser.parse_args()
    begun = time.monotonic()
    more = {"RECYCLE_JOBS": "1000000"}
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), **SETTINGS, **more) as server:
        tenths, load, bad = soak(server, arguments.jobs)
    seconds = time.monotonic() - begun
    rows, gates = [], [gate("jobs that did not succeed", bad, at_most=0, unit="jobs")]
    for part in PARTS:
        (before, files), (after, files_after) = tenths[0][part], tenths[-1][part]
        growth = 100 * (after / before - 1)
        rows.append({"part": part, "growth %": growth, "open files early": files, "open files late": files_after})
        rows[-1] |= {"MiB after each tenth": " ".join(f"{tenth[part][0]:.1f}" for tenth in tenths)}
        gates.append(gate(f"growth of {part}", growth, at_most=arguments.growth, unit="%"))
        gates.append(gate(f"more open files of {part}", files_after - files, at_most=2, unit="files"))
    rows.append({"part": f"{len(load.sent)} jobs in {seconds:.0f} s, {len(load.sent) / seconds:.2f} a second"})
    return report("many small jobs", rows, gates, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
