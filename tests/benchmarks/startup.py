# SPDX-License-Identifier: Apache-2.0
"""How long `import clarivox` and looking around on the command line take: median of 7 fresh processes.

    python -m tests.benchmarks.startup --json out.json

The gates hold for the lesser of wall and CPU time; a bare `python -c pass` stands beside them, so that
a slow machine can be told from a slow import.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from tests.benchmarks.measure import gate, options, report

RUNS = 7
COMMAND = (sys.executable, "-c", "from clarivox.cli.main import run; run()")
CASES = {
    "python -c pass": (sys.executable, "-c", "pass"),
    "import clarivox": (sys.executable, "-c", "import clarivox"),
    "clarivox --help": (*COMMAND, "--help"),
    "clarivox bundles": (*COMMAND, "bundles"),
    "clarivox enhance --help": (*COMMAND, "enhance", "--help"),
}
LIMITS_S = {"import clarivox": 0.3, "clarivox --help": 0.5}
HEAVY = ("torch", "monai", "matplotlib")


def timed(command: tuple[str, ...]) -> tuple[float, float]:
    """Wall and CPU seconds of one fresh process."""
    before, started = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def heavy(command: tuple[str, ...]) -> list[str]:
    """Which of the heavy packages a command imports."""
    done = subprocess.run(
        (command[0], "-X", "importtime", *command[1:]), check=True, capture_output=True, text=True
    ).stderr
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.splitlines() if line.startswith("import time:")}
    return [name for name in HEAVY if name in loaded]


def main() -> int:
    """Measure, print, and give the exit code."""
    arguments = options(__doc__).parse_args()
    rows, gates = [], []
    for name, command in CASES.items():
        timed(command)
        runs = [timed(command) for _ in range(RUNS)]
        wall, cpu = (statistics.median(column) for column in zip(*runs, strict=True))
        imported = heavy(command)
        rows.append({"what": name, "wall s": wall, "CPU s": cpu, "heavy imports": ", ".join(imported) or "none"})
        if name in LIMITS_S:
            # The lesser of the two: other work on the machine lengthens the wall time, never the CPU time.
            gates.append(
                gate(f"{name}, the lesser of wall and CPU time", min(wall, cpu), at_most=LIMITS_S[name], unit="s")
            )
        gates.append(gate(f"{name} imports of torch, monai, matplotlib", len(imported), at_most=0, unit="packages"))
    return report("startup", rows, gates, arguments.json)


if __name__ == "__main__":
    raise SystemExit(main())
