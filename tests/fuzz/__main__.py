# SPDX-License-Identifier: Apache-2.0
"""Read thousands of damaged files in limited processes: each must be read or refused by name, within 10 s.

A finding (an exception that is no ClarivoxError, a crash, a hang) is kept under tests/fuzz/regressions.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tests.benchmarks.measure import gate, options, report
from tests.fuzz.mutate import mutant
from tests.fuzz.seeds import seeds

WALL_S = 10.0
"""A file that takes longer hangs."""

REGRESSIONS = Path(__file__).parent / "regressions"

LARGEST_KEPT = 60_000
"""Bytes of a finding that is kept in the repository."""


class Child:
    """A process that reads files; started again after a crash or a hang."""

    def __init__(self) -> None:
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.fuzz.child"]
        quiet = {**os.environ, "OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=quiet
        )

    def outcome(self, path: Path) -> tuple[str, str]:
        """How one file went, and details."""
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the child has no pipes")
        stdin.write(f"{path}\n".encode())
        stdin.flush()
        ready, _, _ = select.select([stdout], [], [], WALL_S)
        line = stdout.readline() if ready else b""
        if line:
            answer = json.loads(line)
            return answer["outcome"], answer["details"]
        self.process.kill()
        code = self.process.wait()
        self.process = self._start()
        return "finding", f"crash with {code}" if ready else f"hang over {WALL_S:.0f} s"

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def run(mutants: int, seed: int, workers: int) -> tuple[Counter[str], list[str]]:
    """Read the mutants; how many had which outcome, and the findings in words."""
    originals = seeds()
    names = list(originals)
    idle: SimpleQueue[Child] = SimpleQueue()
    children = [Child() for _ in range(workers)]
    for child in children:
        idle.put(child)
    with tempfile.TemporaryDirectory(prefix="clarivox-fuzz-") as folder, ThreadPoolExecutor(workers) as pool:

        def one(index: int) -> tuple[str, str]:
            name = names[index % len(names)]
            data = mutant(originals[name], f"{seed}/{index}")
            path = Path(folder, f"{index}-{name}")
            path.write_bytes(data)
            child = idle.get()
            try:
                outcome, details = child.outcome(path)
            finally:
                idle.put(child)
            if outcome == "finding" and len(data) <= LARGEST_KEPT:
                REGRESSIONS.mkdir(exist_ok=True)
                (REGRESSIONS / f"{seed}-{index}-{name}").write_bytes(data)
            path.unlink()
            return outcome, f"mutant {seed}/{index} of {name}: {details}"

        results = list(pool.map(one, range(mutants)))
    for child in children:
        child.close()
    return Counter(outcome for outcome, _ in results), [words for outcome, words in results if outcome == "finding"]


def main() -> int:
    """Fuzz and print; exit code 1 where there are findings."""
    parser = options(__doc__)
    parser.add_argument("--mutants", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 1))
    arguments = parser.parse_args()
    started = time.perf_counter()
    count, findings = run(arguments.mutants, arguments.seed, arguments.workers)
    for words in findings:
        print(words)
    row = {"mutants": arguments.mutants, "of files": len(seeds()), "seed": arguments.seed, "read": count["read"]}
    row |= {"refused by name": count["refused"], "seconds": round(time.perf_counter() - started)}
    clean = gate("wrong errors, crashes, hangs over 10 s", len(findings), at_most=0, unit="findings")
    return report("damaged files", [row], [clean], arguments.json)


if __name__ == "__main__":
    sys.exit(main())
