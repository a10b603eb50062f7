# SPDX-License-Identifier: Apache-2.0
"""Run the experiments: `python -m tests.experiments [NAME ...] [--json DIR] [--work DIR] [--minutes M] [--small]`.

An experiment trains small networks to answer one question. It goes on from its checkpoints under --work, so that a run
that was stopped, or ended by --minutes, is continued by the same command. The exit code is 1 where a gate fails, and
75 where training is not at its end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from tests.experiments.study import UNFINISHED

EXPERIMENTS = (
    "dncnn_harness",
    "superres_harness",
    "bias_free",
    "ablation_wavelet",
    "ablation_init",
    "ablation_activation",
    "hybrid",
    "diagnosis",
    "diffusion_unet",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the named experiments, or all, each in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.experiments", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(EXPERIMENTS)}; all where none is given"
    )
    parser.add_argument("--small", action="store_true", help="a few steps on little data, to see that it runs")
    parser.add_argument("--json", type=Path, metavar="DIR", help="keep each experiment's figures in this folder")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", default=Path("runs/experiments"), help="checkpoints go below this"
    )
    parser.add_argument("--minutes", type=float, metavar="M", help="of training each; what is not at its end says so")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(EXPERIMENTS):
        parser.error(f"no such experiment: {', '.join(sorted(unknown))}")
    codes = {}
    for name in options.names or EXPERIMENTS:
        command = [sys.executable, "-m", f"tests.experiments.{name}", "--work", str(options.work)]
        command += ["--small"] if options.small else []
        command += ["--minutes", str(options.minutes)] if options.minutes is not None else []
        if options.json:
            options.json.mkdir(parents=True, exist_ok=True)
            command += ["--json", str(options.json / f"{name}.json")]
        print(f"\n## {name}", flush=True)
        started = time.monotonic()
        codes[name] = subprocess.run(command).returncode
        print(f"({time.monotonic() - started:.0f} s)", flush=True)
    for word, wanted in (
        ("passed", {0}),
        ("not at their end", {UNFINISHED}),
        ("failed", set(codes.values()) - {0, 75}),
    ):
        if found := [name for name, code in codes.items() if code in wanted]:
            print(f"{word}: {', '.join(found)}")
    return max(codes.values(), key=lambda code: (code not in (0, UNFINISHED), code))


if __name__ == "__main__":
    raise SystemExit(main())
