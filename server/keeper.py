# SPDX-License-Identifier: Apache-2.0
"""What the server does by the clock: silent workers lose their jobs, old files go, disk and memory are seen to."""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
import time

from clarivox.errors import ClarivoxError
from clarivox.server.blobs import Blobs
from clarivox.server.ledger import Ledger

REAP_S = 1.0
PURGE_S = 60.0

log = logging.getLogger("clarivox.server.keeper")


class Keeper:
    """A thread that reaps, purges and sweeps until it is told to stop."""

    def __init__(self, ledger: Ledger, blobs: Blobs) -> None:
        self._ledger, self._blobs = ledger, blobs
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after what it is doing."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        purged = 0.0
        while not self._stop.wait(REAP_S):
            try:
                self._ledger.reap()
                give_memory_back()
                if time.monotonic() - purged >= PURGE_S:
                    purged = time.monotonic()
                    self.tidy()
            except (ClarivoxError, OSError) as error:
                code = error.code if isinstance(error, ClarivoxError) else "os_error"
                log.warning("keeping house failed: %s", code)

    def tidy(self) -> None:
        """Purge, delete what nothing uses, sweep, and see to the reserve of disk."""
        self._ledger.tend(self._blobs)


def give_memory_back() -> None:
    """Have the C library give the system what is free; a tenth of a millisecond. Does nothing where it is not GNU's.

    It keeps holes between what is in use: of Python's table of interned strings alone, built anew every few thousand
    jobs, one of 4 MiB.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is not None and hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
