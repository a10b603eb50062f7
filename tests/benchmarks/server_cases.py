# SPDX-License-Identifier: Apache-2.0
"""Requests that schemathesis makes from the description of the interface, sent to a server that answers quickly.

    python -m tests.benchmarks.server_cases --cases 10000 --json out.json

The server is a real one in a process of its own, on a folder with jobs in every state; a thread stands in for its
workers and ends each job at once, well or badly in turn. Half of the cases fit the description and half do not; names
in paths are those of things that are there, half of the time. A server error, or an answer that the description does
not hold, is a fault.
"""

from __future__ import annotations

import itertools
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clarivox.server.blobs import Blobs
from clarivox.server.dicom_store import DicomStore
from clarivox.server.job import FileRef, Job, NewJob, Outcome, Role, State, WorkerRow
from clarivox.server.ledger import Ledger
from clarivox.server.settings import Settings
from tests.benchmarks.measure import gate, options, report
from tests.dicom_jobs import published
from tests.dicom_objects import series_of
from tests.served import Served

SLOW_S = 20.0
"""An answer that takes longer is a fault."""


@dataclass
class StandIn:
    """Ends jobs as soon as they are there, as workers would."""

    ledger: Ledger
    blobs: Blobs
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until `stop`."""
        seen = 0.0
        for number in itertools.count():
            if time.monotonic() - seen > 5:
                seen = time.monotonic()
                self.ledger.put_worker(WorkerRow("stand-in", "here", 0, "cpu", "", "", "ready", seen, seen))
            job = self.ledger.claim("stand-in")
            if job is not None:
                self.ledger.finish(job.id, job.attempt, self.outcome(job, number))
            elif self.stop.wait(0.02):
                return

    def outcome(self, _job: Job, number: int) -> Outcome:
        """Well or badly, in turn."""
        if number % 3 == 0:
            error = {"code": "unsupported_format", "title": "Unsupported Media Type", "status": 415}
            return Outcome(State.FAILED, error=error)
        with self.blobs.writer() as writer:
            writer.write(b"result")
            sha256, size = writer.commit()
        result = FileRef(Role.RESULT, sha256, size, "application/gzip", "result.nii.gz")
        page = FileRef(Role.EVIDENCE, sha256, size, "text/html; charset=utf-8", "evidence.html")
        return Outcome(State.SUCCEEDED, (result, page))


@contextmanager
def quick(folder: Path) -> Iterator[tuple[Served, dict[str, list[str]]]]:
    """A server without workers but with a stand-in, and names of things that are there, by the name in a path."""
    settings = Settings(data_dir=folder / "data", disk_watermark_bytes=0, owner_jobs=100_000, queue_jobs=100_000)
    given = {"DEVICES": "cpu", "DISK_WATERMARK_BYTES": "0", "OWNER_JOBS": "100000", "QUEUE_JOBS": "100000"}
    server = Served(folder / "data", {**given, "WORKERS_CPU": "0"})
    server.start()
    server.answers("/livez", 60)
    ledger, blobs = Ledger(settings.ledger_url, settings=settings), Blobs(settings.data_dir, settings)
    stand_in = StandIn(ledger, blobs)
    images = dicom_names(ledger, blobs, folder)
    with blobs.writer() as writer:
        writer.write(b"an image")
        sha256, size = writer.commit()
    file = FileRef(Role.INPUT, sha256, size, "application/octet-stream", "input")
    jobs = [ledger.submit(NewJob(owner="local", inputs=(file,), bundle="identity"))[0].id for _ in range(6)]
    ledger.cancel(jobs[0])
    thread = threading.Thread(target=stand_in.run)
    thread.start()
    try:
        yield server, {"job_id": jobs, "sha256": [sha256], "name": ["identity"], "model": ["identity"], **images}
    finally:
        stand_in.stop.set()
        thread.join()
        ledger.close()
        server.kill()


def dicom_names(ledger: Ledger, blobs: Blobs, folder: Path) -> dict[str, list[str]]:
    """A series as a finished job, and what it is called in the paths of DICOMweb."""
    published(ledger, blobs, series_of("ct", folder / "ct", StudyInstanceUID="1.2.3"))
    found = DicomStore(ledger, blobs).instances(None, "1.2.3", None, None)
    series, uids = found[0].series, [one.uid for one in found]
    return {"study": ["1.2.3"], "series": [series], "instance": uids, "frames": ["1", "2"], "path": ["7FE00010"]}


@dataclass
class Tally:
    """What came of the cases."""

    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


def run(server: Served, known: dict[str, list[str]], cases: int, seed: int = 1) -> Tally:
    """Send so many cases, shared out among the operations.

    Args:
        server: that answers.
        known: names of things that are there.
        cases: how many.
        seed: of everything that is drawn.
    """
    import schemathesis
    from schemathesis.generation import GenerationMode

    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    tally, draw = Tally(), random.Random(seed)
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    kinds, before = list(itertools.product(operations, modes)), -1
    while before < tally.cases < cases:  # again, since some operations have fewer different requests than their share
        before = tally.cases
        share, more = divmod(cases - tally.cases, len(kinds))
        for number, (operation, mode) in enumerate(draw.sample(kinds, len(kinds))):
            some(operation, mode, share + (number < more), known, tally, draw)
    return tally


def some(operation: Any, mode: Any, count: int, known: dict[str, list[str]], tally: Tally, draw: random.Random) -> None:
    """Cases of one operation, of one kind."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded
    from hypothesis.errors import Unsatisfiable
    from schemathesis.core.errors import InvalidSchema

    if not count:
        return

    @seeded(draw.randrange(1 << 30))
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        for name in case.path_parameters or {}:
            if name in known and draw.random() < 0.5:
                case.path_parameters[name] = draw.choice(known[name])
        one(case, tally)

    try:
        send()
    except (Unsatisfiable, InvalidSchema):
        return  # a GET without parameters has no request that does not fit it


