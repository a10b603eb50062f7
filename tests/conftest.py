# SPDX-License-Identifier: Apache-2.0
"""What every test may ask for, and the rule that a skip is a failure where everything must be present."""

import os
from pathlib import Path
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
MAY_ALWAYS_SKIP = (
    "no GPU",
    "not Linux on x86_64",
    "no slicer-core here; it is for Python 3.11 alone",
    "monailabel 0.8.5 needs the module cgi, which Python 3.13 has no more",
    "monailabel 0.8.5 has no wheel that runs on Python 3.13",
)
"""Starts of the reasons that are accepted even with CLARIVOX_NO_SKIPS=1: nothing that could be installed is missing."""


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real images; tests that need it skip where it is absent."""
    folder = os.environ.get("CLARIVOX_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CLARIVOX_DATA does not name the folder of real images")
    return Path(folder)


def counted(report: Report) -> Report:
    """A skip as a failure where CLARIVOX_NO_SKIPS=1 says that every program and image must be there."""
    if report.skipped and os.environ.get("CLARIVOX_NO_SKIPS") == "1" and isinstance(report.longrepr, tuple):
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        if not reason.startswith(MAY_ALWAYS_SKIP):
            report.outcome = "failed"
            report.longrepr = f"skipped where nothing may be missing: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):  # type: ignore[no-untyped-def]
    """Of one test."""
    return counted((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):  # type: ignore[no-untyped-def]
    """Of a whole module."""
    return counted((yield))
