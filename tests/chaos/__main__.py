# SPDX-License-Identifier: Apache-2.0
"""Break a server that works, and count what it lost: nothing may be.

python -m tests.chaos kills --hits 100 --jobs 150     # SIGKILL of random processes: what each commit runs
python -m tests.chaos kills --postgres                # the same with the ledger in PostgreSQL, which is hit, too
python -m tests.chaos stops --hits 200 --jobs 1000    # SIGSTOP of workers for longer than their lease
python -m tests.chaos full                            # ENOSPC at every write in turn
python -m tests.chaos cuts --hits 200                 # power cuts, replayed from recorded writes and fsyncs
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import gate, options, report
from tests.chaos import cuts, full, kills
from tests.chaos.verdict import Verdict
from tests.postgres import cluster
from tests.served import end_all


def hit(arguments: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], Verdict, dict[str, Any]]:
    """SIGKILLs or SIGSTOPs."""
    with cluster() if arguments.postgres else nullcontext() as postgres:
        done = kills.run(
            folder,
            jobs=arguments.jobs,
            hits=arguments.hits,
            stops=arguments.what == "stops",
            seed=arguments.seed,
            drain_s=arguments.drain,
            postgres=postgres,
        )
    row: dict[str, Any] = {"ledger": "PostgreSQL" if arguments.postgres else "SQLite", "jobs": done.verdict.rows}
    row |= {"hits": sum(done.havoc.hits.values()), "while a job ran": done.havoc.while_running}
    row |= {"attempts": done.verdict.attempts}
    for one in done.load.sent:
        if one.id is None:
            done.verdict.add("stuck", f"job {one.number} was never taken; answers: {dict(one.refusals)}")
    return row, done.verdict, {"hits": dict(done.havoc.hits), "states": dict(done.verdict.states)}


def fill(arguments: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], Verdict, dict[str, Any]]:
    """Full disks."""
    found = full.run(folder, rounds=arguments.hits, starts=arguments.starts, first=arguments.first, step=arguments.step)
    row = {"rounds": found.rounds, "starts": found.starts, "writes met": sum(found.met.values())}
    row |= {"jobs": found.verdict.rows, "attempts": found.verdict.attempts}
    more = {"met": dict(found.met), "answers": dict(found.refused), "errors": dict(found.verdict.errors)}
    return row, found.verdict, more | {"states": dict(found.verdict.states)}


def cut(arguments: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], Verdict, dict[str, Any]]:
    """Power cuts."""
    recorded = cuts.record(folder / "recorded", arguments.jobs)
    verdict = cuts.replay(recorded, folder, arguments.hits, arguments.served, arguments.seed)
    row = {"jobs": len(recorded.sent), "changes recorded": len(recorded.changes), "cuts": arguments.hits}
    row |= {"served again": min(arguments.served, arguments.hits), "writes not seen": recorded.unseen}
    return row, verdict, {}


RUNS = {
    "kills": (hit, "SIGKILL of API, supervisor, workers and their children", 100, 150),
    "stops": (hit, "SIGSTOP of workers", 200, 1000),
    "full": (fill, "a full disk at every write in turn", 400, 0),
    "cuts": (cut, "power cuts", 200, 40),
}
"""Name: what runs, its title, hits and jobs."""


def main() -> int:
    """Run one kind of chaos; 1 where anything was lost."""
    parser = options(__doc__)
    parser.add_argument("what", choices=RUNS)
    parser.add_argument("--hits", type=int, help="kills, stops, rounds or cuts")
    parser.add_argument("--jobs", type=int, help="jobs that are sent meanwhile")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--drain", type=float, default=300, help="seconds to end all jobs after the last hit")
    parser.add_argument("--postgres", action="store_true", help="of kills and stops: the ledger in a PostgreSQL")
    parser.add_argument("--served", type=int, default=5, help="of cuts: how many to start a server after")
    parser.add_argument("--starts", type=int, default=60, help="of full: writes of a start to meet")
    parser.add_argument("--first", type=int, default=1, help="of full: the first write to meet")
    parser.add_argument("--step", type=int, default=1, help="of full: meet every nth write only")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work there, and leave the folder and its logs")
    arguments = parser.parse_args()
    call, title, hits, jobs = RUNS[arguments.what]
    title += "; the ledger in PostgreSQL" if arguments.postgres else ""
    arguments.hits, arguments.jobs = arguments.hits or hits, arguments.jobs or jobs
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers are ended too
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="clarivox-chaos-") as made:
        folder = (arguments.keep or Path(made)).absolute()
        try:
            row, verdict, more = call(arguments, folder)
        finally:
            end_all()
    row |= {"seconds": round(time.monotonic() - started), "seed": arguments.seed}
    gates = verdict.gates()
    if arguments.what != "cuts":
        done = sum(count for state, count in verdict.states.items() if state == "succeeded")
        gates.append(gate("jobs that succeeded", done, at_least=1, unit="jobs"))
    return report(title, [row | verdict.counts()], gates, arguments.json, more=more)


if __name__ == "__main__":
    sys.exit(main())