def one(case: Any, tally: Tally) -> None:
    """Send one case and look at the answer."""
    import requests
    from schemathesis.core.failures import FailureGroup
    from schemathesis.specs.openapi import checks

    tally.cases += 1
    tally.operations[case.operation.label] += 1
    began = time.monotonic()
    try:
        answer = case.call(timeout=SLOW_S)
    except requests.RequestException as error:
        tally.faults.append(f"{case.operation.label}: no answer, {type(error).__name__}\n{case.as_curl_command()}")
        return
    tally.slowest_s = max(tally.slowest_s, time.monotonic() - began)
    tally.statuses[answer.status_code] += 1
    if answer.status_code >= 500 and answer.status_code not in (503, 507):
        tally.faults.append(f"{case.operation.label}: {answer.status_code}\n{case.as_curl_command()}\n{answer.text}")
        return
    held = [checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance]
    held += [checks.response_headers_conformance]
    try:
        case.validate_response(answer, checks=held)
    except FailureGroup as found:
        for failure in found.exceptions:
            tally.faults.append(f"{case.operation.label}: {failure}\n{case.as_curl_command()}\n{answer.text[:300]}")


def main(arguments: list[str] | None = None) -> int:
    """Run the cases and report them."""
    parser = options(__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, quick(Path(folder)) as (server, known):
        tally = run(server, known, chosen.cases, chosen.seed)
    for fault in tally.faults[:20]:
        print(fault[:1000], "\n")
    rows = [{"what": f"answers {status}", "cases": n} for status, n in sorted(tally.statuses.items())]
    rows += [{"what": f"operations of {len(tally.operations)}", "cases": tally.cases, "slowest s": tally.slowest_s}]
    gates = [gate("faults", len(tally.faults), at_most=0, unit="cases")]
    gates += [gate("requests", tally.cases, at_least=chosen.cases, unit="cases")]
    return int(report("random requests", rows, gates, chosen.json))


if __name__ == "__main__":
    raise SystemExit(main())
