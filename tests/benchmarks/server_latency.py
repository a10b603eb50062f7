# SPDX-License-Identifier: Apache-2.0
"""How fast the server answers while it infers, takes a job, starts it, and lets go of it.

python -m tests.benchmarks.server_latency --json out.json
python -m tests.benchmarks.server_latency --requests 60 --untimed     # prints the times, gates the counts only
"""

from __future__ import annotations

import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import Gate, gate, options, report
from tests.chaos.load import image, put, refer
from tests.served import Line, Served, serving

SLOW_BUNDLE = "mr_unet_denoise"
SLOW_SHAPE = (256, 256, 320)
"""A volume that keeps a processor at work for many seconds."""
SETTINGS = {"QUEUE_JOBS": "100000", "OWNER_JOBS": "100000", "DISK_WATERMARK_BYTES": "0", "RETRY_BACKOFF_S": "0"}
PAUSE_S = 0.02


def slow_image() -> bytes:
    """A large NIfTI file, plain, of a ramp."""
    from gzip import compress, decompress

    header = bytearray(decompress(image(0))[:352])
    struct.pack_into("<8h", header, 40, 3, *SLOW_SHAPE, 1, 1, 1, 1)
    x, y, z = SLOW_SHAPE
    row = struct.pack(f"<{x}h", *(500 + value % 97 for value in range(x)))
    return compress(bytes(header) + row * (y * z), 1, mtime=0)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so great a share of them does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def timed(line: Line, path: str, count: int) -> list[float]:
    """Milliseconds of requests one after another, a short pause between."""
    found = []
    for _ in range(count):
        started = time.perf_counter()
        answer = line.ask("GET", path)
        found.append(1000 * (time.perf_counter() - started))
        if answer.status != 200:
            raise RuntimeError(f"{path} answered {answer.status}")
        time.sleep(PAUSE_S)
    return found


def submitted(line: Line, bundle: str, digest: str, key: str, **params: Any) -> str:
    """Submit by reference and give the job's id."""
    answer = refer(line, bundle, digest, {"Idempotency-Key": key}, **params)
    if answer.status != 202:
        raise RuntimeError(f"submit answered {answer.status} {answer.body[:300]!r}")
    return str(answer.json()["id"])


def waited(line: Line, job: str, states: Sequence[str], within_s: float = 120) -> dict[str, Any]:
    """The job once it is in one of the states."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        told: dict[str, Any] = line.ask("GET", f"/v1/jobs/{job}").json()
        if told["state"] in states:
            return told
        if told["state"] not in ("queued", "running"):
            raise RuntimeError(f"job {job} {told['state']} before it was {' or '.join(states)}: {told['error']}")
        time.sleep(0.02)
    raise RuntimeError(f"job {job} did not become {' or '.join(states)} within {within_s:.0f} s")


def row(what: str, milliseconds: Sequence[float]) -> dict[str, Any]:
    """A line of the table."""
    return {
        "what": what,
        "n": len(milliseconds),
        "p50 ms": statistics.median(milliseconds),
        "p95 ms": percentile(milliseconds, 0.95),
        "p99 ms": percentile(milliseconds, 0.99),
        "most ms": max(milliseconds),
    }


def starts(line: Line, digest: str, count: int) -> list[float]:
    """Milliseconds from the 202 to the start, by the ledger, on an idle worker that has the bundle loaded."""
    found = []
    for number in range(count):
        told = waited(line, submitted(line, "identity", digest, f"start-{number}"), ("succeeded",))
        found.append(1000 * (told["started"] - told["created"]))
        time.sleep(0.1)
    return found


def cancels(line: Line, digest: str, count: int) -> list[float]:
    """Milliseconds from DELETE of a running job until it is cancelled."""
    found = []
    for number in range(count):
        job = submitted(line, SLOW_BUNDLE, digest, f"cancel-{number}", force=True)
        waited(line, job, ("running",))
        while line.ask("GET", f"/v1/jobs/{job}").json()["stage"] != "enhance":
            time.sleep(0.02)
        time.sleep(0.3)
        started = time.perf_counter()
        line.ask("DELETE", f"/v1/jobs/{job}")
        waited(line, job, ("cancelled",))
        found.append(1000 * (time.perf_counter() - started))
    return found


def measure(server: Served, requests: int) -> tuple[list[dict[str, Any]], list[Gate], list[Gate]]:
    """All of it on one server: rows, gates of counts, gates of times."""
    line = server.line(60)
    small, large = put(line, image(1)), put(line, slow_image())
    if not isinstance(small, str) or not isinstance(large, str):
        raise RuntimeError("an upload was refused")
    begun = starts(line, small, max(10, requests // 10))
    stopped = cancels(line, large, max(3, requests // 60))
    idle = {path: timed(line, path, requests) for path in ("/info/", "/v1/jobs")}
    busy_with = [submitted(line, SLOW_BUNDLE, large, f"busy-{number}", force=True) for number in range(40)]
    waited(line, busy_with[0], ("running",))
    time.sleep(1)
    busy = {path: timed(line, path, requests) for path in ("/info/", "/v1/jobs")}
    taken = []
    for number in range(requests):
        started = time.perf_counter()
        submitted(line, "identity", small, f"taken-{number}", strength=0.5)
        taken.append(1000 * (time.perf_counter() - started))
        time.sleep(PAUSE_S)
    at_work = [line.ask("GET", f"/v1/jobs/{job}").json()["state"] for job in busy_with]
    line.close()
    rows = [row(f"{path}, idle", values) for path, values in idle.items()]
    rows += [row(f"{path} while inference runs", values) for path, values in busy.items()]
    rows += [row("submit by reference while inference runs", taken)]
    rows += [row("start on an idle warm worker", begun), row("cancel of a running job", stopped)]
    counts = [gate("jobs that inferred all the time", at_work.count("running"), at_least=1, unit="jobs")]
    times = [
        gate(f"{path} while inference runs, p99", percentile(values, 0.99), at_most=50, unit="ms")
        for path, values in busy.items()
    ]
    times += [
        gate("submit by reference, p99", percentile(taken, 0.99), at_most=100, unit="ms"),
        gate("start on an idle warm worker, p95", percentile(begun, 0.95), at_most=150, unit="ms"),
        gate("cancel, p95", percentile(stopped, 0.95), at_most=2000, unit="ms"),
    ]
    return rows, counts, times


def main() -> int:
    """Measure, print, and give the exit code."""
    parser = options(__doc__)
    parser.add_argument("--requests", type=int, default=500, help="of each path")
    parser.add_argument("--untimed", action="store_true", help="print the times, gate only the counts")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), **SETTINGS, PRELOAD='["identity"]') as server:
        rows, counts, times = measure(server, arguments.requests)
    if arguments.untimed:
        for one in times:
            print(f"not gated here  {one.text}")
    return report("the server's answers", rows, counts + ([] if arguments.untimed else times), arguments.json)


if __name__ == "__main__":
    sys.exit(main())
