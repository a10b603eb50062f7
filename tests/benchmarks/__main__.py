# SPDX-License-Identifier: Apache-2.0
"""Run every benchmark in turn: `python -m tests.benchmarks [--small] [--json DIR] [NAME ...]`; 1 where a gate fails."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

BENCHMARKS: dict[str, list[str]] = {
    "startup": [],
    "pitfalls": [],
    "awkward": [],
    "roundtrip": [],
    "validate": [],
    "read_dicom": ["--repeats", "3"],
    "write_dicom": ["--slices", "100"],
    "write_nifti": ["--size", "256"],
    "tiling": ["--slack", "1.15"],
    "memory": [],
    "gpu": [],
    "engine": ["--rounds", "5"],
    "mr_denoise": ["--slices", "2"],
    "ct_denoise": ["--slices", "1", "--repeats", "2", "--tuning", "0", "--cut", "256", "--views", "90"],
    "photo_denoise": ["--pictures", "4", "--searched", "1", "--sigmas", "25", "--sides", "128"],
    "cxr_superres": ["--pictures", "1"],
    "dose_law": ["--repeats", "16"],
    "speckle": [],
    "train_srcnn": ["--minutes", "0.2", "--pictures", "12"],
    "training_memory": ["--volumes", "8", "24", "--batches", "120"],
    "us_svd": ["--pictures", "4"],
    "classical": [],
    "claims": ["--steps", "1"],
    "diffusion": ["--small", "--modality", "mr", "--steps", "4", "--steps", "1"],
    "us_despeckle": ["--pictures", "3"],
    "us_real": ["--pictures", "2"],
    "us_speed": ["--untimed"],
    "pacs_receive": ["--slices", "40", "--repeats", "1", "--untimed"],
    "server_ledger": ["--steps", "300", "--jobs", "100", "--untimed"],
    "server_start": ["--repeats", "1", "--untimed"],
    "server_latency": ["--requests", "60", "--untimed"],
    "server_cases": ["--cases", "100"],
    "server_limits": ["--untimed"],
    "page": ["--repeats", "1", "--untimed"],
    "server_bodies": ["--repeats", "7", "--parallel-mb", "50", "--slack", "1.3"],
    "server_soak": ["--jobs", "60", "--growth", "15"],
}
"""Name: what to add for the small run that each commit makes."""


def main(arguments: list[str] | None = None) -> int:
    """Run the named benchmarks, or all, each in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all where none is given")
    parser.add_argument(
        "--small", action="store_true", help="the sizes of each commit; what misses a gate runs once more"
    )
    parser.add_argument("--json", type=Path, metavar="DIR", help="keep each benchmark's figures in this folder")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    failed = []
    for name in options.names or BENCHMARKS:
        command = [sys.executable, "-m", f"tests.benchmarks.{name}", *(BENCHMARKS[name] if options.small else [])]
        if options.json:
            options.json.mkdir(parents=True, exist_ok=True)
            command += ["--json", str(options.json / f"{name}.json")]
        print(f"\n## {name}", flush=True)
        started = time.monotonic()
        missed = subprocess.run(command).returncode
        if missed and options.small:
            print("a gate was missed; once more, in case the machine was busy", flush=True)
            missed = subprocess.run(command).returncode
        if missed:
            failed.append(name)
        print(f"({time.monotonic() - started:.0f} s)", flush=True)
    print(f"\n{len(options.names or BENCHMARKS) - len(failed)} passed, {len(failed)} failed")
    if failed:
        print("failed:", ", ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
