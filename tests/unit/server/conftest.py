# SPDX-License-Identifier: Apache-2.0
"""Every test of the ledger runs on both databases."""

import pytest

from tests import postgres
from tests.ledgers import Clock, opened


@pytest.fixture(scope="session")
def cluster():
    if postgres.programs() is None:
        pytest.skip(postgres.WHY_NOT)
    with postgres.cluster() as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """The address of a new, empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    return request.getfixturevalue("cluster").database()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(database_url, tmp_path, clock):
    """A ledger on the database of this test, with these settings."""
    made = []

    def make_ledger(**more):
        made.append(opened(database_url, tmp_path, clock, **more))
        return made[-1]

    yield make_ledger
    for ledger in made:
        ledger.close()


@pytest.fixture
def ledger(make):
    return make()
