# SPDX-License-Identifier: Apache-2.0
"""Where everything must be there, a skip is a failure: of a test and of a whole module."""

from pathlib import Path

import pytest

from tests.conftest import counted


@pytest.mark.parametrize(
    ("asked", "reason", "outcome"),
    [
        ("1", "no Chromium here", "failed"),
        ("1", "this kernel has no Landlock", "failed"),
        ("1", "no GPU", "skipped"),
        ("1", "no slicer-core here; it is for Python 3.11 alone: pip install", "skipped"),
        ("", "no Chromium here", "skipped"),
    ],
)
def test_a_skip_fails_where_what_is_missing_could_be_there(
    monkeypatch: pytest.MonkeyPatch, asked: str, reason: str, outcome: str
) -> None:
    monkeypatch.setenv("CLARIVOX_NO_SKIPS", asked)
    told = (__file__, 1, f"Skipped: {reason}")
    for report in (
        pytest.TestReport("a", ("a", 1, "a"), {}, "skipped", told, "call"),
        pytest.CollectReport("a", "skipped", told, []),
    ):
        assert counted(report).outcome == outcome
        assert (reason in str(report.longrepr)) and (
            outcome == "skipped" or "nothing may be missing" in report.longrepr
        )


def test_both_kinds_of_reports_go_through_it() -> None:
    text = (Path(__file__).parents[1] / "conftest.py").read_text()
    assert text.count("return counted((yield))") == 2
