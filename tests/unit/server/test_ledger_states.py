# SPDX-License-Identifier: Apache-2.0
"""A short run of the state machine; the long one is `python -m tests.benchmarks.server_ledger`."""

import pytest

from tests.ledger_machine import run


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_any_calls_in_any_order_leave_the_ledger_as_its_model(kind, request):
    address = request.getfixturevalue("cluster").database() if kind == "postgresql" else ""
    assert run(address, examples=10, steps=30) > 100
