# SPDX-License-Identifier: Apache-2.0
"""The ledger on SQLite and PostgreSQL: any calls in any order against a model of it, and how long each call takes.

    python -m tests.benchmarks.server_ledger --steps 10000 --json out.json

Each step is one call or a few, after which the whole ledger is compared with the model (`tests.ledger_machine`).
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clarivox.server.job import Outcome, State
from clarivox.server.ledger import Ledger
from tests import ledger_machine, postgres
from tests.benchmarks.measure import Gate, gate, options, report
from tests.ledgers import file, new, opened

STEPS_A_RUN = 50
POLL_S = 0.05


@contextmanager
def addresses(folder: Path) -> Iterator[dict[str, str]]:
    """The address of an empty database of each kind."""
    with postgres.cluster(durable=True) as cluster:
        yield {"SQLite": f"sqlite:///{folder / 'ledger.sqlite'}", "PostgreSQL": cluster.database()}


def walked(url: str, steps: int) -> dict[str, Any]:
    """Let the state machine take so many steps; what it found, if ledger and model came apart."""
    taken, broken, started = 0, "", time.perf_counter()
    while taken < steps and not broken:
        try:
            taken += ledger_machine.run(url, examples=max((steps - taken) // STEPS_A_RUN, 4), steps=STEPS_A_RUN)
        except AssertionError as error:
            broken = str(error) or "ledger and model differ"
    return {"steps": taken, "broken": broken, "minutes": (time.perf_counter() - started) / 60}


def timed(call: Any, into: list[float]) -> Any:
    """What a call gives; how many milliseconds it took is added to the list."""
    started = time.perf_counter()
    given = call()
    into.append((time.perf_counter() - started) * 1000)
    return given


def latencies(url: str, folder: Path, jobs: int) -> dict[str, Any]:
    """Milliseconds of each call of a job's life, and from submit to start with a worker that polls."""
    ledger = opened(url, folder, queue_jobs=10**6, owner_jobs=10**6)
    times: dict[str, list[float]] = {name: [] for name in ("submit", "claim", "beat", "finish", "get", "idle")}
    for _ in range(jobs):
        timed(lambda: ledger.submit(new()), times["submit"])
        job = timed(lambda: ledger.claim("w"), times["claim"])
        timed(lambda job=job: ledger.beat(job.id, job.attempt, stage="infer", done=0.5), times["beat"])
        good = Outcome(State.SUCCEEDED, results=(file(7, "result"),))
        timed(lambda job=job, good=good: ledger.finish(job.id, job.attempt, good), times["finish"])
        timed(lambda job=job: ledger.get(job.id), times["get"])
        timed(lambda: ledger.claim("w"), times["idle"])
    times["start"] = waits(ledger, min(jobs, 100))
    ledger.close()
    return {
        name: {"p50": statistics.median(one), "p95": percentile(one, 95), "p99": percentile(one, 99)}
        for name, one in times.items()
    }


def waits(ledger: Ledger, jobs: int) -> list[float]:
    """Milliseconds from the answer of submit to the start of the job, with one idle worker that polls."""
    begun: dict[str, float] = {}
    end = threading.Event()

    def work() -> None:
        while not end.is_set():
            job = ledger.claim("w")
            if job is None:
                time.sleep(POLL_S)
            else:
                begun[job.id] = time.perf_counter()
                ledger.finish(job.id, job.attempt, Outcome(State.SUCCEEDED))

    worker = threading.Thread(target=work)
    worker.start()
    asked = {}
    for _ in range(jobs):
        asked[ledger.submit(new())[0].id] = time.perf_counter()
        time.sleep(POLL_S * 1.3)
    while len(begun) < jobs:
        time.sleep(POLL_S)
    end.set()
    worker.join()
    return [(begun[job_id] - when) * 1000 for job_id, when in asked.items()]


def percentile(values: list[float], percent: int) -> float:
    """The value that so many percent lie at or below.

    >>> percentile([3.0, 1.0, 2.0, 4.0], 50)
    2.0
    """
    ordered = sorted(values)
    return ordered[max(-(-len(ordered) * percent // 100) - 1, 0)]


def main(arguments: list[str] | None = None) -> int:
    """Walk and time both databases."""
    parser = options(__doc__)
    parser.add_argument("--steps", type=int, default=10_000, help="steps of the state machine on each database")
    parser.add_argument("--jobs", type=int, default=300, help="jobs to time on each database")
    parser.add_argument("--untimed", action="store_true", help="print times, do not gate them")
    given = parser.parse_args(arguments)
    rows, gates, more = [], [], {}
    with tempfile.TemporaryDirectory() as name, addresses(Path(name)) as found:
        for kind, url in found.items():
            took = latencies(url, Path(name), given.jobs)
            said = walked(url, given.steps)
            more[kind] = {"broken": said["broken"], "milliseconds": took}
            row = {"database": kind, "steps": said["steps"], "minutes": said["minutes"]}
            rows.append(row | {f"{call} p50 ms": one["p50"] for call, one in took.items()})
            steps, told = said["steps"], said["broken"] or "no invariant broken"
            walk = f"{kind}: {steps} steps of the state machine, at least {given.steps}; {told}"
            gates.append(Gate(walk, steps >= given.steps and not said["broken"]))
            if not given.untimed:
                gates.append(gate(f"{kind}: submit p99", took["submit"]["p99"], at_most=100, unit="ms"))
                gates.append(gate(f"{kind}: submit to start p95", took["start"]["p95"], at_most=150, unit="ms"))
    return report("server_ledger", rows, gates, given.json, more=more)


if __name__ == "__main__":
    raise SystemExit(main())
