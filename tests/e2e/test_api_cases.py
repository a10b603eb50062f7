# SPDX-License-Identifier: Apache-2.0
"""500 random requests against a real server; `python -m tests.benchmarks.server_cases` sends 10,000."""

from pathlib import Path

from tests.benchmarks.server_cases import quick, run

CASES = 500


def test_no_random_request_is_answered_with_a_fault_or_without_a_description(tmp_path: Path) -> None:
    with quick(tmp_path) as (server, known):
        tally = run(server, known, CASES)
    assert tally.faults == []
    assert tally.cases > 0.8 * CASES
    assert {200, 202, 404, 409, 422} <= set(tally.statuses)
