# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.twice WORDS`: pytest, and what failed once more in a fresh process; never in silence.

A hiccup of a browser must not refuse a change. What passes only the second time is named; what fails twice fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest


def failed(cache: Path) -> list[str]:
    """The tests that failed when pytest last ran with this cache."""
    kept = cache / "v" / "cache" / "lastfailed"
    return sorted(json.loads(kept.read_text())) if kept.is_file() else []


def twice(words: Sequence[str]) -> int:
    """Run pytest with these words, and where tests failed, those once more; the exit code to end with."""
    with tempfile.TemporaryDirectory(prefix="clarivox-twice-") as folder:
        command = [sys.executable, "-m", "pytest", "-o", f"cache_dir={folder}", *words]
        code = subprocess.run(command).returncode
        first = failed(Path(folder))
        if code != pytest.ExitCode.TESTS_FAILED or not first:
            return code
        print(f"\n== once more: {', '.join(first)}", flush=True)
        code = subprocess.run([*command, "--last-failed", "--last-failed-no-failures", "none"]).returncode
        again = failed(Path(folder))
    if late := [name for name in first if name not in again]:
        print(f"\n== passed only the second time: {', '.join(late)}", flush=True)
    if again:
        print(f"\n== failed twice: {', '.join(again)}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(twice(sys.argv[1:]))
