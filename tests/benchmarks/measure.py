# SPDX-License-Identifier: Apache-2.0
"""One way to measure: a fresh process for each run, candidates in turn, CPU seconds and memory above import.

A target is named "package.module:function". It gets keyword arguments that JSON can carry. Where it is a generator
function, everything up to its first `yield` (imports, making inputs) is not measured; what it yields or returns last
goes back to the caller as `result`, if JSON can carry it.

    rows = interleaved({"ours": "tests.benchmarks.x:ours", "peer": "tests.benchmarks.x:peer"}, repeats=3, size=64)
    ours, peer = least(rows["ours"]), least(rows["peer"])
    raise SystemExit(report("x", [...], [gate("CPU", ours.cpu_s, at_most=peer.cpu_s, unit="s")], json_path))
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MARK = "measured: "
"""Starts the one line of a child's output that carries its figures."""


@dataclass(frozen=True)
class Run:
    """One measured call in a process of its own."""

    cpu_s: float
    """User and system time of the process and its ended children."""
    wall_s: float
    peak_rss_growth_mb: float
    """Highest resident memory during the call, above what the process held before it; 1 MB is 1e6 bytes."""
    result: Any = None


@dataclass(frozen=True)
class Gate:
    """A condition that a benchmark must meet."""

    text: str
    passed: bool


def child(target: str, *, timeout_s: float = 600, env: Mapping[str, str] | None = None, **arguments: Any) -> Run:
    """Run "package.module:function" with `arguments` in a fresh process and measure it.

    Raises:
        RuntimeError: the call failed; the message ends with what it printed.
    """
    command = [sys.executable, "-m", "tests.benchmarks.measure", target, json.dumps(arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, env={**os.environ, **(env or {})}, check=False
    )
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            return Run(**json.loads(line.removeprefix(MARK)))
    raise RuntimeError(f"{target} failed with exit code {done.returncode}:\n{done.stderr[-2000:]}")


def interleaved(targets: Mapping[str, str], *, repeats: int = 5, **arguments: Any) -> dict[str, list[Run]]:
    """Run every target `repeats` times, one after another in turn, so that a busy machine disturbs all alike."""
    runs: dict[str, list[Run]] = {name: [] for name in targets}
    for _ in range(repeats):
        for name, target in targets.items():
            runs[name].append(child(target, **arguments))
    return runs


def least(runs: Sequence[Run]) -> Run:
    """The smallest figure of each kind over several runs: what the machine's other work disturbed least."""
    return Run(
        cpu_s=min(run.cpu_s for run in runs),
        wall_s=min(run.wall_s for run in runs),
        peak_rss_growth_mb=min(run.peak_rss_growth_mb for run in runs),
        result=runs[-1].result,
    )


def gate(name: str, found: float, *, at_most: float | None = None, at_least: float | None = None, unit: str) -> Gate:
    """A figure beside its limit.

    >>> gate("CPU time", 0.5, at_most=0.6, unit="s")
    Gate(text='CPU time: 0.5 s, at most 0.6 s', passed=True)
    """
    passed, text = True, f"{name}: {found:.4g} {unit}"
    if at_most is not None:
        passed, text = passed and found <= at_most, f"{text}, at most {at_most:.4g} {unit}"
    if at_least is not None:
        passed, text = passed and found >= at_least, f"{text}, at least {at_least:.4g} {unit}"
    return Gate(text, passed)


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def report(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    gates: Sequence[Gate],
    json_path: str | Path | None = None,
    *,
    more: Mapping[str, Any] | None = None,
) -> int:
    """Print a table of `rows` and the gates, write both as JSON, and `more`, if asked; 1 if a gate failed, else 0."""
    print(f"# {name} on {machine()['cores']} cores, {machine()['cpu']}, load {machine()['load']}")
    if rows:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        cells = [[_cell(row.get(column, "")) for column in columns] for row in rows]
        widths = [max(len(line[i]) for line in [columns, *cells]) for i in range(len(columns))]
        for line in [columns, *cells]:
            print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    for one in gates:
        print(f"{'pass' if one.passed else 'FAIL'}  {one.text}")
    if json_path:
        content = {"name": name, "machine": machine(), "rows": list(rows), "gates": [asdict(one) for one in gates]}
        content |= dict(more or {})
        Path(json_path).write_text(json.dumps(content, indent=1) + "\n")
    return 0 if all(one.passed for one in gates) else 1


def options(description: str | None, *, data: bool = False) -> argparse.ArgumentParser:
    """A benchmark's command line: --json FILE, which all have, and --data DIR for those on real images."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="also write the figures there")
    if data:
        default = os.environ.get("CLARIVOX_DATA", "")
        parser.add_argument("--data", type=_data_folder, default=default, help="the folder of data sets")
    return parser


def _data_folder(text: str) -> str:
    if not text or not Path(text).is_dir():
        raise argparse.ArgumentTypeError("name the folder of data sets by --data or CLARIVOX_DATA")
    return text


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _resident_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/self/status has no {field}")


def _cpu_s() -> float:
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def _measured(target: str, arguments: dict[str, Any]) -> Run:
    module, _, name = target.partition(":")
    call = getattr(importlib.import_module(module), name)
    steps = None
    if inspect.isgeneratorfunction(call):
        steps = call(**arguments)
        next(steps)
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is resident now
    before, cpu, wall = _resident_mb("VmRSS"), _cpu_s(), time.perf_counter()
    result = next(steps, None) if steps is not None else call(**arguments)
    wall, cpu = time.perf_counter() - wall, _cpu_s() - cpu
    return Run(cpu, wall, _resident_mb("VmHWM") - before, result)


if __name__ == "__main__":
    print(MARK + json.dumps(asdict(_measured(sys.argv[1], json.loads(sys.argv[2])))))
