# SPDX-License-Identifier: Apache-2.0
"""Every test of the ledger runs on both databases; an API without workers, and one who asks it."""

import pytest
from starlette.testclient import TestClient

from clarivox.server.main import create_app
from clarivox.server.settings import Settings
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


@pytest.fixture
def app(tmp_path):
    """An API that nobody works for."""
    return create_app(Settings(data_dir=tmp_path), workers=False)


@pytest.fixture
def client(app):
    """One who asks it, from this machine."""
    with TestClient(app, base_url="http://127.0.0.1") as made:
        yield made
