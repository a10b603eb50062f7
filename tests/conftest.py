"""What every test may ask for."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real images; tests that need it skip where it is absent."""
    folder = os.environ.get("CLARIVOX_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CLARIVOX_DATA does not name the folder of real images")
    return Path(folder)
