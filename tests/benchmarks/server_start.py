# SPDX-License-Identifier: Apache-2.0
"""How soon the server answers, is ready, and is back after its worker was killed; and what memory it holds idle.

    python -m tests.benchmarks.server_start --json out.json
    python -m tests.benchmarks.server_start --repeats 1 --untimed

Ready stands beside `python -c "import torch, monai"` of the same run. Memory is the proportional share (PSS), the sum
of API and supervisor; what the workers hold stands apart.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import gate, options, report
from tests.benchmarks.server_latency import SETTINGS, SLOW_BUNDLE, slow_image, submitted, waited
from tests.chaos.load import image, put, send
from tests.served import Served, memory_mib

IMPORT = (sys.executable, "-c", "import torch, monai")
LEASE_S = 10.0


def imported_s() -> float:
    """Seconds of the import that ready is compared with."""
    started = time.perf_counter()
    subprocess.run(IMPORT, check=True)
    return time.perf_counter() - started


def started(server: Served) -> tuple[float, float, float]:
    """Seconds until the first answer, until it is ready, and until a small job that is sent then is done."""
    begun = time.perf_counter()
    server.start()
    server.answers("/livez", 30)
    first = time.perf_counter() - begun
    server.answers("/readyz", 60)
    ready = time.perf_counter() - begun
    line = server.line(60)
    answer = send(line, "identity", image(1), "first", way=0)
    waited(line, answer.json()["id"], ("succeeded",))
    line.close()
    return first, ready, time.perf_counter() - begun


def recovered_s(server: Served) -> float:
    """Seconds from SIGKILL of a worker until its job runs again."""
    line = server.line(60)
    digest = put(line, slow_image())
    if not isinstance(digest, str):
        raise RuntimeError(f"the upload was refused: {digest.problem}")
    job = submitted(line, SLOW_BUNDLE, digest, "recover", force=True)
    first = waited(line, job, ("running",))["attempt"]
    time.sleep(1)
    server.tree()["worker"][0].kill()
    killed = time.perf_counter()
    while True:
        told = line.ask("GET", f"/v1/jobs/{job}").json()
        if told["attempt"] > first and told["state"] == "running":
            break
        if time.perf_counter() - killed > 60:
            raise RuntimeError(f"the job is {told['state']} a minute after its worker was killed")
        time.sleep(0.02)
    took = time.perf_counter() - killed
    line.ask("DELETE", f"/v1/jobs/{job}")
    line.close()
    return took


def main() -> int:
    """Measure, print, and give the exit code."""
    parser = options(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--untimed", action="store_true", help="print absolute times, gate ratios and memory only")
    arguments = parser.parse_args()
    imports, firsts, readies, done, memory = [], [], [], [], {}
    imported_s()
    for turn in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as folder:
            imports.append(imported_s())
            server = Served(Path(folder, "data"), {**SETTINGS, "LEASE_S": str(LEASE_S)})
            try:
                first, ready, ended = started(server)
                firsts.append(first)
                readies.append(ready)
                done.append(ended)
                if turn == arguments.repeats - 1:
                    time.sleep(3)
                    memory = {part: memory_mib(found) for part, found in server.tree().items() if found}
                    back = recovered_s(server)
            finally:
                server.kill()
    rows: list[dict[str, Any]] = [
        {"what": 'python -c "import torch, monai"', "median": statistics.median(imports), "unit": "s"},
        {"what": "first HTTP answer", "median": statistics.median(firsts), "unit": "s"},
        {"what": "ready to infer", "median": statistics.median(readies), "unit": "s"},
        {"what": "a small job that is sent then is done", "median": statistics.median(done), "unit": "s"},
        {"what": "a killed worker's job runs again", "median": back, "unit": "s"},
    ]
    rows += [{"what": f"memory of {part}, idle", "median": value, "unit": "MiB"} for part, value in memory.items()]
    ratio = statistics.median(ready / base for ready, base in zip(readies, imports, strict=True))
    gates = [
        gate("ready, over import torch, monai", ratio, at_most=1.5, unit="times"),
        gate("API and supervisor, idle", memory["api"] + memory["supervisor"], at_most=150, unit="MiB"),
        gate("a killed worker's job runs again", back, at_most=30, unit="s"),
    ]
    answer = gate("first HTTP answer", statistics.median(firsts), at_most=1.5, unit="s")
    if arguments.untimed:
        print(f"not gated here  {answer.text}")
    else:
        gates.append(answer)
    return report("the server's start", rows, gates, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
