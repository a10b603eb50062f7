# SPDX-License-Identifier: Apache-2.0
"""Every awkward file is read right or refused by name, quickly."""

from pathlib import Path

import pytest

from tests.benchmarks.awkward import LIMIT_S, pydicom_files, shared_files, verdict

GOOD = ("right", "read", "refused")


@pytest.mark.parametrize("path", shared_files() + pydicom_files(), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_an_awkward_file_is_read_right_or_refused_by_name(path: Path) -> None:
    outcome, details, seconds = verdict(path)
    assert outcome in GOOD, details
    assert seconds < LIMIT_S
