# SPDX-License-Identifier: Apache-2.0
"""Whole programs share a machine with others: a test of them that hangs is ended, but late."""

import pytest

HANGS_S = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test of this folder the limit of this folder, where it has none of its own."""
    for item in items:
        if item.path.parent.name == "e2e" and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(HANGS_S))
