# SPDX-License-Identifier: Apache-2.0
"""From a PACS and back: a real Orthanc, in a network namespace of its own where one may be made."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from typing import Any

import pytest

SLICES = 60


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    missing = [name for name in ("Orthanc", "unshare", "ip") if shutil.which(name) is None]
    if missing:
        if os.environ.get("CLARIVOX_NO_SKIPS"):
            raise AssertionError(f"needs {', '.join(missing)}")
        pytest.skip(f"needs {', '.join(missing)}")
    words = [sys.executable, "-m", "tests.e2e.pacs_loop", str(tmp_path_factory.mktemp("pacs")), str(SLICES)]
    if subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode == 0:
        words = ["unshare", "-n", "sh", "-c", f"ip link set lo up && exec {shlex.join(words)}"]
    # Where no namespace may be made, Orthanc answers to this machine alone, and its DICOM port is closed.
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_study_is_fetched_enhanced_and_stored_whole(loop: dict[str, Any]) -> None:
    assert loop["check"][0] == 0, loop["check"]
    assert loop["stored"] == SLICES
    assert loop["first"][0] == 0, loop["first"]
    assert len(loop["series_first"]) == 2 and loop["instances"] == SLICES
    assert loop["same_study"] and loop["grid_mm"] <= 1e-5 and loop["changed"] > 0.1


def test_a_second_time_doubles_nothing(loop: dict[str, Any]) -> None:
    assert loop["again"][0] == 0, loop["again"]
    assert loop["series_again"] == loop["series_first"]


def test_a_result_of_ours_is_not_enhanced_again(loop: dict[str, Any]) -> None:
    code, words = loop["own"]
    assert code == 8 and "own_result" in words


def test_what_is_not_there_and_a_pacs_that_is_away_are_said(loop: dict[str, Any]) -> None:
    assert loop["absent"][0] == 8 and "no_such_object" in loop["absent"][1]
    assert loop["away"][0] == 8 and "pacs_away" in loop["away"][1]
