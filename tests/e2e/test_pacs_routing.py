# SPDX-License-Identifier: Apache-2.0
"""A real Orthanc that sends everything back, the node, the courier, a server, real bundles: in, by rule, out, once."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pacs_stack import apart

SLICES = 12


def seen(scenario: str, folder: Path) -> dict[str, Any]:
    """What a scenario saw, in a network of its own."""
    missing = [name for name in ("Orthanc", "unshare", "ip") if shutil.which(name) is None]
    space = [] if missing else apart()
    why = f"needs {', '.join(missing)}" if missing else "" if space else "may not make a network namespace"
    if why:  # Orthanc's DICOM port would be open to anybody
        if os.environ.get("CLARIVOX_NO_SKIPS"):
            raise AssertionError(why)
        pytest.skip(why)
    words = [*space, sys.executable, "-m", "tests.e2e.pacs_routing", scenario, str(folder), str(SLICES)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=580)
    logs = "".join(path.read_text(errors="replace")[-2000:] for path in (folder / "stack").glob("*.log"))
    assert done.returncode == 0, done.stderr[-3000:] + logs
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return seen("loop", tmp_path_factory.mktemp("loop"))


@pytest.mark.timeout(600)
def test_series_come_both_ways_and_results_go_both_ways_whole(loop: dict[str, Any]) -> None:
    assert loop["stored"] == SLICES
    assert loop["first"]["deliveries"] == {"done": 2} and loop["first"]["delivered"] == 2 * SLICES
    for kind in ("ct", "mr"):
        assert loop[kind]["instances"] == SLICES and loop[kind]["same_identifiers"]
        assert loop[kind]["largest_difference"] == 0 and loop[kind]["changed"] > 0.1
    assert loop["committed"] == SLICES
    assert not loop["log_has_uid"]


def test_nothing_is_enhanced_twice_although_all_of_it_comes_back(loop: dict[str, Any]) -> None:
    # The source of the one study and both results are in the PACS; it sent all of it to the node.
    assert loop["first"]["series"] == 3 and loop["first"]["instances"] == 3 * SLICES
    assert loop["first"]["jobs"] == 2 and loop["first"]["ignored_own"] == 2 and loop["first"]["failed"] == 0


def test_a_study_that_is_sent_again_doubles_nothing(loop: dict[str, Any]) -> None:
    assert loop["again"] == loop["first"] and loop["again"]["doubled"] == 0


@pytest.mark.timeout(600)
def test_killed_again_and_again_everything_accepted_is_delivered_once(tmp_path: Path) -> None:
    found = seen("kills", tmp_path)
    assert found["killed"] == {"node": 2, "courier": 4, "server": 1, "worker": 1}
    assert found["back"] == [SLICES] * 2
    assert found["end"]["doubled"] == 0 and found["end"]["failed"] == 0
    assert set(found["end"]["deliveries"]) == {"done"}
    # One source in the PACS, two results, and nothing made of a result.
    assert found["end"]["series"] == 3 and found["end"]["instances"] == 3 * SLICES
