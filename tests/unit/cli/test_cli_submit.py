# SPDX-License-Identifier: Apache-2.0
"""Following a job of a server from the command line."""

import pytest

from clarivox.cli.submit import _followed
from clarivox.client import Job


class Broken:
    """A client whose connection gives something that nobody foresaw."""

    def follow(self, job: Job):
        yield job
        raise ValueError("not JSON")


def test_an_error_that_nobody_foresaw_ends_the_wait() -> None:
    with pytest.raises(ValueError, match="not JSON"):
        _followed(Broken(), Job("1", "queued"), bool)
