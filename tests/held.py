# SPDX-License-Identifier: Apache-2.0
"""Jobs that stand still until a test lets them go on, in servers with the workers of tests/e2e/faulty_worker.py.

A test that has to catch a job while it runs holds it: a long job is too short on one machine and too long on another.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

PROGRAM = (sys.executable, str(Path(__file__).parent / "e2e" / "faulty_server.py"))
"""In place of `clarivox`: everything as it is, but those workers."""
COMMAND = (*PROGRAM, "serve")


@contextmanager
def held(data: Path, but: int = 0) -> Iterator[Callable[[], None]]:
    """No job of a server gets beyond the first step of its enhancement within this block, or until its value is called.

    Args:
        data: the server's folder; the server may be away.
        but: so many jobs go through before.
    """
    hold = data / "hold"
    data.mkdir(parents=True, exist_ok=True)
    hold.write_text(str(but))
    release = partial(hold.unlink, missing_ok=True)
    try:
        yield release
    finally:
        release()
