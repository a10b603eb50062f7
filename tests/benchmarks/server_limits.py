# SPDX-License-Identifier: Apache-2.0
"""Times that the server promises one by one: of hostile inputs, and of deleting.

    python -m tests.benchmarks.server_limits --json out.json
    python -m tests.benchmarks.server_limits --untimed     # deleting alone; prints the times, gates none

tests/e2e looks at what each of them answers, at whatever pace.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests import hostile, ordeal, toys
from tests.benchmarks.measure import Gate, gate, options, report
from tests.served import Served, serving

DELETIONS = 20


def hostile_inputs(server: Served) -> tuple[list[dict[str, Any]], list[Gate]]:
    """Every hostile input once."""
    found = ordeal.undergo(server)
    name = max(found.took_s, key=lambda one: found.took_s[one])
    rows = [
        {"what": f"the longest of {len(found.took_s)} hostile inputs: {name}", "s": found.took_s[name]},
        {"what": "a good request before", "s": found.usual_s},
        {"what": "a good request after", "s": found.again_s},
    ]
    most = max(3 * found.usual_s, found.usual_s + 1)
    gates = [
        gate("the longest hostile input", found.took_s[name], at_most=ordeal.LONGEST_S, unit="s"),
        gate("a good request after them", found.again_s, at_most=most, unit="s"),
    ]
    return rows, gates


def deletions(server: Served) -> tuple[list[dict[str, Any]], list[Gate]]:
    """From the request to delete the files of a job until they are gone."""
    took = []
    line = server.line()
    body = hostile.series(toys.ct_series())
    for _ in range(DELETIONS):
        job = server.ended(ordeal.send(server, body).json())
        files = [one["sha256"] for one in (*job["inputs"], *job["results"])]
        kept = [server.data / "blobs" / sha256[:2] / sha256 for sha256 in files]
        if not any(path.exists() for path in kept):
            raise RuntimeError(f"there is nothing to delete of {job}")
        started = time.perf_counter()
        line.ask("DELETE", f"/v1/jobs/{job['id']}/files")
        while any(path.exists() for path in kept):
            time.sleep(0.002)
        took.append(time.perf_counter() - started)
    line.close()
    rows = [{"what": "files of a job are deleted, median", "s": statistics.median(took)}]
    return rows, [gate("files of a job are deleted, the longest", max(took), at_most=1, unit="s")]


def main() -> int:
    """Measure, print, and give the exit code."""
    parser = options(__doc__)
    parser.add_argument("--untimed", action="store_true", help="deleting alone, without gates")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    gates: list[Gate] = []
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), DISK_WATERMARK_BYTES="0") as server:
        for part in (deletions,) if arguments.untimed else (deletions, hostile_inputs):
            found = part(server)
            rows, gates = rows + found[0], gates + found[1]
    if arguments.untimed:
        for one in gates:
            print(f"not gated here  {one.text}")
        gates = []
    return report("the server's limits", rows, gates, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
