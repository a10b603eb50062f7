# SPDX-License-Identifier: Apache-2.0
"""What every test may ask for, and the rule that a skip is a failure where everything must be present."""

import os
from pathlib import Path

import pytest

MAY_ALWAYS_SKIP = ("no GPU",)
"""Starts of the reasons that are accepted even with CLARIVOX_NO_SKIPS=1."""


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real images; tests that need it skip where it is absent."""
    folder = os.environ.get("CLARIVOX_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CLARIVOX_DATA does not name the folder of real images")
    return Path(folder)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):  # type: ignore[no-untyped-def]
    """Turn a skip into a failure where CLARIVOX_NO_SKIPS=1 says that every program and image must be there."""
    report = yield
    if report.skipped and os.environ.get("CLARIVOX_NO_SKIPS") == "1" and isinstance(report.longrepr, tuple):
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        if not reason.startswith(MAY_ALWAYS_SKIP):
            report.outcome = "failed"
            report.longrepr = f"skipped where nothing may be missing: {reason}"
    return report
